//go:build ignore
/* Stacks on the CPU, by a timer on each, and of threads that wait, when they
 * run again. Both are counted by process and stack here; user space takes the
 * counts away once an interval. */
#include "../bpf/core.h"

char LICENSE[] SEC("license") = "GPL";
DECLARE_LOSSES

#define MAX_USER 127  /* what kernel.perf_event_max_stack allows by default */
#define MAX_KERNEL 48 /* deeper ones lose their outermost frames */
#define MAX_FRAMES (MAX_USER + MAX_KERNEL)
#define MAX_WAIT_USER 96 /* kept for each thread: 1.4 KB with its labels */

/* Labels of a goroutine, by which it says what it works for. The rest is cut. */
#define MAX_LABELS 6
#define MAX_LABEL_KEY 24
#define MAX_LABEL_VALUE 64

enum { LOSS_BUDGET = 3 };

/* Written by the loader. */
volatile const __u32 min_wait_us = 1000;
volatile const __u32 wait_stacks_per_second = 1000; /* of one CPU */
volatile const __u32 self_tgid = 0;		    /* not profiled; 0: all are */

KERNEL_STRUCTS
struct mm_struct {
	unsigned long start_code;
};
struct thread_struct {
	unsigned long fsbase; /* amd64 alone */
};
struct pt_regs___arm {
	__u64 regs[31]; /* arm64 alone */
};
struct task_struct {
	int pid;
	int tgid;
	struct mm_struct *mm;
	struct task_struct *group_leader;
	struct thread_struct thread;
	__u64 start_boottime;
	unsigned int __state;
};
/* before 5.16, 5.5 */
struct task_struct___state {
	volatile long state;
};
struct task_struct___real {
	__u64 real_start_time;
};
KERNEL_STRUCTS_END

/* Who: start and mm tell a process from one that had its id before, and from
 * itself before exec. */
struct owner {
	__u64 start; /* ns since boot */
	__u64 mm;
	__u32 tgid;
	__u32 zero;
};

struct key {
	struct owner who;
	__u64 stack; /* hash of all frames */
	__u64 labels; /* hash of them; 0: none */
	__u32 kind;
	__u32 zero;
};

enum { ON_CPU = 0, WAIT = 1, WAIT_DISK = 2 };

struct count {
	__u64 n;
	__u64 ns; /* of waits */
};

/* Frames of the kernel first, then of the program; innermost first. */
struct stack {
	__u16 kernel;
	__u16 user;
	__u32 zero;
	__u64 pc[MAX_FRAMES];
};

/* Padded with zeros. */
struct label {
	char key[MAX_LABEL_KEY];
	char value[MAX_LABEL_VALUE];
};
struct labels {
	__u64 n;
	struct label of[MAX_LABELS];
};

/* Where the labels of a program's goroutines are; see layout.Goroutines. */
struct goroutines {
	__s64 tls;
	__u32 g_m;
	__u32 m_curg;
	__u32 g_labels;
	__u32 list; /* a slice of pairs of strings; else a map */
};

/* Two of each: programs write to the one that `active` names while user space
 * empties the other. */
struct counts_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct key);
	__type(value, struct count);
};
struct counts_map counts0 SEC(".maps"), counts1 SEC(".maps");
struct stacks_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, __u64);
	__type(value, struct stack);
};
struct stacks_map stacks0 SEC(".maps"), stacks1 SEC(".maps");
struct labels_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, __u64);
	__type(value, struct labels);
};
struct labels_map labels0 SEC(".maps"), labels1 SEC(".maps");

/* Programs of Go that labels can be read of, by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096); /* as many as user space keeps */
	__type(key, struct owner);
	__type(value, struct goroutines);
} programs SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} active SEC(".maps");

/* The stack in work. One for each program that may interrupt another. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct stack);
} scratch SEC(".maps");

/* The labels in work, as the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct labels);
} label_scratch SEC(".maps");

/* Processes that user space was told of. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct owner);
	__type(value, __u8);
} known SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} seen SEC(".maps");

/* A thread that waits. */
struct waiting {
	__u64 since;  /* 0: runs */
	__u64 usual;  /* ns that it waits, a moving mean */
	__u32 weight; /* how many waits this stack stands for; 0: it was not taken */
	__u16 user;
	__u16 kind;
	__u64 labelled; /* hash of the labels; 0: none */
	__u64 pc[MAX_WAIT_USER];
	struct labels labels;
};
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct waiting);
} waits SEC(".maps");

struct budget {
	__u64 second;
	__u32 left;
	__u32 zero;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct budget);
} budgets SEC(".maps");

