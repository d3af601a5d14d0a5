/* What processes do that an auditor wants to know: programs started, files of
 * interest opened, namespaces changed, the kernel altered.
 *
 * System calls are seen at their return: the result is known, what the caller
 * passed has been read by the kernel and is in memory, and an opened file is
 * judged by where it lies and not by the name that the caller gave, which
 * links, relative paths and a second thread could change. */
//go:build ignore
#include "../bpf/task.h"

char LICENSE[] SEC("license") = "GPL";

/* ---- what is read of the kernel besides task.h ---- */
KERNEL_STRUCTS
struct qstr { __u32 len; const unsigned char *name; };
struct proc_ns_operations { int type; }; /* until 6.17 */
struct inode { unsigned int i_nlink; void *i_private; };
struct ns_common___ops { struct proc_ns_operations *ops; };
struct ns_common___type { __u32 ns_type; }; /* since 6.18 */
struct dentry { struct dentry *d_parent; struct qstr d_name; struct inode *d_inode; };
struct vfsmount { struct dentry *mnt_root; };
struct mount { struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; };
struct file { unsigned int f_mode; unsigned int f_flags; void *private_data; struct path f_path; struct inode *f_inode; };
struct fdtable { unsigned int max_fds; struct file **fd; };
struct files_struct { struct fdtable *fdt; };
struct mm_struct { unsigned long arg_start, arg_end; };
struct linux_binprm { struct file *file; const char *filename; };
struct sock_common { unsigned short skc_family; };
struct sock { struct sock_common __sk_common; };
struct socket { struct sock *sk; };
struct unix_sock { struct path path; struct sock *peer; };
/* One object serves both architectures: only one of these exists. */
struct pt_regs___amd64 { unsigned long di, si, dx, r10, r8, orig_ax, bx, cx, bp; };
struct pt_regs___arm64 { __u64 regs[31]; __u64 orig_x0; __s32 syscallno; };
KERNEL_STRUCTS_END

/* ---- settings, frozen at load ---- */

/* By number of the system call: what to do, 64-bit callers in the low byte and
 * 32-bit callers in the high one. */
#define SYSCALLS 512
volatile const __u16 syscalls[SYSCALLS];
/* By kind: 0 never, 1 in watched cgroups, 2 everywhere. */
#define KINDS 16
volatile const __u8 scope[KINDS];
/* Containers are told apart by the memory controller's hierarchy (v1, hybrid). */
volatile const __u8 by_memory;
/* The auditor's own process, whose opens and forks are not reported. */
volatile const __u32 self;

/* ---- shared with decode.go ---- */
enum kind { EXEC = 1, EXIT, FORK, OPEN, CONNECT, NAMESPACE, MOUNT, PTRACE, BPF, MODULE, URING };
enum op {
	OP_OPEN = 1, OP_CREAT, OP_OPENAT, OP_OPENAT2, OP_OPEN_HANDLE, OP_CONNECT, OP_SETNS, OP_UNSHARE, OP_CLONE, OP_MOUNT, OP_MOVE_MOUNT, OP_PTRACE, OP_VM_READ,
	OP_VM_WRITE, OP_BPF, OP_INIT_MODULE, OP_FINIT_MODULE, OP_DELETE_MODULE, OP_URING,
};
enum {
	F_WRITE = 1,     /* opened for writing */
	F_CREATED = 2,   /* the open made the file */
	F_NAMED = 4,     /* the path is what the caller passed: the call failed */
	F_CUT_PATH = 8,  /* the path is longer or deeper than is read */
	F_CUT_ARGS = 16, /* the arguments are longer than is read */
	F_UNLINKED = 32, /* the program has no name in any folder: memfd or deleted */
	F_COMPAT = 64,   /* a 32-bit system call */
	F_TTY = 128,     /* the process has a terminal */
	F_ENTERED = 256, /* its parent is outside of its pid namespace, and it is not the first inside */
};

/* Loops stay loops: unrolled, the object is five times as large. */
#define UNROLL_NOT _Pragma("clang loop unroll(disable)")

#define ANCESTORS 4
#define DATA 2048 /* strings of a record */
#define NAME 256  /* NAME_MAX + 1 */
#define ARGS 1024

struct ancestor { __u32 pid; char comm[16]; };

struct record {
	__u64 time, start, cgroup, memcg, lost;
	__s64 ret;
	__u64 args[3];
	__u32 kind_op; /* kind, op << 8 */
	__u32 flags;
	__u32 tid, pid, ppid, uid, euid;
	__u32 ns_pid, ns_level, pid_ns, mnt_ns;
	char comm[16];
	struct ancestor parents[ANCESTORS];
	__u32 size;       /* bytes of data */
	char data[DATA + ARGS]; /* strings, each ended by a zero; room for one too many */
};
#define HEADER __builtin_offsetof(struct record, data)
_Static_assert(HEADER == 216, "decode.go knows the layout");

