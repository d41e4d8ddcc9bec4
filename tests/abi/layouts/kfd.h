// SPDX-License-Identifier: Apache-2.0
// torvalds/linux, uapi/linux/kfd_ioctl.h of interface 1.3 to 1.23; what AMD's own builds have beside (IPC, SPM, PC
// sampling, copies between processes) is from ROCm's kfd_ioctl.h. KFD refuses 32-bit callers, so nothing here is held at 32 bits.
#pragma once

#include "tests/abi/layouts/layout.h"

namespace moat::layouts {

struct kfd_acquire_vm {
  uint32_t drm_fd, gpu_id;
};
struct kfd_alloc_memory_of_gpu {
  uint64_t va_addr, size, handle, mmap_offset;
  uint32_t gpu_id, flags;
};
struct kfd_create_queue_1 {
  uint64_t ring_base_address, write_pointer_address, read_pointer_address, doorbell_offset;
  uint32_t ring_size, gpu_id, queue_type, queue_percentage, queue_priority, queue_id;
  uint64_t eop_buffer_address, eop_buffer_size, ctx_save_restore_address;
  uint32_t ctx_save_restore_size, ctl_stack_size;
};
struct kfd_create_queue_17 {
  uint64_t ring_base_address, write_pointer_address, read_pointer_address, doorbell_offset;
  uint32_t ring_size, gpu_id, queue_type, queue_percentage, queue_priority, queue_id;
  uint64_t eop_buffer_address, eop_buffer_size, ctx_save_restore_address;
  uint32_t ctx_save_restore_size, ctl_stack_size;
  // From 1.22 the last is metadata_ring_size, by name alone.
  uint32_t sdma_engine_id, pad;
};
struct kfd_criu {
  uint64_t devices, bos, priv_data, priv_data_size;
  uint32_t num_devices, num_bos, num_objects, pid, op;
};
struct kfd_cross_memory_copy {
  uint32_t pid, flags;
  uint64_t src_mem_range_array, src_mem_array_size, dst_mem_range_array, dst_mem_array_size, bytes_copied;
};
struct kfd_dbg_trap {
  uint32_t pid, op;
  union {
    struct {
      uint64_t exception_mask, rinfo_ptr;
      uint32_t rinfo_size, dbg_fd;
    } enable;
    struct {
      uint64_t exception_mask;
      uint32_t gpu_id, queue_id;
    } send_runtime_event;
    struct {
      uint64_t exception_mask;
    } set_exceptions_enabled;
    struct {
      uint32_t override_mode, enable_mask, support_request_mask, pad;
    } launch_override;
    struct {
      uint32_t launch_mode, pad;
    } launch_mode;
    struct {
      uint64_t exception_mask, queue_array_ptr;
      uint32_t num_queues, grace_period;
    } suspend_queues;
    struct {
      uint64_t queue_array_ptr;
      uint32_t num_queues, pad;
    } resume_queues;
    struct {
      uint64_t address;
      uint32_t mode, mask, gpu_id, id;
    } set_node_address_watch;
    struct {
      uint32_t gpu_id, id;
    } clear_node_address_watch;
    struct {
      uint32_t flags, pad;
    } set_flags;
    struct {
      uint64_t exception_mask;
      uint32_t gpu_id, queue_id;
    } query_debug_event;
    struct {
      uint64_t info_ptr;
      uint32_t info_size, source_id, exception_code, clear_exception;
    } query_exception_info;
    struct {
      uint64_t exception_mask, snapshot_buf_ptr;
      uint32_t num_queues, entry_size;
    } queue_snapshot;
    struct {
      uint64_t exception_mask, snapshot_buf_ptr;
      uint32_t num_devices, entry_size;
    } device_snapshot;
  };
};
struct kfd_destroy_queue {
  uint32_t queue_id, pad;
};
struct kfd_export_dmabuf {
  uint64_t handle;
  uint32_t flags, dmabuf_fd;
};
struct kfd_free_memory_of_gpu {
  uint64_t handle;
};
struct kfd_get_dmabuf_info {
  uint64_t size, metadata_ptr;
  uint32_t metadata_size, gpu_id, flags, dmabuf_fd;
};
struct kfd_get_queue_wave_state {
  uint64_t ctl_stack_address;
  uint32_t ctl_stack_used_size, save_area_used_size, queue_id, pad;
};
struct kfd_import_dmabuf {
  uint64_t va_addr, handle;
  uint32_t gpu_id, dmabuf_fd;
};
struct kfd_ipc_export_handle {
  uint64_t handle;
  uint32_t share_handle[4], gpu_id, flags;
};
struct kfd_ipc_import_handle {
  uint64_t handle, va_addr, mmap_offset;
  uint32_t share_handle[4], gpu_id, flags;
};
struct kfd_map_memory_to_gpu {
  uint64_t handle, device_ids_array_ptr;
  uint32_t n_devices, n_success;
};
struct kfd_pc_sample_17 {
  uint64_t sample_info_ptr;
  uint32_t num_sample_info, op, gpu_id, trace_id, flags, reserved;
};
struct kfd_pc_sample_18 {
  uint64_t sample_info_ptr;
  uint32_t num_sample_info, op, gpu_id, trace_id, flags, version;
};
struct kfd_spm {
  uint64_t dest_buf;
  uint32_t buf_size, op, timeout, gpu_id, bytes_copied, has_data_loss;
};
struct kfd_runtime_enable {
  uint64_t r_debug;
  uint32_t mode_mask, capabilities_mask;
};
struct kfd_set_trap_handler {
  uint64_t tba_addr, tma_addr;
  uint32_t gpu_id, pad;
};
struct kfd_smi_events {
  uint32_t gpuid, anon_fd;
};
struct kfd_svm_attribute {
  uint32_t type, value;
};
struct kfd_svm {
  uint64_t start_addr, size;
  uint32_t op, nattr;
  kfd_svm_attribute attrs[0];  // as many as nattr says
};

inline constexpr Layout kKfd[] = {
    LAYOUT(kfd_acquire_vm, "AMDKFD_IOC_ACQUIRE_VM", "", "", 8, AT(drm_fd, 0), AT(gpu_id, 4)),
    LAYOUT(kfd_alloc_memory_of_gpu, "AMDKFD_IOC_ALLOC_MEMORY_OF_GPU", "", "", 40, AT(va_addr, 0), AT(size, 8), AT(handle, 16),
           AT(mmap_offset, 24), AT(gpu_id, 32), AT(flags, 36)),
    LAYOUT(kfd_create_queue_1, "AMDKFD_IOC_CREATE_QUEUE", "", "1.11", 88, AT(ring_base_address, 0), AT(write_pointer_address, 8),
           AT(read_pointer_address, 16), AT(doorbell_offset, 24), AT(ring_size, 32), AT(gpu_id, 36), AT(queue_type, 40),
           AT(queue_percentage, 44), AT(queue_priority, 48), AT(queue_id, 52), AT(eop_buffer_address, 56),
           AT(eop_buffer_size, 64), AT(ctx_save_restore_address, 72), AT(ctx_save_restore_size, 80), AT(ctl_stack_size, 84)),
    LAYOUT(kfd_create_queue_17, "AMDKFD_IOC_CREATE_QUEUE", "1.17", "", 96, AT(ring_base_address, 0), AT(write_pointer_address, 8),
           AT(read_pointer_address, 16), AT(doorbell_offset, 24), AT(ring_size, 32), AT(gpu_id, 36), AT(queue_type, 40),
           AT(queue_percentage, 44), AT(queue_priority, 48), AT(queue_id, 52), AT(eop_buffer_address, 56),
           AT(eop_buffer_size, 64), AT(ctx_save_restore_address, 72), AT(ctx_save_restore_size, 80), AT(ctl_stack_size, 84),
           AT(sdma_engine_id, 88), AT(pad, 92)),
    LAYOUT(kfd_criu, "AMDKFD_IOC_CRIU_OP", "", "", 56, AT(devices, 0), AT(bos, 8), AT(priv_data, 16), AT(priv_data_size, 24),
           AT(num_devices, 32), AT(num_bos, 36), AT(num_objects, 40), AT(pid, 44), AT(op, 48)),
    LAYOUT(kfd_cross_memory_copy, "AMDKFD_IOC_CROSS_MEMORY_COPY_DEPRECATED", "1.17", "1.17", 48, AT(pid, 0), AT(flags, 4),
           AT(src_mem_range_array, 8), AT(src_mem_array_size, 16), AT(dst_mem_range_array, 24), AT(dst_mem_array_size, 32),
           AT(bytes_copied, 40)),
    LAYOUT(kfd_dbg_trap, "AMDKFD_IOC_DBG_TRAP", "1.17", "", 32, AT(pid, 0), AT(op, 4), AT(clear_node_address_watch, 8),
           AT(clear_node_address_watch.gpu_id, 8), AT(device_snapshot, 8), AT(device_snapshot.exception_mask, 8), AT(enable, 8),
           AT(enable.exception_mask, 8), AT(launch_mode, 8), AT(launch_mode.launch_mode, 8), AT(launch_override, 8),
           AT(launch_override.override_mode, 8), AT(query_debug_event, 8), AT(query_debug_event.exception_mask, 8),
           AT(query_exception_info, 8), AT(query_exception_info.info_ptr, 8), AT(queue_snapshot, 8),
           AT(queue_snapshot.exception_mask, 8), AT(resume_queues, 8), AT(resume_queues.queue_array_ptr, 8),
           AT(send_runtime_event, 8), AT(send_runtime_event.exception_mask, 8), AT(set_exceptions_enabled, 8),
           AT(set_exceptions_enabled.exception_mask, 8), AT(set_flags, 8), AT(set_flags.flags, 8), AT(set_node_address_watch, 8),
           AT(set_node_address_watch.address, 8), AT(suspend_queues, 8), AT(suspend_queues.exception_mask, 8),
           AT(clear_node_address_watch.id, 12), AT(launch_mode.pad, 12), AT(launch_override.enable_mask, 12),
           AT(set_flags.pad, 12), AT(device_snapshot.snapshot_buf_ptr, 16), AT(enable.rinfo_ptr, 16),
           AT(launch_override.support_request_mask, 16), AT(query_debug_event.gpu_id, 16), AT(query_exception_info.info_size, 16),
           AT(queue_snapshot.snapshot_buf_ptr, 16), AT(resume_queues.num_queues, 16), AT(send_runtime_event.gpu_id, 16),
           AT(set_node_address_watch.mode, 16), AT(suspend_queues.queue_array_ptr, 16), AT(launch_override.pad, 20),
           AT(query_debug_event.queue_id, 20), AT(query_exception_info.source_id, 20), AT(resume_queues.pad, 20),
           AT(send_runtime_event.queue_id, 20), AT(set_node_address_watch.mask, 20), AT(device_snapshot.num_devices, 24),
           AT(enable.rinfo_size, 24), AT(query_exception_info.exception_code, 24), AT(queue_snapshot.num_queues, 24),
           AT(set_node_address_watch.gpu_id, 24), AT(suspend_queues.num_queues, 24), AT(device_snapshot.entry_size, 28),
           AT(enable.dbg_fd, 28), AT(query_exception_info.clear_exception, 28), AT(queue_snapshot.entry_size, 28),
           AT(set_node_address_watch.id, 28), AT(suspend_queues.grace_period, 28)),
    LAYOUT(kfd_destroy_queue, "AMDKFD_IOC_DESTROY_QUEUE", "", "", 8, AT(queue_id, 0), AT(pad, 4)),
    LAYOUT(kfd_export_dmabuf, "AMDKFD_IOC_EXPORT_DMABUF", "1.17", "", 16, AT(handle, 0), AT(flags, 8), AT(dmabuf_fd, 12)),
    LAYOUT(kfd_free_memory_of_gpu, "AMDKFD_IOC_FREE_MEMORY_OF_GPU", "", "", 8, AT(handle, 0)),
    LAYOUT(kfd_get_dmabuf_info, "AMDKFD_IOC_GET_DMABUF_INFO", "", "", 32, AT(size, 0), AT(metadata_ptr, 8), AT(metadata_size, 16),
           AT(gpu_id, 20), AT(flags, 24), AT(dmabuf_fd, 28)),
    LAYOUT(kfd_get_queue_wave_state, "AMDKFD_IOC_GET_QUEUE_WAVE_STATE", "", "", 24, AT(ctl_stack_address, 0),
           AT(ctl_stack_used_size, 8), AT(save_area_used_size, 12), AT(queue_id, 16), AT(pad, 20)),
    LAYOUT(kfd_import_dmabuf, "AMDKFD_IOC_IMPORT_DMABUF", "", "", 24, AT(va_addr, 0), AT(handle, 8), AT(gpu_id, 16),
           AT(dmabuf_fd, 20)),
    LAYOUT(kfd_ipc_export_handle, "AMDKFD_IOC_IPC_EXPORT_HANDLE", "1.17", "", 32, AT(handle, 0), AT(share_handle, 8),
           AT(gpu_id, 24), AT(flags, 28)),
    LAYOUT(kfd_ipc_import_handle, "AMDKFD_IOC_IPC_IMPORT_HANDLE", "1.17", "", 48, AT(handle, 0), AT(va_addr, 8),
           AT(mmap_offset, 16), AT(share_handle, 24), AT(gpu_id, 40), AT(flags, 44)),
    LAYOUT(kfd_map_memory_to_gpu, "AMDKFD_IOC_MAP_MEMORY_TO_GPU", "", "", 24, AT(handle, 0), AT(device_ids_array_ptr, 8),
           AT(n_devices, 16), AT(n_success, 20)),
    LAYOUT(kfd_pc_sample_17, "AMDKFD_IOC_PC_SAMPLE", "1.17", "1.17", 32, AT(sample_info_ptr, 0), AT(num_sample_info, 8),
           AT(op, 12), AT(gpu_id, 16), AT(trace_id, 20), AT(flags, 24), AT(reserved, 28)),
    LAYOUT(kfd_pc_sample_18, "AMDKFD_IOC_PC_SAMPLE", "1.18", "", 32, AT(sample_info_ptr, 0), AT(num_sample_info, 8), AT(op, 12),
           AT(gpu_id, 16), AT(trace_id, 20), AT(flags, 24), AT(version, 28)),
    LAYOUT(kfd_spm, "AMDKFD_IOC_RLC_SPM", "1.17", "", 32, AT(dest_buf, 0), AT(buf_size, 8), AT(op, 12), AT(timeout, 16),
           AT(gpu_id, 20), AT(bytes_copied, 24), AT(has_data_loss, 28)),
    LAYOUT(kfd_runtime_enable, "AMDKFD_IOC_RUNTIME_ENABLE", "1.17", "", 16, AT(r_debug, 0), AT(mode_mask, 8),
           AT(capabilities_mask, 12)),
    LAYOUT(kfd_set_trap_handler, "AMDKFD_IOC_SET_TRAP_HANDLER", "", "", 24, AT(tba_addr, 0), AT(tma_addr, 8), AT(gpu_id, 16),
           AT(pad, 20)),
    LAYOUT(kfd_smi_events, "AMDKFD_IOC_SMI_EVENTS", "", "", 8, AT(gpuid, 0), AT(anon_fd, 4)),
    LAYOUT(kfd_svm, "AMDKFD_IOC_SVM", "", "", 24, AT(start_addr, 0), AT(size, 8), AT(op, 16), AT(nattr, 20), AT(attrs, 24)),
};

}  // namespace moat::layouts