static __always_inline void own(struct owner *o, struct task_struct *t)
{
	struct task_struct *leader = BPF_CORE_READ(t, group_leader);

	o->tgid = BPF_CORE_READ(t, tgid);
	o->mm = (__u64)BPF_CORE_READ(t, mm);
	if (bpf_core_field_exists(leader->start_boottime))
		o->start = BPF_CORE_READ(leader, start_boottime);
	else
		o->start = BPF_CORE_READ((struct task_struct___real *)leader, real_start_time);
}

/* Threads of the kernel are one process, 0. */
static __always_inline void normal(struct owner *o)
{
	if (!o->mm)
		o->start = o->tgid = 0;
}

static __always_inline void tell(struct owner *o)
{
	struct mm_struct *mm = (void *)o->mm;
	__u8 one = 1;

	if (!mm || bpf_map_lookup_elem(&known, o))
		return;
	/* Within exec, before the program is mapped and has an environment: whoever looked
	 * now would see nothing. At its next stack, then. */
	if (!BPF_CORE_READ(mm, start_code))
		return;
	/* Told again at its next stack if there is no room now. The reader waits
	 * for this, and it is rare: wake it. */
	if (bpf_ringbuf_output(&seen, o, sizeof(*o), 0)) {
		lose(LOSS_RING);
		return;
	}
	bpf_map_update_elem(&known, o, &one, BPF_ANY);
}

/* How many frames a helper's answer is, in bytes or an error. */
static __always_inline __u32 frames(long bytes, __u32 max)
{
	__u32 n;

	if (bytes <= 0)
		return 0;
	n = (__u32)bytes >> 3;
	return n > max ? max : n;
}

