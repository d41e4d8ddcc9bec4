// SPDX-License-Identifier: GPL-2.0-only
/*
 * A GPU driver's character devices with no GPU behind them: /dev/nvidia0 (195:0), /dev/nvidiactl (195:255) and /dev/nvidia-uvm (a
 * major of the kernel's choice). Every call succeeds and is counted here, behind the kernel's security hooks: a call that was
 * denied has not arrived, and the counters in /sys/module/moat_gpu/parameters prove it.
 */
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#define GPU_MAJOR 195
#define GPU_MINORS 256

static atomic_long_t opens, ioctls, compat_ioctls, mmaps;
static unsigned long page;
static struct cdev gpu_cdev, uvm_cdev;
static struct class *gpu_class;
static dev_t uvm_dev;

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

static long gpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	atomic_long_inc(&ioctls);
	return gpu_status(cmd, arg);
}

static long gpu_compat_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	atomic_long_inc(&compat_ioctls);
	return gpu_status(cmd, (u32)arg);
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

static int __init gpu_init(void)
{
	int error;

	page = get_zeroed_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	error = register_chrdev_region(MKDEV(GPU_MAJOR, 0), GPU_MINORS, "nvidia");
	if (error)
		goto free_the_page;
	error = alloc_chrdev_region(&uvm_dev, 0, 1, "nvidia-uvm");
	if (error)
		goto unregister_gpu;
	cdev_init(&gpu_cdev, &gpu_fops);
	error = cdev_add(&gpu_cdev, MKDEV(GPU_MAJOR, 0), GPU_MINORS);
	if (error)
		goto unregister_uvm;
	cdev_init(&uvm_cdev, &gpu_fops);
	error = cdev_add(&uvm_cdev, uvm_dev, 1);
	if (error)
		goto delete_gpu;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 4, 0)
	gpu_class = class_create(THIS_MODULE, "moat_gpu");
#else
	gpu_class = class_create("moat_gpu");
#endif
	error = PTR_ERR_OR_ZERO(gpu_class);
	if (error)
		goto delete_uvm;
	gpu_class->devnode = gpu_devnode;
	device_create(gpu_class, NULL, MKDEV(GPU_MAJOR, 0), NULL, "nvidia0");
	device_create(gpu_class, NULL, MKDEV(GPU_MAJOR, 255), NULL, "nvidiactl");
	device_create(gpu_class, NULL, uvm_dev, NULL, "nvidia-uvm");
	return 0;

delete_uvm:
	cdev_del(&uvm_cdev);
delete_gpu:
	cdev_del(&gpu_cdev);
unregister_uvm:
	unregister_chrdev_region(uvm_dev, 1);
unregister_gpu:
	unregister_chrdev_region(MKDEV(GPU_MAJOR, 0), GPU_MINORS);
free_the_page:
	free_page(page);
	return error;
}

static void __exit gpu_exit(void)
{
	device_destroy(gpu_class, uvm_dev);
	device_destroy(gpu_class, MKDEV(GPU_MAJOR, 255));
	device_destroy(gpu_class, MKDEV(GPU_MAJOR, 0));
	class_destroy(gpu_class);
	cdev_del(&uvm_cdev);
	cdev_del(&gpu_cdev);
	unregister_chrdev_region(uvm_dev, 1);
	unregister_chrdev_region(MKDEV(GPU_MAJOR, 0), GPU_MINORS);
	free_page(page);
}

module_init(gpu_init);
module_exit(gpu_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("moat's stand-in for a GPU driver, for tests");
