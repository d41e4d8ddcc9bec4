// SPDX-License-Identifier: GPL-2.0-only
/*
 * GPU drivers' character devices with no GPU behind them: /dev/nvidia0 (195:0), /dev/nvidiactl (195:255), /dev/nvidia-uvm, /dev/kfd (majors
 * of the kernel's choice) and /dev/dri/renderD128. Nearly every call succeeds, and each is counted here, behind the kernel's security
 * hooks: a call that was denied has not arrived, and the counters in /sys/module/moat_gpu/parameters prove it. Parameters are copied as the
 * real drivers do it, by functions of the same names.
 */
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>

static atomic_long_t opens, ioctls, compat_ioctls, mmaps;
static unsigned long page;

/* NVIDIA's numbers: nv_escape.h, nv-ioctl-numbers.h, uvm_ioctl.h, uvm_linux_ioctl.h; AMD's: kfd_ioctl.h. */
#define NV_RM_FIRST 0x27
#define NV_RM_LAST 0x5f
#define NV_CONTROL 0x2a
#define NV_ALLOC 0x2b
#define NV_XFER 211
#define UVM_INITIALIZE 0x30000001
#define UVM_TRACKER 56
#define UVM_READ 62
#define UVM_WRITE 63
#define KFD_DEBUG_TRAP 0x26

/*
 * In the flags of a control, by which a test asks to be told what the driver acted on: its status is then the command that it saw or,
 * where there are parameters, the third word of those. And, for what another thread of the caller may do meanwhile:
 * FLIP: after each copy, the third word of what was copied is what the status was before, in the caller's memory
 * LINGER: after each copy other threads come first
 */
#define ECHO 0x6d6f6100
#define FLIP 1u
#define LINGER 2u

static u32 word(const u8 *params, unsigned int at)
{
	return *(const u32 *)(params + at);
}

/* What the flags of a control ask for; 0: it is none, or they are others. */
static u32 asked(u32 number, u32 size, const u8 *params)
{
	u32 flags = number == NV_CONTROL && size == 32 ? word(params, 12) : 0;

	return (flags & ~(FLIP | LINGER)) == ECHO ? flags : 0;
}

static void meanwhile(u32 flags, u32 other, void __user *copied)
{
	if (flags & FLIP && put_user(other, (u32 __user *)(copied + 8)))
		pr_warn("moat_gpu: a word of the caller cannot be changed\n");
	if (flags & LINGER)
		yield();
}

/* By their names and arguments the functions of the real drivers: in no header, and nobody may make them part of who calls them. */
#define DRIVER_FUNCTION __attribute__((noipa, externally_visible))

int os_memcpy_from_user(void *to, const void *from, u32 n);
long nvidia_ioctl(struct inode *inode, struct file *file, unsigned int cmd, unsigned long arg);
long rm_ioctl(void *stack, void *nv, void *file, u32 number, void *params, u32 size);
u32 uvm_api_initialize(void *params, struct file *file);
u32 uvm_api_tools_init_event_tracker(void *params, struct file *file);
u32 uvm_api_tools_read_process_memory(void *params, struct file *file);
u32 uvm_api_tools_write_process_memory(void *params, struct file *file);
int kfd_ioctl_set_debug_trap(struct file *file, void *process, void *params);
long drm_ioctl_kernel(struct file *file, void *function, void *params, u32 flags);

DRIVER_FUNCTION int os_memcpy_from_user(void *to, const void *from, u32 n)
{
	return copy_from_user(to, (const void __user *)from, n) ? -EFAULT : 0;
}

/* NVIDIA's resource manager is built without what makes a function one that can be traced. */
DRIVER_FUNCTION notrace long rm_ioctl(void *stack, void *nv, void *file, u32 number, void *params, u32 size)
{
	u32 flags = asked(number, size, params), n = 0;
	const void *from;
	u8 nested[128];

	if (size >= 32 && (number == NV_CONTROL || number == NV_ALLOC)) {
		from = (const void *)(unsigned long)*(u64 *)(params + 16);
		n = number == NV_CONTROL ? min_t(u32, word(params, 24), sizeof(nested)) : sizeof(nested);
		if (!from || !n || os_memcpy_from_user(nested, from, n))
			n = 0;
		else
			meanwhile(flags, flags ? word(params, 28) : 0, (void __user *)from);
	}
	*(u32 *)(params + size - sizeof(u32)) = !flags ? 0 : n >= 12 ? word(nested, 8) : word(params, 8);
	return 0;
}

DRIVER_FUNCTION u32 uvm_api_initialize(void *params, struct file *file)
{
	return 0;
}
DRIVER_FUNCTION u32 uvm_api_tools_init_event_tracker(void *params, struct file *file)
{
	return 0;
}
DRIVER_FUNCTION u32 uvm_api_tools_read_process_memory(void *params, struct file *file)
{
	return 0;
}
DRIVER_FUNCTION u32 uvm_api_tools_write_process_memory(void *params, struct file *file)
{
	return 0x1f; /* NV_ERR_INVALID_ARGUMENT */
}

