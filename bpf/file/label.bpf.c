/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The label of a reader, by the security checks, before the bytes come. The fexit programs (read.bpf.c, mmap.bpf.c) tell how much it was.
 *
 * The kernel runs one of those once at a time on a CPU: when a thread is preempted inside it, whatever else calls it on that CPU
 * until the thread goes on is not seen, only counted (runs missed). On a kernel that preempts, who wants to read unseen could bring
 * that about. lsm programs have no such guard (since 6.1: kernel/bpf/verifier.c bpf_prog_check_recur). They are asked at each read of
 * anything, a socket too, so only where the kernel preempts. Asked before the read, they label for one that then gives nothing too: at the
 * end of the file, or of FIDEDUPERANGE, which reads to compare.
 */
#include "io.bpf.h"

#define MAY_READ 0x4 /* include/linux/fs.h */

static __always_inline void moat_label_by(const struct file *file, int walk)
{
	struct moat_control *control = moat_get_control();
	__u32 asset;

	if (!control->have_assets)
		return;
	asset = moat_asset_of(control, file, walk);
	if (asset == MOAT_NO_ASSET)
		return;
	if (moat_in_scope(control))
		moat_add_labels(moat_self_pid(), moat_self_start(), 1ull << (asset & 63));
}

/* Each read: by system call, io_uring and AIO, of splice, sendfile and copy_file_range the side that is read. */
MOAT_HOOK("lsm/file_permission", moat_file_read_label)
int BPF_PROG(moat_file_read_label, struct file *file, int mask)
{
	moat_ran(moat_file_read_label);
	if (mask & MAY_READ)
		moat_label_by(file, 0);
	return 0; /* observed, never refused */
}

MOAT_HOOK("lsm/mmap_file", moat_file_map_label)
int BPF_PROG(moat_file_map_label, struct file *file)
{
	moat_ran(moat_file_map_label);
	if (file)
		moat_label_by(file, 1);
	return 0;
}
