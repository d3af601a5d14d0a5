/* What is read of the kernel besides task.h: files and where they lie, sockets,
 * registers; and the numbers of its interface. */
#pragma once

#include "../bpf/task.h"

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
struct mm_struct { unsigned long arg_start, arg_end; struct file *exe_file; };
struct linux_binprm { struct file *file; const char *filename; };
struct sock_common { unsigned short skc_family; };
struct sock { struct sock_common __sk_common; };
struct socket { struct sock *sk; };
struct unix_sock { struct path path; struct sock *peer; };
/* One object serves both architectures: only one of these exists. */
struct pt_regs___amd64 { unsigned long di, si, dx, r10, r8, orig_ax, bx, cx, bp; };
struct pt_regs___arm64 { __u64 regs[31]; __u64 orig_x0; __s32 syscallno; };
KERNEL_STRUCTS_END

#define CLONE_NEWNS 0x00020000
#define CLONE_NEWCGROUP 0x02000000
#define CLONE_NEWUTS 0x04000000
#define CLONE_NEWIPC 0x08000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000

#define EPERM 1
#define EACCES 13
#define EROFS 30
#define FMODE_WRITE 2
#define FMODE_PATH 0x4000
#define FMODE_CREATED 0x100000
#define O_WRONLY 1
#define O_ACCMODE 3
#define AF_UNIX 1

#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206

#define BPF_PROG_LOAD 5
#define BPF_PROG_ATTACH 8
#define BPF_RAW_TRACEPOINT_OPEN 17
#define BPF_LINK_CREATE 28
#define BPF_ATTR_NAME 48 /* offsetof(union bpf_attr, prog_name) */
