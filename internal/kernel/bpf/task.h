/* Processes, their cgroups and their namespaces: the few kernel fields that
 * the programs of audit and oom read. Every struct is a subset; CO-RE finds
 * the real offsets when the object is loaded.
 */
#pragma once
#include "old.h"

KERNEL_STRUCTS

struct ns_common { __u32 inum; };
struct pid_namespace { struct ns_common ns; };
struct mnt_namespace { struct ns_common ns; };
struct net;
struct uts_namespace;
struct ipc_namespace;
struct user_namespace;
struct cgroup_namespace;
struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct net *net_ns;
	struct cgroup_namespace *cgroup_ns;
};

struct upid { int nr; struct pid_namespace *ns; };
struct pid { unsigned int level; struct upid numbers[1]; };

typedef struct { __u32 val; } kuid_t;
struct cred { kuid_t uid, euid; struct user_namespace *user_ns; };

struct kernfs_node { __u64 id; };
struct cgroup { struct kernfs_node *kn; };
struct cgroup_subsys_state { struct cgroup *cgroup; struct cgroup_subsys_state *parent; };
struct css_set { struct cgroup_subsys_state *subsys[1]; struct cgroup *dfl_cgrp; };
/* The real number of the memory controller depends on the kernel's
 * configuration; CO-RE puts it in the place of this one. */
enum cgroup_subsys_id { memory_cgrp_id = 4 };

typedef struct { int counter; } atomic_t;
struct tty_struct;
struct signal_struct { atomic_t live; __s16 oom_score_adj; struct tty_struct *tty; };

struct vfsmount;
struct dentry;
struct path { struct vfsmount *mnt; struct dentry *dentry; };
struct fs_struct { struct path root; };
struct files_struct;
struct mm_struct;

struct thread_info { unsigned long flags; __u32 status; };

struct task_struct {
	struct thread_info thread_info;
	int pid, tgid, exit_code;
	__u64 start_boottime;
	char comm[16];
	struct task_struct *real_parent, *group_leader;
	struct pid *thread_pid;
	const struct cred *cred;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct fs_struct *fs;
	struct files_struct *files;
	struct mm_struct *mm;
};
/* Before 5.5 the field had another name. */
struct task_struct___real { __u64 real_start_time; };

KERNEL_STRUCTS_END

/* When the process began, in nanoseconds of CLOCK_BOOTTIME: with the pid it
 * names a process for ever. */
static __always_inline __u64 process_start(struct task_struct *t)
{
	struct task_struct *leader = BPF_CORE_READ(t, group_leader);
	if (bpf_core_field_exists(leader->start_boottime))
		return BPF_CORE_READ(leader, start_boottime);
	return BPF_CORE_READ((struct task_struct___real *)leader, real_start_time);
}

/* t is an argument of a tracepoint, or from current_task. */

/* The id of the process's cgroup in the unified (v2) hierarchy. */
static __always_inline __u64 unified_cgroup(struct task_struct *t)
{
	return TASK_READ(t->cgroups->dfl_cgrp->kn->id, t, cgroups, dfl_cgrp, kn, id);
}

static __always_inline struct cgroup_subsys_state **memory_css_at(struct task_struct *t)
{
	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return 0;
	return (struct cgroup_subsys_state **)((char *)TASK_READ(t->cgroups, t, cgroups) + bpf_core_field_offset(struct css_set, subsys) +
					       sizeof(void *) * bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id));
}

static __always_inline struct cgroup_subsys_state *memory_css(struct task_struct *t)
{
	struct cgroup_subsys_state **at = memory_css_at(t), *css = 0;
	if (old_tasks) {
		bpf_probe_read_kernel(&css, sizeof(css), at);
		return css;
	}
	return at ? *at : 0;
}

/* The id of the process's cgroup in the hierarchy that has the memory
 * controller: with v1 and hybrid hierarchies this, and not the unified one,
 * tells containers apart. 0: the kernel was built without it. */
static __always_inline __u64 memory_cgroup(struct task_struct *t)
{
	struct cgroup_subsys_state *css = memory_css(t);
	return css ? TASK_READ(css->cgroup->kn->id, css, cgroup, kn, id) : 0;
}
