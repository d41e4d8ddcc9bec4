/* SPDX-License-Identifier: GPL-2.0-only */
/* A resource of an accelerator's PCI device was mapped: from here on its registers are used without any call. */
#include "../lib/emit.bpf.h"
#include "../lib/pci.bpf.h"
#include "../lib/scope.bpf.h"
#include "../lib/syscall.bpf.h"
#include "urgent.bpf.h"

#define MOAT_MAP_ANONYMOUS 0x20u /* include/uapi/asm-generic/mman-common.h */
#define MOAT_PROT_ALL 0x7u       /* PROT_READ, _WRITE, _EXEC, which are VM_READ, _WRITE, _EXEC too */

static __always_inline void moat_gpu_mapped(const struct pci_dev *pci, __u32 resource, __u64 length, __u32 prot, __u32 hdr_flags)
{
	struct moat_control *control = moat_get_control();
	struct moat_gpu_map *e;

	if (!moat_in_scope(control))
		return;
	e = moat_gpu_is_urgent(0) ? MOAT_RESERVE(moat_ring_urgent, MOAT_KIND_GPU_MAP, struct moat_gpu_map)
				  : MOAT_RESERVE(moat_ring_bulk, MOAT_KIND_GPU_MAP, struct moat_gpu_map);
	if (!e)
		return;
	moat_fill(&e->hdr, MOAT_KIND_GPU_MAP, sizeof(*e), moat_current());
	e->hdr.flags = hdr_flags;
	e->hdr.labels = moat_labels(e->hdr.pid, e->hdr.start_ns);
	e->length = length;
	e->resource = resource;
	e->pci_class = moat_get(pci, class);
	e->vendor = moat_get(pci, vendor);
	e->product = moat_get(pci, device);
	e->prot = prot;
	e->categories = MOAT_GPU_RAW_ACCESS;
	e->pad = 0;
	moat_pci_name(e->device, sizeof(e->device), pci);
	moat_submit(control, e);
}

static __always_inline void moat_pci_mapped(const void *arg, __u32 resource, const void *mapping, __u32 hdr_flags)
{
	const struct pci_dev *pci = moat_cast(struct pci_dev, arg);
	const struct vm_area_struct *vma = moat_cast(struct vm_area_struct, mapping);

	if (moat_pci_is_gpu(pci))
		moat_gpu_mapped(pci, resource, moat_get(vma, vm_end) - moat_get(vma, vm_start),
				moat_get(vma, vm_flags) & MOAT_PROT_ALL, hdr_flags);
}

/* What maps PCI resources for sysfs and for /proc/bus/pci, and nothing else: mappings of other files pay nothing. */
MOAT_TRACE("fexit/pci_mmap_resource_range", moat_gpu_map_fexit, struct pci_dev *pdev, int bar, struct vm_area_struct *vma,
	   int mmap_state, int write_combine, long ret)
{
	if ((int)ret == 0)
		moat_pci_mapped(pdev, bar, vma, 0);
	return 0;
}

MOAT_HOOK("kprobe/pci_mmap_resource_range", moat_gpu_map_kprobe)
int BPF_KPROBE(moat_gpu_map_kprobe, struct pci_dev *pdev, int bar, struct vm_area_struct *vma)
{
	moat_ran(moat_gpu_map_kprobe);
	moat_pci_mapped(pdev, bar, vma, MOAT_F_NO_RESULT);
	return 0;
}

/* On the way back, by the caller's descriptor. */
MOAT_HOOK("tp_btf/sys_exit", moat_gpu_map)
int moat_gpu_map(struct moat_sys_exit *ctx)
{
	struct task_struct *task = moat_caller();
	const struct pci_dev *pci;
	const struct file *file;
	__u32 resource = 0;

	moat_ran(moat_gpu_map);
	if (!task || (__u64)ctx->ret >= -4095ull || moat_syscall_arg(ctx, 3) & MOAT_MAP_ANONYMOUS)
		return 0;
	file = moat_fd_file(task, moat_syscall_arg(ctx, 4));
	pci = file ? moat_gpu_of_resource(file, &resource) : NULL;
	if (pci)
		moat_gpu_mapped(pci, resource, moat_syscall_arg(ctx, 1), moat_syscall_arg(ctx, 2) & MOAT_PROT_ALL, 0);
	return 0;
}
