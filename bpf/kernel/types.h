/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's structs, only the fields we read. preserve_access_index makes every access a CO-RE relocation, so neither the
 * order nor the completeness matters, and neither vmlinux.h nor the build machine's BTF is needed.
 */
#ifndef MOAT_KERNEL_TYPES_H
#define MOAT_KERNEL_TYPES_H

#include <linux/types.h>

typedef __u32 dev_t_k; /* as the kernel keeps it: major << 20 | minor */
typedef struct {
	int counter;
} atomic_t;
typedef struct {
	__s64 counter;
} atomic64_t;
typedef struct {
	__u32 val;
} kuid_t;
typedef struct {
	__u32 val;
} kgid_t;
typedef __u16 umode_t;
#ifndef bool
typedef _Bool bool;
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next, *prev;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct xarray {
	void *xa_head;
};

struct xa_node {
	unsigned char shift;
	void *slots[64];
};

struct idr {
	struct xarray idr_rt;
};

struct timespec64 {
	__s64 tv_sec;
};

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct seq_file {
	__u64 count;
};

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	umode_t i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	__u32 i_rdev;
	__s64 i_size;
	__u32 i_generation;
	void *i_private; /* of sysfs: its kernfs_node */
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct inode *f_inode;
	unsigned int f_flags;
	unsigned int f_mode;
	struct path f_path;
	void *private_data;
};

struct vm_area_struct {
	unsigned long vm_start, vm_end;
	unsigned long vm_flags;
	unsigned long vm_pgoff;
	struct file *vm_file;
};

struct kiocb {
	struct file *ki_filp;
	__s64 ki_pos;
	void *ki_complete; /* NULL: the caller waits for the end */
};

/* include/linux/iomap.h */
struct iomap_iter {
	__u64 len; /* what is left to be done */
};

/* fs/iomap/direct-io.c */
struct iomap_dio {
	struct kiocb *iocb;
	unsigned int flags;
};

struct iattr {
	unsigned int ia_valid;
	__s64 ia_size;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct kernfs_node {
	__u64 id;
	const char *name;
	void *priv;                   /* of a directory of sysfs: the kobject */
	struct kernfs_node *parent;   /* until 6.14 */
	struct kernfs_node *__parent; /* since 6.15 */
};

struct kobject {
	const char *name;
};

struct bus_type {
	const char *name;
};

struct device {
	struct kobject kobj;
	struct bus_type *bus;
};

struct pci_dev {
	unsigned short vendor, device;
	unsigned int class;
	struct device dev;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	int level; /* 0: the root */
	struct kernfs_node *kn;
	__u64 ancestor_ids[1];         /* by level; until 6.0 */
	struct cgroup *ancestors[1]; /* since 6.1 */
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

typedef struct {
	__u64 val;
} kernel_cap_t;

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t euid;
	kernel_cap_t cap_permitted;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
};

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
	void *tty; /* the controlling terminal, NULL: none */
};

struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end;
	struct file *exe_file;
};

struct thread_info {
	unsigned long flags;
	__u32 status; /* x86 */
};

#define MOAT_TS_COMPAT 0x2u       /* arch/x86/include/asm/thread_info.h, thread_info.status */
#define MOAT_TIF_32BIT (1ul << 22) /* arch/arm64/include/asm/thread_info.h, thread_info.flags */

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct idr idr;
	struct ns_common ns;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct net {
	struct ns_common ns;
};

struct user_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
};

struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

struct bpf_map {
	__u32 id;
};

struct bpf_link {
	__u32 id;
};

struct bpf_prog_aux {
	__u32 id;
};

struct bpf_prog {
	struct bpf_prog_aux *aux;
};

struct upid {
	int nr;
	void *ns;
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[1]; /* by enum pid_type: first the thread of this number */
	struct upid numbers[1]; /* of each namespace, from the host's down to the process's own */
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int pid;
	int tgid;
	__u64 start_boottime;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	const struct cred *cred;
	const struct cred *real_cred;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct pid *thread_pid;
	struct hlist_node pid_links[1]; /* by enum pid_type */
	struct signal_struct *signal;
	struct mm_struct *mm;
	struct css_set *cgroups;
	int exit_code;
	char comm[16];
};

struct linux_binprm {
	struct file *file;
	const char *filename;
	int argc;
};

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__u32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport; /* network byte order */
	__u16 skc_num;   /* host byte order */
	__u16 skc_family;
	volatile unsigned char skc_state;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

struct socket;

typedef struct {
	int owned; /* by a process: soft-irq leaves the socket to it */
} socket_lock_t;

struct sock_cgroup_data {
	struct cgroup *cgroup; /* until 5.14 a number, with two bits of its own below */
};

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	__u16 sk_protocol;
	__u16 sk_type;
	struct sock_cgroup_data sk_cgrp_data;
	struct socket *sk_socket; /* NULL: not accepted yet, or the last descriptor is gone */
};

struct sk_buff {
	struct sock *sk;
};

struct msghdr {
	void *msg_name;
	int msg_namelen;
};

struct socket {
	struct sock *sk;
};

/* What bpf_cast_to_kern_ctx() makes of struct bpf_sock_addr. */
struct bpf_sock_addr_kern {
	struct sock *sk;
};

/* The registers of a system call as saved at entry; on exit only ax (x86-64), regs[0] (arm64) has changed. */
struct pt_regs___x86 {
	unsigned long r10, r9, r8, ax, bx, cx, dx, si, di, orig_ax;
};

struct pt_regs___arm64 {
	__u64 regs[31];
	__u64 orig_x0;
	int syscallno;
};

/* What a task iterator hands its program; task is NULL once, at the end. */
struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#endif
