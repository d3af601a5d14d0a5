/* The victims that the kernel chooses when memory runs out, with what only the
 * kernel knows at that moment: which limit was hit and how much the victim held. */
//go:build ignore
#include "../bpf/task.h"

char LICENSE[] SEC("license") = "GPL";

KERNEL_STRUCTS
typedef struct { long counter; } atomic_long_t;
struct percpu_counter { __s64 count; };
struct mm_struct { unsigned long total_vm; atomic_long_t pgtables_bytes; };
struct mm_struct___now { struct percpu_counter rss_stat[4]; };
struct mm_rss_stat { atomic_long_t count[4]; }; /* until 6.1 */
struct mm_struct___then { struct mm_rss_stat rss_stat; };
struct page_counter { atomic_long_t usage; unsigned long max; };
struct mem_cgroup { struct cgroup_subsys_state css; struct page_counter memory, memsw; };
struct mem_cgroup___locks { bool oom_lock; }; /* kernels built with cgroup v1; until 6.11 all */
KERNEL_STRUCTS_END

/* The memory controller is of v1: memory and swap together have a limit too. */
volatile const __u8 v1;

/* Pages that the kernel charges at once: a cgroup that hit its limit is nearer to it. */
#define CHARGE_BATCH 64
#define NEAR 32 /* a share of the limit */
#define LEVELS 16

struct record {
	__u64 time, start, cgroup, memcg;
	__u64 limit_memcg, limit, usage; /* where the limit was hit, in pages; 0: on the whole host */
	__u64 pages[4];                  /* file, anonymous, swapped out, shared */
	__u64 page_tables, total_vm;     /* bytes, pages */
	__u32 pid, ppid, uid, by;
	__s32 score_adj;
	__u32 swap_limit; /* the limit is that of memory and swap */
	char comm[16], by_comm[16];
};
_Static_assert(sizeof(struct record) == 160, "decode.go knows the layout");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} events SEC(".maps");

DECLARE_LOSSES

static __noinline __u64 pages_now(struct mm_struct *mm, int i)
{
	__s64 n = 0;

	bpf_probe_read_kernel(&n, sizeof(n), (char *)mm + bpf_core_field_offset(struct mm_struct___now, rss_stat) +
		i * bpf_core_type_size(struct percpu_counter) + bpf_core_field_offset(struct percpu_counter, count));
	return n > 0 ? n : 0; /* what CPUs have not added up yet may be missing */
}

static __noinline __u64 pages_then(struct mm_struct *mm, int i)
{
	long n = 0;

	bpf_probe_read_kernel(&n, sizeof(n), (char *)mm + bpf_core_field_offset(struct mm_struct___then, rss_stat) +
		i * sizeof(long));
	return n > 0 ? n : 0;
}

/* How far a counter may be below its limit. */
static __always_inline bool nears(struct page_counter *c, __u64 slack, __u64 *max, __u64 *usage)
{
	*max = BPF_CORE_READ(c, max);
	*usage = BPF_CORE_READ(c, usage.counter);
	return *usage + slack > *max;
}

static __always_inline struct mem_cgroup *memcg_of(struct cgroup_subsys_state *css)
{
	return (struct mem_cgroup *)((char *)css - bpf_core_field_offset(struct mem_cgroup, css));
}

static __always_inline void found(struct record *r, struct cgroup_subsys_state *css)
{
	struct mem_cgroup *m = memcg_of(css);
	__u64 max, usage;

	r->swap_limit = 0;
	if (!nears(&m->memory, CHARGE_BATCH, &max, &usage) && v1 && nears(&m->memsw, CHARGE_BATCH, &max, &usage))
		r->swap_limit = 1;
	else
		nears(&m->memory, 0, &max, &usage);
	r->limit_memcg = BPF_CORE_READ(css, cgroup, kn, id);
	r->limit = max;
	r->usage = usage;
}

enum { FREE, CLOSE, FULL, LOCKED };

