/* System calls: files, sockets, namespaces, mounts, and what alters the kernel. */
#pragma once

#include "path.h"
#include "registers.h"

static __always_inline bool denied(long ret)
{
	return ret == -EPERM || ret == -EACCES || ret == -EROFS;
}

/* Cases are functions of their own, because the verifier walks one after the
 * other more cheaply than all paths of one large program. */

static __noinline int opened(struct scratch *s, struct task_struct *t, __u64 fd, __u32 op)
{
	struct record *r;
	struct file *f;
	__u32 mode, inner;

	if (!s || !(f = file_of(t, fd)))
		return 0;
	mode = BPF_CORE_READ(f, f_mode);
	if (mode & FMODE_PATH)
		return 0;
	climb(s, &f->f_path, t);
	/* Nobody can hide below very many folders: these are always reported. Nor behind a
	 * root of its own: /etc/shadow is that, too, after chroot("/etc"). But a runtime
	 * that makes its containers by chroot makes names by it. */
	inner = s->depth;
	s->depth = s->full;
	if (!of_interest(s, mode & FMODE_WRITE) && s->full <= DEPTH) {
		if (inner == s->full)
			return 0;
		s->depth = inner;
		if (!of_interest(s, mode & FMODE_WRITE))
			return 0;
	}
	r = &s->rec;
	begin(r, t, OPEN, op);
	r->flags |= (mode & FMODE_WRITE ? F_WRITE : 0) | (mode & FMODE_CREATED ? F_CREATED : 0);
	r->args[0] = BPF_CORE_READ(f, f_flags);
	add_path(s);
	return 1;
}

/* A refused open has no file: the name that was asked for is judged in user space. */
static __noinline int open_denied(struct scratch *s, struct task_struct *t, struct pt_regs *regs, __u32 op, bool c)
{
	struct record *r;
	__u64 name, flags;

	if (!s || op == OP_OPEN_HANDLE)
		return 0;
	r = &s->rec;
	begin(r, t, OPEN, op);
	name = op <= OP_CREAT ? argument(regs, c, 0) : argument(regs, c, 1);
	flags = op == OP_CREAT ? O_WRONLY : op == OP_OPEN ? argument(regs, c, 1) : argument(regs, c, 2);
	if (op == OP_OPENAT2) {
		const void *how = (const void *)flags;
		flags = 0;
		bpf_probe_read_user(&flags, sizeof(flags), how);
	}
	r->args[0] = flags;
	r->flags |= F_NAMED | (flags & O_ACCMODE ? F_WRITE : 0);
	add_user(r, (void *)name, F_CUT_PATH);
	return 1;
}

/* The socket's file is known by where its server bound it, whatever name it was
 * mounted under for the caller. */