/* ---- maps ---- */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* Cgroups that user space has judged: 1 watched, 0 not. Others are watched
 * until it has. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u32);
} cgroups SEC(".maps");

/* Folders and files of interest, as a tree: from a state, by a name, to the next. */
#define STEP_NAME 28
struct step { __u32 state; char name[STEP_NAME]; };
struct next { __u32 state; __u8 any, write, wild, reads; }; /* reads: any is somewhere below */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct step);
	__type(value, struct next);
} paths SEC(".maps");

#define DEPTH 32
struct scratch {
	__u64 names[DEPTH]; /* dentries, the leaf first; the last DEPTH of them */
	__u32 depth;        /* how many there were; here and not in a register, or the
	                       verifier walks all that follows once for each depth */
	struct step step;
	struct record rec;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3); /* one a hook: hooks may interrupt each other */
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

DECLARE_LOSSES
/* The sum of all losses so far goes with each record, so that its reader knows
 * between which two others some are missing. */
__u64 lost;

static __always_inline struct scratch *scratch(__u32 hook)
{
	return bpf_map_lookup_elem(&scratches, &hook);
}

/* ---- who ---- */

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
	return !verdict || *verdict || t->thread_pid->level > 0;
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
	if (n > DATA)
		n = DATA;
	r->lost = lost;
	if (bpf_ringbuf_output(&events, r, HEADER + n, BPF_RB_NO_WAKEUP)) {
		__sync_fetch_and_add(&lost, 1);
		lose(LOSS_RING);
	}
}

/* ---- strings ---- */

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

/* ---- where a file lies ---- */

/* Writes down the folders of a file from the leaf up to the root of t, or
 * without t to the top of all mounts, and counts them. DEPTH + 1 and more:
 * there are more. */
#define STEPS 64
static __noinline int climb(struct scratch *s, struct path *at, struct task_struct *t)
{
	struct dentry *d, *root_d = 0, *top, *up;
	struct vfsmount *m, *root_m = 0;
	struct path p = {};

	bpf_probe_read_kernel(&p, sizeof(p), at);
	d = p.dentry;
	m = p.mnt;
	s->depth = 0;
	if (t) {
		root_d = t->fs->root.dentry;
		root_m = t->fs->root.mnt;
	}
	top = BPF_CORE_READ(m, mnt_root);
	UNROLL_NOT
	for (int i = 0; i < STEPS; i++) {
		if (!d || (d == root_d && m == root_m))
			return 0;
		if (d == top) {
			struct mount *here = (struct mount *)((char *)m - bpf_core_field_offset(struct mount, mnt));
			struct mount *over = BPF_CORE_READ(here, mnt_parent);
			if (!over || over == here)
				return 0;
			d = BPF_CORE_READ(here, mnt_mountpoint);
			m = (struct vfsmount *)((char *)over + bpf_core_field_offset(struct mount, mnt));
			top = BPF_CORE_READ(m, mnt_root);
			continue;
		}
		up = BPF_CORE_READ(d, d_parent);
		s->names[s->depth & (DEPTH - 1)] = (__u64)d;
		s->depth++;
		if (up == d) /* outside of all mounts: memfd:x */
			return 0;
		d = up;
	}
	if (s->depth <= DEPTH)
		s->depth = DEPTH + 1;
	return 0;
}

/* Walks down the tree of interesting paths. The first name decides in nearly
 * all cases, with one look-up. */
static __noinline bool of_interest(struct scratch *s, bool write)
{
	__u32 n = s->depth;
	__u32 state = 0, wild = 0;

	UNROLL_NOT
	for (__u32 i = 0; i < 16; i++) {
		struct next *next;
		struct dentry *d;

		if (i >= n)
			break;
		d = (struct dentry *)s->names[(n - 1 - i) & (DEPTH - 1)];
		__builtin_memset(&s->step, 0, sizeof(s->step));
		s->step.state = state;
		bpf_probe_read_kernel_str(s->step.name, STEP_NAME, BPF_CORE_READ(d, d_name.name));
		next = bpf_map_lookup_elem(&paths, &s->step);
		/* Not by its name, but by how it begins, or by any. */
		if (!next && wild & 2) {
			__builtin_memset(&s->step.name[2], 0, STEP_NAME - 2);
			s->step.name[2] = '*';
			next = bpf_map_lookup_elem(&paths, &s->step);
		}
		if (!next && wild & 1) {
			__builtin_memset(&s->step.name, 0, STEP_NAME);
			s->step.name[0] = '*';
			next = bpf_map_lookup_elem(&paths, &s->step);
		}
		if (!next)
			break;
		if (next->any || (write && next->write))
			return true;
		state = next->state;
		wild = next->wild;
		if (!state || (!write && !next->reads))
			break;
	}
	return false;
}

