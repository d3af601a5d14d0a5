/* What every program here needs of the kernel's headers, by hand: a generated
 * vmlinux.h is 3 MB, differs by machine and makes objects five times as large.
 * Structures of the kernel hold only the fields that are read; CO-RE finds the
 * offsets when a program is loaded. A feature declares its own in its .bpf.c,
 * between KERNEL_STRUCTS and KERNEL_STRUCTS_END. */
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;
typedef __u16 __sum16;
typedef _Bool bool;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
#define true 1
#define false 0
#define NULL ((void *)0)

/* include/uapi/linux/bpf.h */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_STACK_TRACE = 7,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LRU_PERCPU_HASH = 10,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1, BPF_EXIST = 2 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_CLONE = 0x200 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_F_USER_STACK = 1 << 8, BPF_F_FAST_STACK_CMP = 1 << 9 };
#define BPF_F_CURRENT_CPU 0xffffffffULL

#define KERNEL_STRUCTS _Pragma("clang attribute push (__attribute__((preserve_access_index)), apply_to = record)")
#define KERNEL_STRUCTS_END _Pragma("clang attribute pop")

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

/* bpf_map_update_elem whose result can be compared: kernels before 6.4 call the
 * map's own function, an int, and leave the upper half of the register as it is. */
static __always_inline int map_update(void *map, const void *key, const void *value, __u64 flags)
{
	return bpf_map_update_elem(map, key, value, flags);
}

/* What could not be counted otherwise, by CPU: kernel.Object reads it into
 * Stats.Dropped. One slot a reason; slot 0 is "no room in the ring". */
#define LOSS_SLOTS 8
enum { LOSS_RING = 0, LOSS_MAP = 1, LOSS_STORAGE = 2 };
#define DECLARE_LOSSES                                                         \
	struct {                                                               \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                       \
		__uint(max_entries, LOSS_SLOTS);                               \
		__type(key, __u32);                                            \
		__type(value, __u64);                                          \
	} losses SEC(".maps");                                                 \
	static __always_inline void lose(__u32 why)                            \
	{                                                                      \
		__u64 *n = bpf_map_lookup_elem(&losses, &why);                 \
		if (n)                                                         \
			*n += 1;                                               \
	}
