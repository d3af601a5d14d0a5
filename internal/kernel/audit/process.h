/* Programs that start, processes that fork and end. */
#pragma once

#include "path.h"

SEC("tp_btf/sched_process_exec")
int BPF_PROG(audit_exec, struct task_struct *t, int old_pid, struct linux_binprm *bin)
{
	unsigned long from, to;
	struct scratch *s;
	struct record *r;
	struct file *f;
	__u32 at, n;

	if (!watched(t, EXEC) || !(s = scratch(0)))
		return 0;
	r = &s->rec;
	begin(r, t, EXEC, 0);
	f = BPF_CORE_READ(bin, file);
	if (!BPF_CORE_READ(f, f_inode, i_nlink))
		r->flags |= F_UNLINKED;
	climb(s, &f->f_path, t);
	add_path(s);
	at = r->size;
	if (at >= DATA)
		r->flags |= F_CUT_ARGS; /* nor is there room for what follows */
	if (at < DATA) {
		long len = bpf_probe_read_kernel_str(&r->data[at], NAME, BPF_CORE_READ(bin, filename));
		if (len > 0)
			r->size = at + (len & (2 * NAME - 1));
		else
			add_empty(r);
	}
	from = BPF_CORE_READ(t, mm, arg_start);
	to = BPF_CORE_READ(t, mm, arg_end);
	n = to - from;
	if (n > ARGS) {
		n = ARGS;
		r->flags |= F_CUT_ARGS;
	}
	at = r->size;
	if (at < DATA && n && !bpf_probe_read_user(&r->data[at], n, (void *)from))
		r->size = at + n;
	submit(r);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(audit_exit, struct task_struct *t)
{
	struct scratch *s;

	/* The last thread of the process: the kernel has just counted it down. */
	if (BPF_CORE_READ(t, signal, live.counter) || !watched(t, EXIT) || !(s = scratch(1)))
		return 0;
	begin(&s->rec, t, EXIT, 0);
	s->rec.ret = BPF_CORE_READ(t, exit_code);
	submit(&s->rec);
	return 0;
}

/* The namespaces that a child does not share with its parent. */
static __always_inline __u64 unshared(struct task_struct *p, struct task_struct *c)
{
	struct nsproxy *a = BPF_CORE_READ(p, nsproxy), *b = BPF_CORE_READ(c, nsproxy);
	__u64 new = 0;

	if (BPF_CORE_READ(p, cred, user_ns) != BPF_CORE_READ(c, cred, user_ns))
		new |= CLONE_NEWUSER;
	if (BPF_CORE_READ(p, thread_pid, level) != BPF_CORE_READ(c, thread_pid, level))
		new |= CLONE_NEWPID;
	if (a == b)
		return new;
	if (BPF_CORE_READ(a, mnt_ns) != BPF_CORE_READ(b, mnt_ns))
		new |= CLONE_NEWNS;
	if (BPF_CORE_READ(a, net_ns) != BPF_CORE_READ(b, net_ns))
		new |= CLONE_NEWNET;
	if (BPF_CORE_READ(a, uts_ns) != BPF_CORE_READ(b, uts_ns))
		new |= CLONE_NEWUTS;
	if (BPF_CORE_READ(a, ipc_ns) != BPF_CORE_READ(b, ipc_ns))
		new |= CLONE_NEWIPC;
	if (BPF_CORE_READ(a, cgroup_ns) != BPF_CORE_READ(b, cgroup_ns))
		new |= CLONE_NEWCGROUP;
	return new;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(audit_fork, struct task_struct *parent, struct task_struct *child)
{
	struct scratch *s;
	__u64 new;
	__u32 pid = BPF_CORE_READ(child, tgid);

	if (BPF_CORE_READ(parent, tgid) == live.self)
		return 0;
	new = unshared(parent, child); /* a thread may have namespaces of its own, too */
	if (new && watched(parent, NAMESPACE)) {
		if (!(s = scratch(1)))
			return 0;
		begin(&s->rec, parent, NAMESPACE, OP_CLONE);
		s->rec.ret = pid;
		s->rec.args[0] = new;
		submit(&s->rec);
	}
	if (pid != BPF_CORE_READ(child, pid) || !watched(parent, FORK) || !(s = scratch(1)))
		return 0;
	begin(&s->rec, parent, FORK, 0);
	s->rec.ret = pid;
	s->rec.args[0] = new;
	s->rec.args[1] = process_start(child);
	submit(&s->rec);
	return 0;
}
