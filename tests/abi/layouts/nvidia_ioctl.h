// SPDX-License-Identifier: Apache-2.0
// NVIDIA/open-gpu-kernel-modules, nv-ioctl.h and nv-unix-nvos-params-wrappers.h: escapes of the Unix driver itself.
#pragma once

#include "tests/abi/layouts/layout.h"

namespace moat::layouts {

struct nv_ioctl_alloc_os_event_t {
  uint32_t hClient, hDevice, fd, Status;
};
struct nv_pci_info_t {
  uint32_t domain;
  uint8_t bus, slot, function;
  uint16_t vendor_id, device_id;
};
struct nv_ioctl_card_info_t {
  uint8_t valid;
  nv_pci_info_t pci_info;
  uint32_t gpu_id;
  uint16_t interrupt_line;
  Aligned64 reg_address, reg_size, fb_address, fb_size;
  uint32_t minor_number;
  uint8_t dev_name[10];
};
struct nv_ioctl_export_to_dma_buf_fd_t_515 {
  int32_t fd;
  uint32_t hClient, totalObjects, numObjects, index;
  Aligned64 totalSize;
  uint32_t handles[128];
  Aligned64 offsets[128], sizes[128];
  uint32_t status;
};
struct nv_ioctl_export_to_dma_buf_fd_t_570 {
  int32_t fd;
  uint32_t hClient, totalObjects, numObjects, index;
  Aligned64 totalSize;
  uint8_t mappingType;
  uint32_t handles[128];
  Aligned64 offsets[128], sizes[128];
  uint32_t status;
};
struct nv_ioctl_export_to_dma_buf_fd_t_580 {
  int32_t fd;
  uint32_t hClient, totalObjects, numObjects, index;
  Aligned64 totalSize;
  uint8_t mappingType, bAllowMmap;
  uint32_t handles[128];
  Aligned64 offsets[128], sizes[128];
  uint32_t status;
};
struct nv_ioctl_free_os_event_t {
  uint32_t hClient, hDevice, fd, Status;
};
struct NVOS02_PARAMETERS {
  uint32_t hRoot, hObjectParent, hObjectNew, hClass, flags;
  Aligned64 pMemory, limit;
  uint32_t status;
};
struct nv_ioctl_nvos02_parameters_with_fd {
  NVOS02_PARAMETERS params;
  int32_t fd;
};
struct NVOS33_PARAMETERS {
  uint32_t hClient, hDevice, hMemory;
  Aligned64 offset, length, pLinearAddress;
  uint32_t status, flags;
};
struct nv_ioctl_nvos33_parameters_with_fd {
  NVOS33_PARAMETERS params;
  int32_t fd;
};
struct nv_ioctl_query_device_intr {
  uint32_t intrStatus, status;
};
struct nv_ioctl_register_fd_t {
  int32_t ctl_fd;
};
struct nv_ioctl_rm_api_version_t {
  uint32_t cmd, reply;
  char versionString[64];
};
struct nv_ioctl_status_code_t {
  uint32_t domain;
  uint8_t bus, slot;
  uint32_t status;
};
struct nv_ioctl_sys_params_t {
  Aligned64 memblock_size;
};
struct nv_ioctl_wait_open_complete_t {
  int32_t rc;
  uint32_t adapterStatus;
};
struct nv_ioctl_xfer_t {
  uint32_t cmd, size;
  Aligned64 ptr;
};

inline constexpr Layout kNvidiaIoctl[] = {
    LAYOUT(nv_ioctl_alloc_os_event_t, "nv_ioctl_alloc_os_event_t", "", "", 16, AT(hClient, 0), AT(hDevice, 4), AT(fd, 8),
           AT(Status, 12)),
    LAYOUT(nv_ioctl_card_info_t, "nv_ioctl_card_info_t", "", "", 72, AT(valid, 0), AT(pci_info, 4), AT(pci_info.domain, 4),
           AT(pci_info.bus, 8), AT(pci_info.slot, 9), AT(pci_info.function, 10), AT(pci_info.vendor_id, 12),
           AT(pci_info.device_id, 14), AT(gpu_id, 16), AT(interrupt_line, 20), AT(reg_address, 24), AT(reg_size, 32),
           AT(fb_address, 40), AT(fb_size, 48), AT(minor_number, 56), AT(dev_name, 60)),
    LAYOUT(nv_ioctl_export_to_dma_buf_fd_t_515, "nv_ioctl_export_to_dma_buf_fd_t", "", "565.77", 2600, AT(fd, 0), AT(hClient, 4),
           AT(totalObjects, 8), AT(numObjects, 12), AT(index, 16), AT(totalSize, 24), AT(handles, 32), AT(offsets, 544),
           AT(sizes, 1568), AT(status, 2592)),
    LAYOUT(nv_ioctl_export_to_dma_buf_fd_t_570, "nv_ioctl_export_to_dma_buf_fd_t", "570.86.15", "575.64.05", 2608, AT(fd, 0),
           AT(hClient, 4), AT(totalObjects, 8), AT(numObjects, 12), AT(index, 16), AT(totalSize, 24), AT(mappingType, 32),
           AT(handles, 36), AT(offsets, 552), AT(sizes, 1576), AT(status, 2600)),
    LAYOUT(nv_ioctl_export_to_dma_buf_fd_t_580, "nv_ioctl_export_to_dma_buf_fd_t", "580.65.06", "", 2608, AT(fd, 0),
           AT(hClient, 4), AT(totalObjects, 8), AT(numObjects, 12), AT(index, 16), AT(totalSize, 24), AT(mappingType, 32),
           AT(bAllowMmap, 33), AT(handles, 36), AT(offsets, 552), AT(sizes, 1576), AT(status, 2600)),
    LAYOUT(nv_ioctl_free_os_event_t, "nv_ioctl_free_os_event_t", "", "", 16, AT(hClient, 0), AT(hDevice, 4), AT(fd, 8),
           AT(Status, 12)),
    LAYOUT(nv_ioctl_nvos02_parameters_with_fd, "nv_ioctl_nvos02_parameters_with_fd", "", "", 56, AT(params.hRoot, 0),
           AT(params.hObjectParent, 4), AT(params.hObjectNew, 8), AT(params.hClass, 12), AT(params.flags, 16),
           AT(params.pMemory, 24), AT(params.limit, 32), AT(params.status, 40), AT(fd, 48)),
    LAYOUT(nv_ioctl_nvos33_parameters_with_fd, "nv_ioctl_nvos33_parameters_with_fd", "", "", 56, AT(params.hClient, 0),
           AT(params.hDevice, 4), AT(params.hMemory, 8), AT(params.offset, 16), AT(params.length, 24),
           AT(params.pLinearAddress, 32), AT(params.status, 40), AT(params.flags, 44), AT(fd, 48)),
    LAYOUT(nv_ioctl_query_device_intr, "nv_ioctl_query_device_intr", "", "", 8, AT(intrStatus, 0), AT(status, 4)),
    LAYOUT(nv_ioctl_register_fd_t, "nv_ioctl_register_fd_t", "", "", 4, AT(ctl_fd, 0)),
    LAYOUT(nv_ioctl_rm_api_version_t, "nv_ioctl_rm_api_version_t", "", "", 72, AT(cmd, 0), AT(reply, 4), AT(versionString, 8)),
    LAYOUT(nv_ioctl_status_code_t, "nv_ioctl_status_code_t", "", "", 12, AT(domain, 0), AT(bus, 4), AT(slot, 5), AT(status, 8)),
    LAYOUT(nv_ioctl_sys_params_t, "nv_ioctl_sys_params_t", "", "", 8, AT(memblock_size, 0)),
    LAYOUT(nv_ioctl_wait_open_complete_t, "nv_ioctl_wait_open_complete_t", "550.40.07", "", 8, AT(rc, 0), AT(adapterStatus, 4)),
    LAYOUT(nv_ioctl_xfer_t, "nv_ioctl_xfer_t", "", "", 16, AT(cmd, 0), AT(size, 4), AT(ptr, 8)),
};

}  // namespace moat::layouts
