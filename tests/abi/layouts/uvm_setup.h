// SPDX-License-Identifier: Apache-2.0
// NVIDIA/open-gpu-kernel-modules, kernel-open/nvidia-uvm: calls on GPUs, channels and the file itself.
#pragma once

#include "tests/abi/layouts/uvm.h"

namespace moat::layouts {

struct UVM_CLEAN_UP_ZOMBIE_RESOURCES {
  uint32_t rmStatus;
};
struct UVM_CLEAR_ALL_ACCESS_COUNTERS {
  uint32_t rmStatus;
};
struct UVM_DISABLE_PEER_ACCESS {
  NvUuid gpuUuidA, gpuUuidB;
  uint32_t rmStatus;
};
struct UVM_DISABLE_SYSTEM_WIDE_ATOMICS {
  NvUuid gpu_uuid;
  uint32_t rmStatus;
};
struct UVM_ENABLE_PEER_ACCESS {
  NvUuid gpuUuidA, gpuUuidB;
  uint32_t rmStatus;
};
struct UVM_ENABLE_SYSTEM_WIDE_ATOMICS {
  NvUuid gpu_uuid;
  uint32_t rmStatus;
};
struct UVM_INITIALIZE {
  Aligned64 flags;
  uint32_t rmStatus;
};
struct UVM_MM_INITIALIZE {
  int32_t uvmFd;
  uint32_t rmStatus;
};
struct UVM_PAGEABLE_MEM_ACCESS {
  uint8_t pageableMemAccess;
  uint32_t rmStatus;
};
struct UVM_PAGEABLE_MEM_ACCESS_ON_GPU {
  NvUuid gpu_uuid;
  uint8_t pageableMemAccess;
  uint32_t rmStatus;
};
struct UVM_REGISTER_CHANNEL {
  NvUuid gpuUuid;
  int32_t rmCtrlFd;
  uint32_t hClient, hChannel;
  Aligned64 base, length;
  uint32_t rmStatus;
};
struct UVM_REGISTER_GPU {
  NvUuid gpu_uuid;
  uint8_t numaEnabled;
  int32_t numaNodeId, rmCtrlFd;
  uint32_t hClient, hSmcPartRef, rmStatus;
};
struct UVM_REGISTER_GPU_VASPACE {
  NvUuid gpuUuid;
  int32_t rmCtrlFd;
  uint32_t hClient, hVaSpace, rmStatus;
};
struct UVM_UNREGISTER_CHANNEL_515 {
  NvUuid gpuUuid;
  uint32_t hClient, hChannel, rmStatus;
};
struct UVM_UNREGISTER_CHANNEL_590 {
  uint32_t hClient, hChannel, rmStatus;
};
struct UVM_UNREGISTER_GPU {
  NvUuid gpu_uuid;
  uint32_t rmStatus;
};
struct UVM_UNREGISTER_GPU_VASPACE {
  NvUuid gpuUuid;
  uint32_t rmStatus;
};

inline constexpr Layout kUvmSetup[] = {
    LAYOUT(UVM_CLEAN_UP_ZOMBIE_RESOURCES, "UVM_CLEAN_UP_ZOMBIE_RESOURCES", "", "", 4, AT(rmStatus, 0)),
    LAYOUT(UVM_CLEAR_ALL_ACCESS_COUNTERS, "UVM_CLEAR_ALL_ACCESS_COUNTERS", "565.57.01", "", 4, AT(rmStatus, 0)),
    LAYOUT(UVM_DISABLE_PEER_ACCESS, "UVM_DISABLE_PEER_ACCESS", "", "", 36, AT(gpuUuidA, 0), AT(gpuUuidB, 16), AT(rmStatus, 32)),
    LAYOUT(UVM_DISABLE_SYSTEM_WIDE_ATOMICS, "UVM_DISABLE_SYSTEM_WIDE_ATOMICS", "515.43.04", "590.48.01", 20, AT(gpu_uuid, 0),
           AT(rmStatus, 16)),
    LAYOUT(UVM_ENABLE_PEER_ACCESS, "UVM_ENABLE_PEER_ACCESS", "", "", 36, AT(gpuUuidA, 0), AT(gpuUuidB, 16), AT(rmStatus, 32)),
    LAYOUT(UVM_ENABLE_SYSTEM_WIDE_ATOMICS, "UVM_ENABLE_SYSTEM_WIDE_ATOMICS", "515.43.04", "590.48.01", 20, AT(gpu_uuid, 0),
           AT(rmStatus, 16)),
    LAYOUT(UVM_INITIALIZE, "UVM_INITIALIZE", "", "", 16, AT(flags, 0), AT(rmStatus, 8)),
    LAYOUT(UVM_MM_INITIALIZE, "UVM_MM_INITIALIZE", "535.43.02", "", 8, AT(uvmFd, 0), AT(rmStatus, 4)),
    LAYOUT(UVM_PAGEABLE_MEM_ACCESS, "UVM_PAGEABLE_MEM_ACCESS", "", "", 8, AT(pageableMemAccess, 0), AT(rmStatus, 4)),
    LAYOUT(UVM_PAGEABLE_MEM_ACCESS_ON_GPU, "UVM_PAGEABLE_MEM_ACCESS_ON_GPU", "", "", 24, AT(gpu_uuid, 0),
           AT(pageableMemAccess, 16), AT(rmStatus, 20)),
    LAYOUT(UVM_REGISTER_CHANNEL, "UVM_REGISTER_CHANNEL", "", "", 56, AT(gpuUuid, 0), AT(rmCtrlFd, 16), AT(hClient, 20),
           AT(hChannel, 24), AT(base, 32), AT(length, 40), AT(rmStatus, 48)),
    LAYOUT(UVM_REGISTER_GPU, "UVM_REGISTER_GPU", "", "", 40, AT(gpu_uuid, 0), AT(numaEnabled, 16), AT(numaNodeId, 20),
           AT(rmCtrlFd, 24), AT(hClient, 28), AT(hSmcPartRef, 32), AT(rmStatus, 36)),
    LAYOUT(UVM_REGISTER_GPU_VASPACE, "UVM_REGISTER_GPU_VASPACE", "", "", 32, AT(gpuUuid, 0), AT(rmCtrlFd, 16), AT(hClient, 20),
           AT(hVaSpace, 24), AT(rmStatus, 28)),
    LAYOUT(UVM_UNREGISTER_CHANNEL_515, "UVM_UNREGISTER_CHANNEL", "", "580.142", 28, AT(gpuUuid, 0), AT(hClient, 16),
           AT(hChannel, 20), AT(rmStatus, 24)),
    LAYOUT(UVM_UNREGISTER_CHANNEL_590, "UVM_UNREGISTER_CHANNEL", "590.44.01", "", 12, AT(hClient, 0), AT(hChannel, 4),
           AT(rmStatus, 8)),
    LAYOUT(UVM_UNREGISTER_GPU, "UVM_UNREGISTER_GPU", "", "", 20, AT(gpu_uuid, 0), AT(rmStatus, 16)),
    LAYOUT(UVM_UNREGISTER_GPU_VASPACE, "UVM_UNREGISTER_GPU_VASPACE", "", "", 20, AT(gpuUuid, 0), AT(rmStatus, 16)),
};

}  // namespace moat::layouts