/* Of itself a process may do what it likes. */
DRIVER_FUNCTION int kfd_ioctl_set_debug_trap(struct file *file, void *process, void *params)
{
	return word(params, 0) == task_tgid_vnr(current) ? 0 : -EPERM;
}

DRIVER_FUNCTION long drm_ioctl_kernel(struct file *file, void *function, void *params, u32 flags)
{
	return 0;
}

static int gpu_open(struct inode *inode, struct file *file)
{
	atomic_long_inc(&opens);
	return 0;
}

/*
 * The parameter structs of NVIDIA's resource manager end in their status word; 0 is success. The numbers of UVM carry no size. Number 211
 * carries another call: nothing is written to the wrapper itself.
 */
static long gpu_status(unsigned int cmd, unsigned long arg)
{
	unsigned int size = _IOC_SIZE(cmd);
	struct {
		u32 cmd, size;
		u64 ptr;
	} wrapper;

	if (_IOC_NR(cmd) == 211 && size == sizeof(wrapper)) {
		if (copy_from_user(&wrapper, (void __user *)arg, sizeof(wrapper)))
			return -EFAULT;
		size = wrapper.size;
		arg = wrapper.ptr;
	} else if (!(_IOC_DIR(cmd) & _IOC_READ)) {
		return 0;
	}
	return size < sizeof(u32) ? 0 : put_user(0, (u32 __user *)(arg + size - sizeof(u32)));
}

/* What the resource manager serves: of these, and of what they point to, the driver takes a copy and acts on that. */
DRIVER_FUNCTION long nvidia_ioctl(struct inode *inode, struct file *file, unsigned int cmd, unsigned long arg)
{
	struct {
		u32 number, size;
		u64 params;
	} call = {_IOC_NR(cmd), _IOC_SIZE(cmd), arg};
	u32 flags, kept;
	long status;
	u8 *copy;

	if (call.number == NV_XFER && copy_from_user(&call, (void __user *)arg, sizeof(call)))
		return -EFAULT;
	if (call.number < NV_RM_FIRST || call.number > NV_RM_LAST || call.size < sizeof(u32) || call.size > PAGE_SIZE)
		return gpu_status(cmd, arg);
	copy = kzalloc(call.size, GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	if (copy_from_user(copy, u64_to_user_ptr(call.params), call.size)) {
		kfree(copy);
		return gpu_status(cmd, arg);
	}
	flags = asked(call.number, call.size, copy);
	meanwhile(flags, flags ? word(copy, 28) : 0, u64_to_user_ptr(call.params));
	status = rm_ioctl(NULL, NULL, NULL, call.number, copy, call.size);
	/* Where a test asks, the status alone: what was changed stays changed. */
	kept = flags ? call.size - sizeof(u32) : 0;
	if (copy_to_user(u64_to_user_ptr(call.params) + kept, copy + kept, call.size - kept))
		status = -EFAULT;
	meanwhile(flags & LINGER, 0, u64_to_user_ptr(call.params));
	kfree(copy);
	return status;
}

static long gpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	atomic_long_inc(&ioctls);
	return nvidia_ioctl(file_inode(file), file, cmd, arg);
}

static long gpu_compat_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	atomic_long_inc(&compat_ioctls);
	return nvidia_ioctl(file_inode(file), file, cmd, (u32)arg);
}

static long uvm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	u8 params[64];

	atomic_long_inc(&ioctls);
	if (copy_from_user(params, (void __user *)arg, sizeof(params)))
		return 0;
	switch (cmd) {
	case UVM_INITIALIZE:
		return uvm_api_initialize(params, file), 0;
	case UVM_TRACKER:
		return uvm_api_tools_init_event_tracker(params, file), 0;
	case UVM_READ:
		return uvm_api_tools_read_process_memory(params, file), 0;
	case UVM_WRITE:
		return uvm_api_tools_write_process_memory(params, file), 0;
	default:
		return 0;
	}
}

static long kfd_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	u8 params[128] = {};

	atomic_long_inc(&ioctls);
	if (_IOC_SIZE(cmd) > sizeof(params) || copy_from_user(params, (void __user *)arg, _IOC_SIZE(cmd)))
		return -EFAULT;
	return _IOC_NR(cmd) == KFD_DEBUG_TRAP ? kfd_ioctl_set_debug_trap(file, NULL, params) : 0;
}

static long drm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	u8 params[128] = {};

	atomic_long_inc(&ioctls);
	if (_IOC_SIZE(cmd) > sizeof(params) || copy_from_user(params, (void __user *)arg, _IOC_SIZE(cmd)))
		return -EFAULT;
	return drm_ioctl_kernel(file, NULL, params, 0);
}