static __always_inline __u64 hash(struct stack *s)
{
	__u64 h = 0x9e3779b97f4a7c15ULL ^ s->kernel ^ ((__u64)s->user << 32);
	__u32 n = s->kernel + s->user;

	for (__u32 i = 0; i < MAX_FRAMES; i++) {
		if (i >= n)
			break;
		h = (h ^ s->pc[i]) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	return h;
}

struct go_string {
	__u64 at;
	__u64 len;
};
struct go_label {
	struct go_string key;
	struct go_string value;
};

static __always_inline bool user(void *to, __u32 size, __u64 from)
{
	return bpf_probe_read_user(to, size, (void *)from) == 0;
}

/* n, and at most max, as the verifier sees it, too: until Linux 6.4 it forgets a
 * bound when the compiler keeps the number on the stack between test and call. */
#define BOUND(n, max) ({ __u64 n_ = (n); asm volatile("if %0 <= %1 goto +1; %0 = %1" : "+r"(n_) : "i"(max)); n_; })

/* One label, already zero. */
static __always_inline bool read_label(struct label *l, struct go_label *from)
{
	__u64 key = from->key.len, value = from->value.len;

	if (!key || bpf_probe_read_user(l->key, BOUND(key, MAX_LABEL_KEY), (void *)from->key.at))
		return false;
	return !value || !bpf_probe_read_user(l->value, BOUND(value, MAX_LABEL_VALUE), (void *)from->value.at);
}

/* The goroutine that this thread runs, also while it is in the runtime's own code or in C. */
static __always_inline __u64 goroutine(struct task_struct *t, struct goroutines *p)
{
	__u64 g = 0, m = 0, curg = 0;

	if (bpf_core_field_exists(t->thread.fsbase)) {
		if (!user(&g, 8, BPF_CORE_READ(t, thread.fsbase) + p->tls))
			return 0;
	} else {
		struct pt_regs___arm *regs = (void *)bpf_task_pt_regs(t);
		g = BPF_CORE_READ(regs, regs[28]);
	}
	if (!g || !user(&m, 8, g + p->g_m) || !m || !user(&curg, 8, m + p->m_curg))
		return 0;
	return curg;
}

/* Maps before Go 1.24: eight bytes that say which of eight are in use, eight keys,
 * eight values. More than eight labels are in several such; the first is read. */
#define GO_MAP_BUCKETS 16
#define GO_MAP_MIN_TOP 5 /* below: empty */

static __always_inline void read_map(struct labels *l, __u64 at)
{
	__u64 buckets, map = 0;
	__u8 top[8];

	if (!user(&map, 8, at) || !map || !user(&buckets, 8, map + GO_MAP_BUCKETS) || !buckets || !user(top, 8, buckets))
		return;
	for (__u32 i = 0; i < 8; i++) {
		struct go_label one;

		if (top[i] < GO_MAP_MIN_TOP)
			continue;
		if (l->n >= MAX_LABELS)
			break;
		if (!user(&one.key, 16, buckets + 8 + 16 * i) || !user(&one.value, 16, buckets + 8 + 8 * 16 + 16 * i))
			break;
		__u32 n = l->n;
		if (n >= MAX_LABELS || !read_label(&l->of[n], &one))
			break;
		l->n = n + 1;
	}
}

static __always_inline void read_list(struct labels *l, __u64 at)
{
	struct go_string list = {}; /* a slice begins as a string does */

	if (!user(&list, sizeof(list), at) || !list.at)
		return;
	for (__u32 i = 0; i < MAX_LABELS; i++) {
		struct go_label one;

		if (i >= list.len || !user(&one, sizeof(one), list.at + i * sizeof(one)) || !read_label(&l->of[i], &one))
			break;
		l->n = i + 1;
	}
}

/* Reads the labels now, for the program may change them as soon as it runs on. The
 * answer is a hash of them, 0 if there are none. */
static __always_inline __u64 read_labels(struct task_struct *t, struct owner *who, struct labels *l)
{
	struct goroutines *p = bpf_map_lookup_elem(&programs, who);
	__u64 g, at = 0, h = 0x9e3779b97f4a7c15ULL;

	if (!p)
		return 0;
	g = goroutine(t, p);
	if (!g || !user(&at, 8, g + p->g_labels) || !at)
		return 0;
	__builtin_memset(l, 0, sizeof(*l));
	if (p->list)
		read_list(l, at);
	else
		read_map(l, at);
	if (!l->n)
		return 0;
	for (__u32 i = 0; i < sizeof(*l) / 8; i++) {
		h = (h ^ ((__u64 *)l)[i]) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	return h | 1;
}

static __always_inline void add_to(void *counts, void *stacks, void *labels, struct key *k, struct stack *s, struct labels *l, __u64 n, __u64 ns)
{
	struct count *c = bpf_map_lookup_elem(counts, k);
	struct count fresh = { .n = n, .ns = ns };

	if (!c) {
		/* A stack that lost its labels is still a stack. */
		if (k->labels && !bpf_map_lookup_elem(labels, &k->labels) && map_update(labels, &k->labels, l, BPF_ANY))
			lose(LOSS_MAP);
		/* The stack first: a count without one says nothing. */
		if (!bpf_map_lookup_elem(stacks, &k->stack) && map_update(stacks, &k->stack, s, BPF_ANY)) {
			lose(LOSS_MAP);
			return;
		}
		int err = map_update(counts, k, &fresh, BPF_NOEXIST);
		if (!err)
			return;
		c = bpf_map_lookup_elem(counts, k); /* another CPU was first */
		if (!c) {
			lose(LOSS_MAP);
			return;
		}
	}
	__sync_fetch_and_add(&c->n, n);
	if (ns) /* of 0 the compiler makes an atomic or, which Linux has from 5.12 on */
		__sync_fetch_and_add(&c->ns, ns);
}

static __always_inline void add(struct key *k, struct stack *s, struct labels *l, __u64 n, __u64 ns)
{
	__u32 zero = 0, *a = bpf_map_lookup_elem(&active, &zero);

	if (!a)
		return;
	k->stack = hash(s);
	if (*a)
		add_to(&counts1, &stacks1, &labels1, k, s, l, n, ns);
	else
		add_to(&counts0, &stacks0, &labels0, k, s, l, n, ns);
}

SEC("perf_event")
int on_cpu(void *ctx)
{
	struct task_struct *t;
	struct key k = { .kind = ON_CPU };
	__u32 slot = 0;
	struct labels *l;
	struct stack *s;
	__u32 n;

	/* Registers of arm64 are given of a task that the verifier knows (Linux 5.11); for
	 * amd64 an older kernel will do. */
	if (bpf_core_field_exists(((struct task_struct *)0)->thread.fsbase))
		t = (void *)bpf_get_current_task();
	else
		t = bpf_get_current_task_btf();
	own(&k.who, t);
	if (self_tgid && k.who.tgid == self_tgid)
		return 0;
	if (!BPF_CORE_READ(t, pid)) /* idle */
		return 0;
	normal(&k.who);
	s = bpf_map_lookup_elem(&scratch, &slot);
	if (!s)
		return 0;
	s->zero = 0;
	n = frames(bpf_get_stack(ctx, s->pc, MAX_KERNEL * 8, 0), MAX_KERNEL);
	s->kernel = n;
	s->user = 0;
	if (k.who.mm) {
		long m = bpf_get_stack(ctx, &s->pc[n], MAX_USER * 8, BPF_F_USER_STACK);
		s->user = frames(m, MAX_USER);
	}
	l = bpf_map_lookup_elem(&label_scratch, &slot);
	if (!l)
		return 0;
	if (k.who.mm)
		k.labels = read_labels(t, &k.who, l);
	tell(&k.who);
	add(&k, s, l, 1, 0);
	return 0;
}

static __always_inline unsigned int state_of(struct task_struct *t)
{
	if (bpf_core_field_exists(t->__state))
		return BPF_CORE_READ(t, __state);
	return BPF_CORE_READ((struct task_struct___state *)t, state);
}

/* Taking a stack costs a microsecond or two, as much as a switch. Threads that
 * usually wait as long as counts are always taken. Of those that wait shortly
 * only some are, at a chance in proportion to how long they usually wait, and
 * stand for the others: the sum is right in the mean. A budget bounds the rest. */
static __always_inline __u32 weigh(struct waiting *w)
{
	__u64 min = (__u64)min_wait_us * 1000;
	__u64 usual = w->usual;
	__u32 weight = 1;

	for (int i = 0; i < 6; i++) {
		if (usual >= min)
			break;
		usual = usual * 2 + 1;
		weight *= 2;
	}
	if (weight > 1 && bpf_get_prandom_u32() & (weight - 1))
		return 0;
	return weight;
}

static __always_inline bool afford(__u64 now)
{
	__u32 zero = 0;
	struct budget *b = bpf_map_lookup_elem(&budgets, &zero);
	__u64 second = now >> 30;

	if (!b)
		return false;
	if (b->second != second) {
		b->second = second;
		b->left = wait_stacks_per_second;
	}
	if (!b->left)
		return false;
	b->left--;
	return true;
}

static __always_inline void leave(void *ctx, struct task_struct *t, __u64 now)
{
	unsigned int state = state_of(t);
	struct waiting *w;
	struct owner who = {};
	long n;

	/* Runnable (taken off by another), dead, or without a program. */
	if (!(state & 3) || !t->mm || (self_tgid && t->tgid == self_tgid))
		return;
	w = bpf_task_storage_get(&waits, t, 0, 0);
	if (!w) {
		w = bpf_task_storage_get(&waits, t, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!w) {
			lose(LOSS_STORAGE);
			return;
		}
		w->usual = (__u64)min_wait_us * 1000; /* nothing is known: take it */
	}
	w->since = now;
	w->kind = state & 2 ? WAIT_DISK : WAIT;
	w->weight = weigh(w);
	if (!w->weight)
		return;
	if (!afford(now)) {
		w->weight = 0;
		lose(LOSS_BUDGET);
		return;
	}
	n = bpf_get_stack(ctx, w->pc, sizeof(w->pc), BPF_F_USER_STACK);
	w->user = frames(n, MAX_WAIT_USER);
	own(&who, t);
	w->labelled = read_labels(t, &who, &w->labels);
}

static __always_inline void enter(void *ctx, struct task_struct *t, __u64 now)
{
	struct waiting *w;
	struct key k = {};
	__u32 slot = 1;
	struct stack *s;
	__u64 ns;
	__u32 n;

	if (!t->mm)
		return;
	w = bpf_task_storage_get(&waits, t, 0, 0);
	if (!w || !w->since)
		return;
	ns = now - w->since;
	w->since = 0;
	w->usual = w->usual - (w->usual >> 3) + (ns >> 3);
	if (!w->weight || ns < (__u64)min_wait_us * 1000)
		return;
	s = bpf_map_lookup_elem(&scratch, &slot);
	if (!s)
		return;
	own(&k.who, t);
	k.kind = w->kind;
	s->zero = 0;
	/* It does not run yet: its stack in the kernel is that of the wait. */
	n = frames(bpf_get_task_stack(t, s->pc, MAX_KERNEL * 8, 0), MAX_KERNEL);
	s->kernel = n;
	s->user = w->user;
	for (__u32 i = 0; i < MAX_WAIT_USER; i++) {
		if (i >= w->user)
			break;
		s->pc[n + i] = w->pc[i];
	}
	k.labels = w->labelled;
	tell(&k.who);
	add(&k, s, &w->labels, w->weight, ns * w->weight);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(off_cpu, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns();

	if (!preempt)
		leave(ctx, prev, now);
	enter(ctx, next, now);
	return 0;
}

const struct labels *unused_labels __attribute__((unused));
const struct goroutines *unused_goroutines __attribute__((unused));
const struct owner *unused_owner __attribute__((unused));
const struct key *unused_key __attribute__((unused));
const struct count *unused_count __attribute__((unused));
const struct stack *unused_stack __attribute__((unused));