static __noinline int connected(struct scratch *s, struct task_struct *t, __u64 fd)
{
	struct unix_sock *peer;
	struct socket *socket;
	struct sock *sk;
	struct file *f;

	if (!s || !(f = file_of(t, fd)))
		return 0;
	socket = BPF_CORE_READ(f, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (BPF_CORE_READ(sk, __sk_common.skc_family) != AF_UNIX)
		return 0;
	peer = (struct unix_sock *)BPF_CORE_READ((struct unix_sock *)sk, peer);
	if (!peer || !BPF_CORE_READ(peer, path.dentry))
		return 0;
	climb(s, &peer->path, 0);
	if (!of_interest(s, true))
		return 0;
	begin(&s->rec, t, CONNECT, OP_CONNECT);
	add_path(s);
	return 1;
}

static __noinline int connect_denied(struct scratch *s, struct task_struct *t, const char *address)
{
	__u16 family = 0;

	if (!s || bpf_probe_read_user(&family, sizeof(family), address) || family != AF_UNIX)
		return 0;
	begin(&s->rec, t, CONNECT, OP_CONNECT);
	s->rec.flags |= F_NAMED;
	add_user(&s->rec, address + sizeof(family), F_CUT_PATH);
	return 1;
}

static __noinline __u32 namespace_type(struct ns_common *ns)
{
	return BPF_CORE_READ((struct ns_common___type *)ns, ns_type);
}

static __noinline __u32 namespace_type_by_ops(struct ns_common *ns)
{
	return BPF_CORE_READ((struct ns_common___ops *)ns, ops, type);
}

static __noinline int namespaces(struct scratch *s, struct task_struct *t, struct pt_regs *regs, __u32 op, bool c)
{
	struct record *r;
	struct file *f;

	if (!s)
		return 0;
	r = &s->rec;
	begin(r, t, NAMESPACE, op);
	if (op == OP_UNSHARE) {
		r->args[0] = argument(regs, c, 0);
		return !!(r->args[0] & (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
					CLONE_NEWPID | CLONE_NEWNET));
	}
	r->args[0] = (__u32)argument(regs, c, 1);
	/* With type 0 the descriptor is a namespace's; otherwise it may be a process's. */
	if (!r->args[0] && (f = file_of(t, argument(regs, c, 0)))) {
		struct ns_common *ns = BPF_CORE_READ(f, f_inode, i_private);
		if (bpf_core_field_exists(((struct ns_common___type *)0)->ns_type))
			r->args[0] = namespace_type(ns);
		else
			r->args[0] = namespace_type_by_ops(ns);
		r->args[1] = BPF_CORE_READ(ns, inum);
	}
	return 1;
}

static __noinline int mounted(struct scratch *s, struct task_struct *t, struct pt_regs *regs, __u32 op, bool c)
{
	struct record *r;

	if (!s)
		return 0;
	r = &s->rec;
	begin(r, t, MOUNT, op);
	if (op == OP_MOVE_MOUNT) {
		add_user(r, (void *)argument(regs, c, 1), F_CUT_PATH);
		add_user(r, (void *)argument(regs, c, 3), F_CUT_PATH);
		add_empty(r);
		r->args[0] = argument(regs, c, 4);
		return 1;
	}
	add_user(r, (void *)argument(regs, c, 0), F_CUT_PATH);
	add_user(r, (void *)argument(regs, c, 1), F_CUT_PATH);
	add_user(r, (void *)argument(regs, c, 2), F_CUT_PATH);
	r->args[0] = argument(regs, c, 3);
	return 1;
}

static __noinline int traced(struct scratch *s, struct task_struct *t, struct pt_regs *regs, __u32 op, bool c)
{
	__u64 first = argument(regs, c, 0);

	if (!s || (op == OP_PTRACE && first != PTRACE_ATTACH && first != PTRACE_SEIZE))
		return 0;
	begin(&s->rec, t, PTRACE, op);
	s->rec.args[0] = op == OP_PTRACE ? first : 0;
	s->rec.args[1] = (__u32)(op == OP_PTRACE ? argument(regs, c, 1) : first);
	return 1;
}

static __noinline int extended(struct scratch *s, struct task_struct *t, struct pt_regs *regs, bool c)
{
	__u64 cmd = argument(regs, c, 0), attr = argument(regs, c, 1);
	__u32 type = 0;

	if (!s || (cmd != BPF_PROG_LOAD && cmd != BPF_PROG_ATTACH && cmd != BPF_RAW_TRACEPOINT_OPEN && cmd != BPF_LINK_CREATE))
		return 0;
	begin(&s->rec, t, BPF, OP_BPF);
	s->rec.args[0] = cmd;
	if (cmd == BPF_PROG_LOAD) {
		bpf_probe_read_user(&type, sizeof(type), (void *)attr);
		s->rec.args[1] = type;
		add_user(&s->rec, (void *)(attr + BPF_ATTR_NAME), 0);
	} else
		add_empty(&s->rec);
	return 1;
}

static __noinline int module(struct scratch *s, struct task_struct *t, struct pt_regs *regs, __u32 op, bool c)
{
	struct record *r;
	struct file *f;

	if (!s)
		return 0;
	r = &s->rec;
	begin(r, t, MODULE, op);
	if (op == OP_DELETE_MODULE) {
		add_user(r, (void *)argument(regs, c, 0), F_CUT_PATH);
		add_empty(r);
		return 1;
	}
	if (op == OP_INIT_MODULE) {
		add_empty(r);
		add_user(r, (void *)argument(regs, c, 2), F_CUT_ARGS);
		return 1;
	}
	if ((f = file_of(t, argument(regs, c, 0)))) {
		climb(s, &f->f_path, t);
		add_path(s);
	} else
		add_empty(r);
	add_user(r, (void *)argument(regs, c, 1), F_CUT_ARGS);
	return 1;
}

static __always_inline __u32 kind_of(__u32 op)
{
	if (op <= OP_OPEN_HANDLE)
		return OPEN;
	if (op == OP_CONNECT)
		return CONNECT;
	if (op <= OP_CLONE)
		return NAMESPACE;
	if (op <= OP_MOVE_MOUNT)
		return MOUNT;
	if (op <= OP_VM_WRITE)
		return PTRACE;
	if (op == OP_BPF)
		return BPF;
	return op == OP_URING ? URING : MODULE;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(audit_syscall, struct pt_regs *regs, long ret)
{
	__u32 nr = number(regs), op;
	struct task_struct *t;
	struct scratch *s;
	bool c;
	int emit;

	if (nr >= SYSCALLS || !syscalls[nr])
		return 0;
	t = current_task();
	c = compat(t);
	op = c ? syscalls[nr] >> 8 : syscalls[nr] & 0xff;
	if (!op)
		return 0;
	if (op <= OP_CONNECT && ret < 0 && !denied(ret))
		return 0;
	if (!watched(t, kind_of(op)) || TASK_READ(t->tgid, t, tgid) == live.self || !(s = scratch(2)))
		return 0;
	switch (kind_of(op)) {
	case OPEN:
		emit = ret >= 0 ? opened(s, t, ret, op) : open_denied(s, t, regs, op, c);
		break;
	case CONNECT:
		emit = ret >= 0 ? connected(s, t, argument(regs, c, 0)) : connect_denied(s, t, (void *)argument(regs, c, 1));
		break;
	case NAMESPACE:
		emit = namespaces(s, t, regs, op, c);
		break;
	case MOUNT:
		emit = mounted(s, t, regs, op, c);
		break;
	case PTRACE:
		emit = traced(s, t, regs, op, c);
		break;
	case BPF:
		emit = extended(s, t, regs, c);
		break;
	case MODULE:
		emit = module(s, t, regs, op, c);
		break;
	default:
		begin(&s->rec, t, URING, op);
		emit = 1;
	}
	if (emit) {
		s->rec.ret = ret;
		if (c)
			s->rec.flags |= F_COMPAT;
		add_program(2);
		submit(&s->rec);
	}
	return 0;
}