static int gpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (vma->vm_end - vma->vm_start > PAGE_SIZE)
		return -EINVAL;
	atomic_long_inc(&mmaps);
	return remap_pfn_range(vma, vma->vm_start, page_to_pfn(virt_to_page((void *)page)), PAGE_SIZE, vma->vm_page_prot);
}

static const struct file_operations gpu_fops = {
	.owner = THIS_MODULE,
	.open = gpu_open,
	.unlocked_ioctl = gpu_ioctl,
	.compat_ioctl = gpu_compat_ioctl,
	.mmap = gpu_mmap,
};
static const struct file_operations uvm_fops = {
	.owner = THIS_MODULE, .open = gpu_open, .unlocked_ioctl = uvm_ioctl, .mmap = gpu_mmap};
static const struct file_operations kfd_fops = {.owner = THIS_MODULE, .open = gpu_open, .unlocked_ioctl = kfd_ioctl};
static const struct file_operations drm_fops = {.owner = THIS_MODULE, .open = gpu_open, .unlocked_ioctl = drm_ioctl};

/* Each driver's numbers and its first node, or two. */
static struct driver {
	const char *name;
	const struct file_operations *fops;
	unsigned int major, minors; /* major 0: of the kernel's choice */
	struct {
		const char *name;
		unsigned int minor;
	} nodes[2];
	struct cdev cdev;
	bool registered, added;
} drivers[] = {
	{"nvidia", &gpu_fops, 195, 256, {{"nvidia0", 0}, {"nvidiactl", 255}}},
	{"nvidia-uvm", &uvm_fops, 0, 1, {{"nvidia-uvm", 0}}},
	{"kfd", &kfd_fops, 0, 1, {{"kfd", 0}}},
	{"drm", &drm_fops, 226, 256, {{"dri!renderD128", 128}}},
};
static struct class *gpu_class;

static int get_count(char *buffer, const struct kernel_param *param)
{
	return sprintf(buffer, "%ld\n", atomic_long_read((atomic_long_t *)param->arg));
}

static const struct kernel_param_ops count_ops = {.get = get_count};
module_param_cb(opens, &count_ops, &opens, 0444);
module_param_cb(ioctls, &count_ops, &ioctls, 0444);
module_param_cb(compat_ioctls, &count_ops, &compat_ioctls, 0444);
module_param_cb(mmaps, &count_ops, &mmaps, 0444);

/* For everyone, as the real driver's nodes are. The device is const from 6.2. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
static char *gpu_devnode(struct device *device, umode_t *mode)
#else
static char *gpu_devnode(const struct device *device, umode_t *mode)
#endif
{
	if (mode)
		*mode = 0666;
	return NULL;
}

static void gpu_remove(void)
{
	struct driver *driver;

	for (driver = drivers; driver < drivers + ARRAY_SIZE(drivers); driver++) {
		dev_t first = MKDEV(driver->major, 0);
		unsigned int i;

		for (i = 0; driver->added && i < ARRAY_SIZE(driver->nodes) && driver->nodes[i].name; i++)
			device_destroy(gpu_class, first + driver->nodes[i].minor);
		if (driver->added)
			cdev_del(&driver->cdev);
		if (driver->registered)
			unregister_chrdev_region(first, driver->minors);
	}
	if (!IS_ERR_OR_NULL(gpu_class))
		class_destroy(gpu_class);
	free_page(page);
}

static int driver_add(struct driver *driver)
{
	dev_t first = MKDEV(driver->major, 0);
	unsigned int i;
	int error = driver->major ? register_chrdev_region(first, driver->minors, driver->name)
				  : alloc_chrdev_region(&first, 0, driver->minors, driver->name);

	if (error)
		return error;
	driver->major = MAJOR(first);
	driver->registered = true;
	cdev_init(&driver->cdev, driver->fops);
	error = cdev_add(&driver->cdev, first, driver->minors);
	if (error)
		return error;
	driver->added = true;
	for (i = 0; i < ARRAY_SIZE(driver->nodes) && driver->nodes[i].name; i++)
		device_create(gpu_class, NULL, first + driver->nodes[i].minor, NULL, driver->nodes[i].name);
	return 0;
}

static int __init gpu_init(void)
{
	unsigned int i;
	int error;

	page = get_zeroed_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
	gpu_class = class_create(THIS_MODULE, "moat_gpu");
#else
	gpu_class = class_create("moat_gpu");
#endif
	error = PTR_ERR_OR_ZERO(gpu_class);
	if (!error)
		gpu_class->devnode = gpu_devnode;
	for (i = 0; !error && i < ARRAY_SIZE(drivers); i++)
		error = driver_add(&drivers[i]);
	if (error)
		gpu_remove();
	return error;
}

static void __exit gpu_exit(void)
{
	gpu_remove();
}

module_init(gpu_init);
module_exit(gpu_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("moat's stand-in for a GPU driver, for tests");
