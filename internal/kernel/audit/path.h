/* Where a file lies, and whether that is of interest. */
#pragma once

#include "record.h"

/* Writes down the folders of a file from the leaf up to the top of all mounts,
 * and counts them: up to there, and up to the root of t if there is a t. DEPTH + 1
 * and more: there are more. */
#define STEPS 64
#define NOT_MET 0xffffffff
static __noinline int climb(struct scratch *s, struct path *at, struct task_struct *t)
{
	struct dentry *d, *root_d = 0, *top, *up;
	struct vfsmount *m, *root_m = 0;
	struct path p = {};
	int i;

	bpf_probe_read_kernel(&p, sizeof(p), at);
	d = p.dentry;
	m = p.mnt;
	s->full = 0;
	s->depth = NOT_MET;
	if (t) {
		root_d = TASK_READ(t->fs->root.dentry, t, fs, root.dentry);
		root_m = TASK_READ(t->fs->root.mnt, t, fs, root.mnt);
	}
	top = BPF_CORE_READ(m, mnt_root);
	UNROLL_NOT
	for (i = 0; i < STEPS; i++) {
		if (!d)
			break;
		if (d == root_d && m == root_m)
			s->depth = s->full;
		if (d == top) {
			struct mount *here = (struct mount *)((char *)m - bpf_core_field_offset(struct mount, mnt));
			struct mount *over = BPF_CORE_READ(here, mnt_parent);
			if (!over || over == here)
				break;
			d = BPF_CORE_READ(here, mnt_mountpoint);
			m = (struct vfsmount *)((char *)over + bpf_core_field_offset(struct mount, mnt));
			top = BPF_CORE_READ(m, mnt_root);
			continue;
		}
		up = BPF_CORE_READ(d, d_parent);
		s->names[s->full & (DEPTH - 1)] = (__u64)d;
		s->full++;
		if (up == d) /* outside of all mounts: memfd:x */
			break;
		d = up;
	}
	if (i == STEPS && s->full <= DEPTH)
		s->full = DEPTH + 1;
	if (s->depth == NOT_MET)
		s->depth = s->full;
	return 0;
}

/* Walks down the tree of interesting paths. The first name decides in nearly
 * all cases, with one look-up. */
static __noinline bool of_interest(struct scratch *s, bool write)
{
	__u32 n = s->depth;
	__u32 state = live.root, wild = 0;

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

/* The program of the process, the last text of a record: when user space could ask
 * for it, the process may run another. Not static, and its argument a number: the
 * verifier checks it once, by itself, and not for each path that leads to it. */
__noinline int add_program(__u32 hook)
{
	struct task_struct *t = (void *)bpf_get_current_task();
	struct scratch *s = scratch(hook);
	struct file *f;

	if (!s)
		return 0;
	f = BPF_CORE_READ(t, mm, exe_file);
	if (!f)
		return 0;
	climb(s, &f->f_path, 0);
	add_path(s);
	return 0;
}

static __always_inline struct file *file_of(struct task_struct *t, __u64 fd)
{
	struct fdtable *fdt = TASK_READ(t->files->fdt, t, files, fdt);
	struct file *f = 0;

	if (fd >= TASK_READ(fdt->max_fds, fdt, max_fds))
		return 0;
	bpf_probe_read_kernel(&f, sizeof(f), TASK_READ(fdt->fd, fdt, fd) + fd);
	return f;
}
