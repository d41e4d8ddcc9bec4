/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The registers and the memory of a PCI device as files of sysfs, which whoever may open them maps: /sys/bus/pci/devices/ADDRESS/resourceN, and
 * resourceN_wc. A whole driver of a GPU can live in user space on no more than that. Recognised by the kernel's own objects, not by a path.
 */
#ifndef MOAT_LIB_PCI_BPF_H
#define MOAT_LIB_PCI_BPF_H

#include "../kernel/read.bpf.h"
#include "../abi/gpu.h"

#define MOAT_SYSFS_MAGIC 0x62656572ul /* include/uapi/linux/magic.h */
#define MOAT_PCI_DISPLAY 0x03u         /* base classes: include/linux/pci_ids.h */
#define MOAT_PCI_ACCELERATOR 0x12u
#define MOAT_PCI_RESOURCES 6u /* base address registers */

static __always_inline int moat_pci_is_gpu(const struct pci_dev *pci)
{
	__u32 base = moat_get(pci, class) >> 16;

	return base == MOAT_PCI_DISPLAY || base == MOAT_PCI_ACCELERATOR;
}

static __always_inline struct kernfs_node *moat_kernfs_parent(const struct kernfs_node *node)
{
	struct kernfs_node *parent = bpf_core_field_exists(node->__parent) ? moat_get(node, __parent) : moat_get(node, parent);

	return parent ? moat_cast(struct kernfs_node, parent) : NULL;
}

/*
 * The accelerator whose resource a file is, and which resource; NULL: none. Files that are not of sysfs, which nearly all mappings are of,
 * cost three loads. Any kobject may have a file of such a name: the device's bus tells whether it is one of PCI.
 */
static __always_inline struct pci_dev *moat_gpu_of_resource(const struct file *file, __u32 *resource)
{
	const struct inode *inode = moat_get(file, f_inode);
	const struct kernfs_node *node;
	const struct pci_dev *pci;
	const char *kobject;
	struct {
		__u64 word; /* "resource" */
		char digit, end;
		char rest[6];
	} name = {};
	__u32 bus = 0;

	if (moat_get(inode, i_sb, s_magic) != MOAT_SYSFS_MAGIC)
		return NULL;
	node = moat_get(inode, i_private);
	if (!node)
		return NULL;
	node = moat_cast(struct kernfs_node, node);
	bpf_probe_read_kernel_str(&name, sizeof(name), moat_get(node, name));
	*resource = name.digit - '0';
	if (name.word != 0x656372756f736572ull || *resource >= MOAT_PCI_RESOURCES)
		return NULL;
	node = moat_kernfs_parent(node);
	if (!node)
		return NULL;
	kobject = moat_get(node, priv);
	if (!kobject)
		return NULL;
	pci = moat_cast(struct pci_dev,
			kobject - bpf_core_field_offset(struct device, kobj) - bpf_core_field_offset(struct pci_dev, dev));
	if (bpf_probe_read_kernel(&bus, sizeof(bus), moat_get(pci, dev.bus, name)) || bus != 0x696370) /* "pci" */
		return NULL;
	return moat_pci_is_gpu(pci) ? (struct pci_dev *)pci : NULL;
}

/* Its address: size bytes, the rest of which are zero. */
static __always_inline void moat_pci_name(char *to, __u32 size, const struct pci_dev *pci)
{
	__builtin_memset(to, 0, size);
	bpf_probe_read_kernel_str(to, size, moat_get(pci, dev.kobj.name));
}

#endif
