/* A record: whether one is wanted, who did it, its texts, its way to user space. */
#pragma once

#include "state.h"

static __always_inline bool watched(struct task_struct *t, __u32 kind)
{
	__u8 s = scope[kind & (KINDS - 1)];
	__u64 id;
	__u32 *verdict;

	if (s != 1)
		return s;
	id = by_memory ? memory_cgroup(t) : unified_cgroup(t);
	verdict = bpf_map_lookup_elem(&cgroups, &id);
	/* A pid namespace of its own makes a container, whatever its cgroup. */
	return !verdict || *verdict || TASK_READ(t->thread_pid->level, t, thread_pid, level) > 0;
}

static __noinline void begin(struct record *r, struct task_struct *t, __u32 kind, __u32 op)
{
	struct pid *pid = BPF_CORE_READ(t, group_leader, thread_pid);
	struct task_struct *p = t;
	struct upid u = {};
	__u32 depth;

	r->time = bpf_ktime_get_ns();
	r->start = process_start(t);
	r->cgroup = unified_cgroup(t);
	r->memcg = memory_cgroup(t);
	r->ret = 0;
	r->args[0] = r->args[1] = r->args[2] = 0;
	r->kind_op = kind | op << 8;
	r->flags = BPF_CORE_READ(t, signal, tty) ? F_TTY : 0;
	r->size = 0;
	r->tid = BPF_CORE_READ(t, pid);
	r->pid = BPF_CORE_READ(t, tgid);
	r->ppid = BPF_CORE_READ(t, real_parent, tgid);
	r->uid = BPF_CORE_READ(t, cred, uid.val);
	r->euid = BPF_CORE_READ(t, cred, euid.val);
	r->mnt_ns = BPF_CORE_READ(t, nsproxy, mnt_ns, ns.inum);
	depth = BPF_CORE_READ(pid, level);
	r->ns_level = depth;
	bpf_probe_read_kernel(&u, sizeof(u), (char *)pid + bpf_core_field_offset(struct pid, numbers) + depth * bpf_core_type_size(struct upid));
	r->ns_pid = u.nr;
	if (u.nr != 1 && BPF_CORE_READ(t, real_parent, thread_pid, level) < depth)
		r->flags |= F_ENTERED;
	r->pid_ns = BPF_CORE_READ(u.ns, ns.inum);
	BPF_CORE_READ_STR_INTO(&r->comm, t, comm);
	UNROLL_NOT
	for (int i = 0; i < ANCESTORS; i++) {
		struct ancestor *a = &r->parents[i];
		p = BPF_CORE_READ(p, real_parent, group_leader);
		a->pid = BPF_CORE_READ(p, tgid);
		BPF_CORE_READ_STR_INTO(&a->comm, p, comm);
	}
}

static __noinline void submit(struct record *r)
{
	__u32 n = r->size;
	if (n > DATA) { /* the last text began within and ends without */
		n = DATA;
		r->size = n;
		r->flags |= F_CUT_ARGS;
	}
	r->lost = lost;
	if (bpf_ringbuf_output(&events, r, HEADER + n, BPF_RB_NO_WAKEUP)) {
		__sync_fetch_and_add(&lost, 1);
		lose(LOSS_RING);
	}
}

static __always_inline void add_empty(struct record *r)
{
	__u32 at = r->size;
	if (at < DATA) {
		r->data[at] = 0;
		r->size = at + 1;
	}
}

static __noinline void add_user(struct record *r, const void *from, __u32 cut)
{
	__u32 at = r->size;
	long n;

	if (at >= DATA)
		return;
	n = bpf_probe_read_user_str(&r->data[at], NAME, from);
	if (n <= 0) {
		add_empty(r);
		return;
	}
	if (n == NAME)
		r->flags |= cut;
	r->size = at + (n & (2 * NAME - 1));
}
