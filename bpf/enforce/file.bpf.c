/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who may read, write, map and execute assets: refused where the security modules are asked, by whatever way the kernel came there. -EPERM
 * before the first byte.
 */
#include "asset.bpf.h"

#define FMODE_READ 0x1u
#define FMODE_WRITE 0x2u
#define FMODE_EXEC_FLAG 0x20u /* __FMODE_EXEC in f_flags: opened to be executed */
#define MAY_WRITE 0x2
#define MAY_READ 0x4
#define PROT_EXEC 0x4
#define PROT_WRITE 0x2
#define MAP_SHARED_BIT 0x1

static __noinline int moat_pol_opening_asset(const struct file *file, __u32 asset)
{
	__u32 mode, flags;
	int err = 0;

	file = moat_cast(struct file, file);
	mode = moat_get(file, f_mode);
	flags = moat_get(file, f_flags);
	if (flags & FMODE_EXEC_FLAG)
		err = moat_pol_asset_file(file, asset, MOAT_POL_EXEC, MOAT_VERDICT_EXEC, 0);
	else if (mode & FMODE_READ)
		err = moat_pol_asset_file(file, asset, MOAT_POL_READ, MOAT_VERDICT_READ, 0);
	if (!err && (mode & FMODE_WRITE || flags & MOAT_O_TRUNC))
		err = moat_pol_asset_file(file, asset, MOAT_POL_WRITE, MOAT_VERDICT_WRITE, 0);
	return err;
}

static __always_inline int moat_pol_opening(const void *arg)
{
	const struct file *file = moat_cast(struct file, arg);
	struct moat_control *control = moat_get_control();
	__u32 asset;

	if (!moat_pol_guards() || !moat_may_be_asset(control, file))
		return 0;
	asset = moat_asset_of(control, file, 1);
	return asset == MOAT_NO_ASSET ? 0 : moat_pol_opening_asset(file, asset);
}

MOAT_SECURITY_DENIES(moat_pol_open, file_open, moat_pol_opening(file), struct file *file)

/* A descriptor that another process had opened: the same as opening it. */
MOAT_SECURITY_DENIES(moat_pol_receive, file_receive, moat_pol_opening(file), struct file *file)

/* Each read and write on a descriptor that was there before the policy, or came by an exec; io_uring, splice and sendfile, too. */
static __always_inline int moat_pol_using(const void *arg, int mask)
{
	const struct file *file = moat_cast(struct file, arg);
	int err = 0;
	__u32 asset;

	if (!moat_pol_guards())
		return 0;
	asset = moat_asset_of(moat_get_control(), file, 0);
	if (asset == MOAT_NO_ASSET)
		return 0;
	if (mask & MAY_READ)
		err = moat_pol_asset_file(file, asset, MOAT_POL_READ, MOAT_VERDICT_READ, 1);
	if (!err && mask & MAY_WRITE)
		err = moat_pol_asset_file(file, asset, MOAT_POL_WRITE, MOAT_VERDICT_WRITE, 1);
	return err;
}

MOAT_SECURITY_DENIES(moat_pol_use, file_permission, moat_pol_using(file, mask), struct file *file, int mask)

static __always_inline int moat_pol_mapping(const void *arg, unsigned long prot, unsigned long flags)
{
	const struct file *file = moat_cast(struct file, arg);
	__u32 asset;
	int err;

	if (!arg || !moat_pol_guards())
		return 0;
	asset = moat_asset_of(moat_get_control(), file, 1);
	if (asset == MOAT_NO_ASSET)
		return 0;
	err = moat_pol_asset_file(file, asset, MOAT_POL_MAP, MOAT_VERDICT_MAP, 0);
	if (!err && prot & PROT_EXEC)
		err = moat_pol_asset_file(file, asset, MOAT_POL_EXEC, MOAT_VERDICT_EXEC, 0);
	if (!err && prot & PROT_WRITE && flags & MAP_SHARED_BIT)
		err = moat_pol_asset_file(file, asset, MOAT_POL_WRITE, MOAT_VERDICT_WRITE, 0);
	return err;
}

/* The function that asks the modules is not told what they are: the protection asked for, and that which will be. */
MOAT_HOOK("lsm/mmap_file", moat_pol_map_lsm)
int BPF_PROG(moat_pol_map_lsm, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
{
	moat_ran(moat_pol_map_lsm);
	return moat_pol_mapping(file, prot, flags);
}

MOAT_HOOK("fmod_ret/security_mmap_file", moat_pol_map_fmod)
int BPF_PROG(moat_pol_map_fmod, struct file *file, unsigned long prot, unsigned long flags)
{
	moat_ran(moat_pol_map_fmod);
	return moat_pol_mapping(file, prot, flags);
}
