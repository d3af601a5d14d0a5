/* What system call it was and what its arguments were, on both architectures. */
#pragma once

#include "kernel.h"

#define TS_COMPAT 2           /* amd64: thread_info.status */
#define TIF_32BIT_ARM (1 << 22) /* arm64: thread_info.flags */
#define X32_BIT 0x40000000

static __always_inline bool is_amd64(void)
{
	return bpf_core_field_exists(((struct pt_regs___amd64 *)0)->orig_ax);
}

/* Functions of their own, that the compiler does not lift out of the branch
 * that is dead on the other architecture: what is missing there must not be reached. */
static __noinline __u64 arm64_argument(struct pt_regs *regs, int i)
{
	struct pt_regs___arm64 *r = (struct pt_regs___arm64 *)regs;
	__u64 v = 0;

	if (i == 0)
		return BPF_CORE_READ(r, orig_x0);
	bpf_probe_read_kernel(&v, sizeof(v), (char *)r + bpf_core_field_offset(struct pt_regs___arm64, regs) + i * sizeof(v));
	return v;
}

static __noinline __u32 arm64_number(struct pt_regs *regs)
{
	return BPF_CORE_READ((struct pt_regs___arm64 *)regs, syscallno);
}

static __noinline __u32 amd64_number(struct pt_regs *regs)
{
	/* The loader forgets a function whose first instruction names a field that is
	 * not there. */
	asm volatile("%0 = %0" : "+r"(regs));
	return ((struct pt_regs___amd64 *)regs)->orig_ax & ~X32_BIT;
}

static __always_inline __u32 number(struct pt_regs *regs)
{
	return is_amd64() ? amd64_number(regs) : arm64_number(regs);
}

static __always_inline bool compat(struct task_struct *t)
{
	if (is_amd64())
		return TASK_READ(t->thread_info.status, t, thread_info.status) & TS_COMPAT;
	return TASK_READ(t->thread_info.flags, t, thread_info.flags) & TIF_32BIT_ARM;
}

static __noinline __u64 amd64_argument(struct pt_regs *regs, bool c, int i)
{
	struct pt_regs___amd64 *x = (struct pt_regs___amd64 *)regs;

	if (c)
		switch (i) {
		case 0: return (__u32)BPF_CORE_READ(x, bx);
		case 1: return (__u32)BPF_CORE_READ(x, cx);
		case 2: return (__u32)BPF_CORE_READ(x, dx);
		case 3: return (__u32)BPF_CORE_READ(x, si);
		default: return (__u32)BPF_CORE_READ(x, di);
		}
	switch (i) {
	case 0: return BPF_CORE_READ(x, di);
	case 1: return BPF_CORE_READ(x, si);
	case 2: return BPF_CORE_READ(x, dx);
	case 3: return BPF_CORE_READ(x, r10);
	default: return BPF_CORE_READ(x, r8);
	}
}

/* The i-th argument; the register of the result holds another on amd64, and
 * the kernel keeps a copy on arm64. */
static __always_inline __u64 argument(struct pt_regs *regs, bool c, int i)
{
	return is_amd64() ? amd64_argument(regs, c, i) : arm64_argument(regs, i);
}
