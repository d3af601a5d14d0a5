/* Settings, the record that decode.go reads, and the maps. */
#pragma once

#include "kernel.h"

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
/* What changes while the programs run: the auditor's own process, whose opens and
 * forks are not reported, and the state at which the tree of paths begins. */
struct live { __u32 self, root; };
volatile struct live live SEC(".data.live");

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
	__uint(max_entries, 8192); /* two trees, while one is exchanged for another */
	__type(key, struct step);
	__type(value, struct next);
} paths SEC(".maps");

#define DEPTH 32
struct scratch {
	__u64 names[DEPTH]; /* dentries, the leaf first; the last DEPTH of them */
	__u32 depth;        /* how many there were below the root of the process; here and not in a
	                       register, or the verifier walks all that follows once for each depth */
	__u32 full;         /* below the root of its mounts, which no chroot changes */
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