/* How it stands with one cgroup. Not static, and its argument a number: the
 * verifier checks it once, by itself, and not for each path that leads to it. */
__noinline int standing(__u64 css)
{
	struct mem_cgroup *m = memcg_of((struct cgroup_subsys_state *)css);
	struct mem_cgroup___locks *l = (void *)m;
	__u64 max, usage;

	if (bpf_core_field_exists(l->oom_lock) && BPF_CORE_READ(l, oom_lock))
		return LOCKED;
	if (v1 && nears(&m->memsw, CHARGE_BATCH, &max, &usage))
		return FULL;
	if (nears(&m->memory, CHARGE_BATCH, &max, &usage))
		return FULL;
	return usage + max / NEAR > max ? CLOSE : FREE;
}

/* The cgroup whose limit was hit. Where the kernel locks it, with all below it,
 * for the time of its choice, it is the last locked one upwards. Else it is the
 * nearest one that is full; and if none is, one that nearly is: what others gave
 * back since the charge that failed may be missing. */
static __noinline int find_limit(struct record *r, struct cgroup_subsys_state **of)
{
	__u64 css = 0, at = 0; /* numbers, as standing wants them */
	int best = FREE;

	bpf_probe_read_kernel(&css, sizeof(css), of);
#pragma clang loop unroll(disable)
	for (int i = 0; i < LEVELS && css; i++) {
		int now = standing(css);

		if (now > best || now == LOCKED) {
			best = now;
			at = css;
		}
		css = (__u64)BPF_CORE_READ((struct cgroup_subsys_state *)css, parent);
	}
	if (r && at)
		found(r, (struct cgroup_subsys_state *)at);
	return 0;
}

static __always_inline struct record *begin(void)
{
	struct record *r = bpf_ringbuf_reserve(&events, sizeof(*r), 0);

	if (!r) {
		lose(LOSS_RING);
		return 0;
	}
	__builtin_memset(r, 0, sizeof(*r));
	r->time = bpf_ktime_get_ns();
	r->by = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(r->by_comm, sizeof(r->by_comm));
	return r;
}

/* Kernels since 6.8 hand over the victim. */
SEC("tp_btf/mark_victim")
int BPF_PROG(oom_victim, struct task_struct *t)
{
	struct record *r = begin();
	struct mm_struct *mm;

	if (!r)
		return 0;
	r->start = process_start(t);
	r->cgroup = unified_cgroup(t);
	r->memcg = memory_cgroup(t);
	r->pid = t->tgid;
	r->ppid = BPF_CORE_READ(t, real_parent, tgid);
	r->uid = BPF_CORE_READ(t, cred, uid.val);
	r->score_adj = BPF_CORE_READ(t, signal, oom_score_adj);
	BPF_CORE_READ_STR_INTO(&r->comm, t, group_leader, comm);
	mm = t->mm;
	if (mm) {
#pragma clang loop unroll(disable)
		for (int i = 0; i < 4; i++)
			r->pages[i] = bpf_core_type_exists(struct mm_rss_stat) ? pages_then(mm, i) : pages_now(mm, i);
		r->page_tables = BPF_CORE_READ(mm, pgtables_bytes.counter);
		r->total_vm = BPF_CORE_READ(mm, total_vm);
	}
	find_limit(r, memory_css_at(t));
	bpf_ringbuf_submit(r, 0); /* rare, and the sooner the more is left to see */
	return 0;
}

/* Older ones hand over its id only. Whose memory ran out is then the one that
 * asked for more, the current process; the rest is looked up by id. */
SEC("raw_tp/mark_victim")
int oom_victim_by_id(__u64 *args)
{
	struct task_struct *t = current_task();
	struct record *r = begin();

	if (!r)
		return 0;
	r->pid = (__u32)args[0];
	r->cgroup = unified_cgroup(t);
	r->memcg = memory_cgroup(t);
	find_limit(r, memory_css_at(t));
	bpf_ringbuf_submit(r, 0);
	return 0;
}
