// SPDX-License-Identifier: Apache-2.0
// NVIDIA/gdrcopy, gdrdrv.h; aws-neuron/aws-neuron-driver, neuron_ioctl.h. Both drivers have no compat_ioctl: no 32-bit program
// reaches them, so nothing here is held at 32 bits.
#pragma once

#include "tests/abi/layouts/layout.h"

namespace moat::layouts {

struct gdrdrv_pin_buffer {
  uint64_t addr, size, p2p_token;
  uint32_t va_space;
  uint64_t handle;
};
struct gdrdrv_pin_buffer_v2 {
  uint64_t addr, size;
  uint32_t flags, pad;
  uint64_t handle;
};
struct gdrdrv_unpin_buffer {
  uint64_t handle;
};
struct neuron_ds_info {
  int32_t pid;
  uint64_t mmap_offset;
  uint32_t size;
};
struct neuron_bar_rw {
  uint32_t bar;
  uint64_t* address;
  uint32_t* data;
  uint32_t count;
};
struct neuron_dmabuf_fd {
  uint64_t va, size;
  int32_t* fd;
};
struct neuron_mem_alloc {
  uint64_t size;
  uint32_t host_memory, dram_channel, dram_region, nc_id;
  uint64_t* mem_handle;
};
struct neuron_mem_alloc_v2 {
  uint64_t size, align;
  uint32_t host_memory, dram_channel, dram_region, nc_id;
  uint64_t* mem_handle;
};
struct neuron_mem_alloc_v2mt {
  uint64_t size, align;
  uint32_t host_memory, dram_channel, dram_region, nc_id, mem_type;
  uint64_t* mem_handle;
};
struct neuron_mem_alloc_v2mt64 {
  uint64_t size, align;
  uint32_t host_memory, dram_channel, dram_region, nc_id, mem_type;
  uint64_t* mem_handle;
  uint32_t pad;
};
struct neuron_mem_buf_copy {
  uint64_t mem_handle;
  void* buffer;
  uint32_t size, offset, copy_to_mem_handle;
};
struct neuron_mem_buf_copy64 {
  uint64_t mem_handle;
  void* buffer;
  uint64_t size, offset;
  uint32_t copy_to_mem_handle;
};
struct neuron_mem_get_extended_info {
  uint64_t mem_handle;
  uint32_t version, host_memory;
  uint64_t mmap_offset, pa, pid, size;
};
struct neuron_program_engine {
  uint64_t dst;
  void* buffer;
  uint32_t size, offset;
};

inline constexpr Layout kOthers[] = {
    LAYOUT(gdrdrv_pin_buffer, "GDRDRV_IOC_PIN_BUFFER", "", "", 40, AT(addr, 0), AT(size, 8), AT(p2p_token, 16), AT(va_space, 24),
           AT(handle, 32)),
    LAYOUT(gdrdrv_pin_buffer_v2, "GDRDRV_IOC_PIN_BUFFER_V2", "", "", 32, AT(addr, 0), AT(size, 8), AT(flags, 16), AT(pad, 20),
           AT(handle, 24)),
    LAYOUT(gdrdrv_unpin_buffer, "GDRDRV_IOC_UNPIN_BUFFER", "", "", 8, AT(handle, 0)),
    LAYOUT(neuron_ds_info, "NEURON_IOCTL_ACQUIRE_NEURON_DS", "", "", 24, AT(pid, 0), AT(mmap_offset, 8), AT(size, 16)),
    LAYOUT(neuron_bar_rw, "NEURON_IOCTL_BAR_READ/WRITE", "", "", 32, AT(bar, 0), AT(address, 8), AT(data, 16), AT(count, 24)),
    LAYOUT(neuron_dmabuf_fd, "NEURON_IOCTL_DMABUF_FD", "", "", 24, AT(va, 0), AT(size, 8), AT(fd, 16)),
    LAYOUT(neuron_mem_alloc, "NEURON_IOCTL_MEM_ALLOC", "", "", 32, AT(size, 0), AT(host_memory, 8), AT(dram_channel, 12),
           AT(dram_region, 16), AT(nc_id, 20), AT(mem_handle, 24)),
    LAYOUT(neuron_mem_alloc_v2, "NEURON_IOCTL_MEM_ALLOC_V2", "", "", 40, AT(size, 0), AT(align, 8), AT(host_memory, 16),
           AT(dram_channel, 20), AT(dram_region, 24), AT(nc_id, 28), AT(mem_handle, 32)),
    LAYOUT(neuron_mem_alloc_v2mt, "NEURON_IOCTL_MEM_ALLOC_V2MT", "", "", 48, AT(size, 0), AT(align, 8), AT(host_memory, 16),
           AT(dram_channel, 20), AT(dram_region, 24), AT(nc_id, 28), AT(mem_type, 32), AT(mem_handle, 40)),
    LAYOUT(neuron_mem_alloc_v2mt64, "NEURON_IOCTL_MEM_ALLOC_V2MT64", "", "", 56, AT(size, 0), AT(align, 8), AT(host_memory, 16),
           AT(dram_channel, 20), AT(dram_region, 24), AT(nc_id, 28), AT(mem_type, 32), AT(mem_handle, 40), AT(pad, 48)),
    LAYOUT(neuron_mem_buf_copy, "NEURON_IOCTL_MEM_BUF_COPY", "", "", 32, AT(mem_handle, 0), AT(buffer, 8), AT(size, 16),
           AT(offset, 20), AT(copy_to_mem_handle, 24)),
    LAYOUT(neuron_mem_buf_copy64, "NEURON_IOCTL_MEM_BUF_COPY64", "", "", 40, AT(mem_handle, 0), AT(buffer, 8), AT(size, 16),
           AT(offset, 24), AT(copy_to_mem_handle, 32)),
    LAYOUT(neuron_mem_get_extended_info, "NEURON_IOCTL_MEM_GET_EXTENDED_INFO", "", "", 48, AT(mem_handle, 0), AT(version, 8),
           AT(host_memory, 12), AT(mmap_offset, 16), AT(pa, 24), AT(pid, 32), AT(size, 40)),
    LAYOUT(neuron_program_engine, "NEURON_IOCTL_PROGRAM_ENGINE", "", "", 24, AT(dst, 0), AT(buffer, 8), AT(size, 16),
           AT(offset, 20)),
};

}  // namespace moat::layouts