static __noinline void add_path(struct scratch *s)
{
	__u32 n = s->depth;
	struct record *r = &s->rec;

	if (n > DEPTH) {
		r->flags |= F_CUT_PATH;
		n = DEPTH;
	}
	if (!n && r->size < DATA)
		r->data[r->size++] = '/';
	UNROLL_NOT
	for (__u32 i = 0; i < DEPTH; i++) {
		struct dentry *d;
		__u32 at = r->size;
		long len;

		if (i >= n)
			break;
		if (at >= DATA - 1) {
			r->flags |= F_CUT_PATH;
			break;
		}
		r->data[at] = '/';
		d = (struct dentry *)s->names[(n - 1 - i) & (DEPTH - 1)];
		len = bpf_probe_read_kernel_str(&r->data[at + 1], NAME, BPF_CORE_READ(d, d_name.name));
		if (len <= 0)
			break;
		r->size = at + (len & (2 * NAME - 1)); /* over the zero goes the next slash */
	}
	add_empty(r);
}

static __always_inline struct file *file_of(struct task_struct *t, __u64 fd)
{
	struct fdtable *fdt = t->files->fdt;
	struct file *f = 0;

	if (fd >= fdt->max_fds)
		return 0;
	bpf_probe_read_kernel(&f, sizeof(f), fdt->fd + fd);
	return f;
}

/* ---- processes ---- */

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

#define CLONE_NEWNS 0x00020000
#define CLONE_NEWCGROUP 0x02000000
#define CLONE_NEWUTS 0x04000000
#define CLONE_NEWIPC 0x08000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000

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

	if (pid != BPF_CORE_READ(child, pid) || BPF_CORE_READ(parent, tgid) == self)
		return 0;
	new = unshared(parent, child);
	if (new && watched(parent, NAMESPACE)) {
		if (!(s = scratch(1)))
			return 0;
		begin(&s->rec, parent, NAMESPACE, OP_CLONE);
		s->rec.ret = pid;
		s->rec.args[0] = new;
		submit(&s->rec);
	}
	if (!watched(parent, FORK) || !(s = scratch(1)))
		return 0;
	begin(&s->rec, parent, FORK, 0);
	s->rec.ret = pid;
	s->rec.args[0] = new;
	s->rec.args[1] = process_start(child);
	submit(&s->rec);
	return 0;
}

/* ---- system calls ---- */

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
	return ((struct pt_regs___amd64 *)regs)->orig_ax & ~X32_BIT;
}

static __always_inline __u32 number(struct pt_regs *regs)
{
	return is_amd64() ? amd64_number(regs) : arm64_number(regs);
}

static __always_inline bool compat(struct task_struct *t)
{
	if (is_amd64())
		return t->thread_info.status & TS_COMPAT;
	return t->thread_info.flags & TIF_32BIT_ARM;
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

#define EPERM 1
#define EACCES 13
#define EROFS 30
#define FMODE_WRITE 2
#define FMODE_PATH 0x4000
#define FMODE_CREATED 0x100000
#define O_WRONLY 1
#define O_ACCMODE 3
#define AF_UNIX 1

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
	__u32 mode;

	if (!s || !(f = file_of(t, fd)))
		return 0;
	mode = BPF_CORE_READ(f, f_mode);
	if (mode & FMODE_PATH)
		return 0;
	climb(s, &f->f_path, t);
	/* Nobody can hide below very many folders: these are always reported. */
	if (!of_interest(s, mode & FMODE_WRITE) && s->depth <= DEPTH)
		return 0;
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

#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206

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

#define BPF_PROG_LOAD 5
#define BPF_PROG_ATTACH 8
#define BPF_RAW_TRACEPOINT_OPEN 17
#define BPF_LINK_CREATE 28
#define BPF_ATTR_NAME 48 /* offsetof(union bpf_attr, prog_name) */

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
	}
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
	t = bpf_get_current_task_btf();
	c = compat(t);
	op = c ? syscalls[nr] >> 8 : syscalls[nr] & 0xff;
	if (!op)
		return 0;
	if (op <= OP_CONNECT && ret < 0 && !denied(ret))
		return 0;
	if (!watched(t, kind_of(op)) || t->tgid == self || !(s = scratch(2)))
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
		submit(&s->rec);
	}
	return 0;
}
