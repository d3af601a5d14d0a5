#pragma once

/* What the Go compiler passes in registers since 1.17, and the goroutine. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#define ARG0(c) ((c)->ax)
#define ARG1(c) ((c)->bx)
#define ARG2(c) ((c)->cx)
#define ARG3(c) ((c)->di)
#define ARG4(c) ((c)->si)
#define ARG5(c) ((c)->r8)
#define ARG6(c) ((c)->r9)
#define ARG7(c) ((c)->r10)
#define ARG8(c) ((c)->r11)
#define G(c) ((c)->r14)
#define IP(c) ((c)->ip)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs { __u64 regs[31], sp, pc, pstate; };
#define ARG0(c) ((c)->regs[0])
#define ARG1(c) ((c)->regs[1])
#define ARG2(c) ((c)->regs[2])
#define ARG3(c) ((c)->regs[3])
#define ARG4(c) ((c)->regs[4])
#define ARG5(c) ((c)->regs[5])
#define ARG6(c) ((c)->regs[6])
#define ARG7(c) ((c)->regs[7])
#define ARG8(c) ((c)->regs[8])
#define G(c) ((c)->regs[28])
#define IP(c) ((c)->pc)
#endif
