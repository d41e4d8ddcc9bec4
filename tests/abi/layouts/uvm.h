// SPDX-License-Identifier: Apache-2.0
// NVIDIA/open-gpu-kernel-modules, kernel-open/nvidia-uvm: calls on ranges of addresses.
#pragma once

#include "tests/abi/layouts/layout.h"

namespace moat::layouts {

struct NvUuid {
  uint8_t uuid[16];
};
struct UVM_ALLOC_DEVICE_P2P {
  Aligned64 base, length, offset;
  NvUuid gpuUuid;
  int32_t rmCtrlFd;
  uint32_t hClient, hMemory, rmStatus;
};
struct UvmGpuMappingAttributes {
  NvUuid gpuUuid;
  uint32_t gpuMappingType, gpuCachingType, gpuFormatType, gpuElementBits, gpuCompressionType;
};
struct UVM_ALLOC_SEMAPHORE_POOL_515 {
  Aligned64 base, length;
  UvmGpuMappingAttributes perGpuAttributes[32];
  Aligned64 gpuAttributesCount;
  uint32_t rmStatus;
};
struct UVM_ALLOC_SEMAPHORE_POOL_550 {
  Aligned64 base, length;
  UvmGpuMappingAttributes perGpuAttributes[256];
  Aligned64 gpuAttributesCount;
  uint32_t rmStatus;
};
struct UVM_ALLOW_MIGRATION_RANGE_GROUPS {
  Aligned64 rangeGroupIds[32], numGroupIds;
  uint32_t rmStatus;
};
struct UVM_CREATE_EXTERNAL_RANGE {
  Aligned64 base, length;
  uint32_t rmStatus;
};
struct UVM_CREATE_RANGE_GROUP {
  Aligned64 rangeGroupId;
  uint32_t rmStatus;
};
struct UVM_DESTROY_RANGE_GROUP {
  Aligned64 rangeGroupId;
  uint32_t rmStatus;
};
struct UVM_DISABLE_READ_DUPLICATION {
  Aligned64 requestedBase, length;
  uint32_t rmStatus;
};
struct UVM_DISCARD {
  Aligned64 base;
  uint64_t length, flags;
  uint32_t rmStatus;
};
struct UVM_ENABLE_READ_DUPLICATION {
  Aligned64 requestedBase, length;
  uint32_t rmStatus;
};
struct UVM_FREE_515 {
  Aligned64 base, length;
  uint32_t rmStatus;
};
struct UVM_FREE_590 {
  Aligned64 base;
  uint32_t rmStatus;
};
struct UVM_MAP_DYNAMIC_PARALLELISM_REGION {
  Aligned64 base, length;
  NvUuid gpuUuid;
  uint32_t rmStatus;
};
struct UVM_MAP_EXTERNAL_ALLOCATION_515 {
  Aligned64 base, length, offset;
  UvmGpuMappingAttributes perGpuAttributes[32];
  Aligned64 gpuAttributesCount;
  int32_t rmCtrlFd;
  uint32_t hClient, hMemory, rmStatus;
};
struct UVM_MAP_EXTERNAL_ALLOCATION_550 {
  Aligned64 base, length, offset;
  UvmGpuMappingAttributes perGpuAttributes[256];
  Aligned64 gpuAttributesCount;
  int32_t rmCtrlFd;
  uint32_t hClient, hMemory, rmStatus;
};
struct UVM_MAP_EXTERNAL_SPARSE {
  Aligned64 base, length;
  NvUuid gpuUuid;
  uint32_t rmStatus;
};
struct UVM_MIGRATE {
  Aligned64 base, length;
  NvUuid destinationUuid;
  uint32_t flags;
  Aligned64 semaphoreAddress;
  uint32_t semaphorePayload, cpuNumaNode;
  Aligned64 userSpaceStart, userSpaceLength;
  uint32_t rmStatus;
};
struct UVM_MIGRATE_RANGE_GROUP {
  Aligned64 rangeGroupId;
  NvUuid destinationUuid;
  uint32_t rmStatus;
};
struct UVM_POPULATE_PAGEABLE {
  Aligned64 base, length;
  uint32_t flags, rmStatus;
};
struct UVM_PREVENT_MIGRATION_RANGE_GROUPS {
  Aligned64 rangeGroupIds[32], numGroupIds;
  uint32_t rmStatus;
};
struct UVM_SET_ACCESSED_BY {
  Aligned64 requestedBase, length;
  NvUuid accessedByUuid;
  uint32_t rmStatus;
};
struct UVM_SET_PREFERRED_LOCATION_515 {
  Aligned64 requestedBase, length;
  NvUuid preferredLocation;
  uint32_t rmStatus;
};
struct UVM_SET_PREFERRED_LOCATION_550 {
  Aligned64 requestedBase, length;
  NvUuid preferredLocation;
  int32_t preferredCpuNumaNode;
  uint32_t rmStatus;
};
struct UVM_SET_RANGE_GROUP {
  Aligned64 rangeGroupId, requestedBase, length;
  uint32_t rmStatus;
};
struct UVM_UNMAP_EXTERNAL {
  Aligned64 base, length;
  NvUuid gpuUuid;
  uint32_t rmStatus;
};
struct UVM_UNSET_ACCESSED_BY {
  Aligned64 requestedBase, length;
  NvUuid accessedByUuid;
  uint32_t rmStatus;
};
struct UVM_UNSET_PREFERRED_LOCATION {
  Aligned64 requestedBase, length;
  uint32_t rmStatus;
};
struct UVM_VALIDATE_VA_RANGE {
  Aligned64 base, length;
  uint32_t rmStatus;
};

inline constexpr Layout kUvm[] = {
    LAYOUT(UVM_ALLOC_DEVICE_P2P, "UVM_ALLOC_DEVICE_P2P", "565.57.01", "", 56, AT(base, 0), AT(length, 8), AT(offset, 16),
           AT(gpuUuid, 24), AT(rmCtrlFd, 40), AT(hClient, 44), AT(hMemory, 48), AT(rmStatus, 52)),
    LAYOUT(UVM_ALLOC_SEMAPHORE_POOL_515, "UVM_ALLOC_SEMAPHORE_POOL", "", "550.40.07", 1184, AT(base, 0), AT(length, 8),
           AT(perGpuAttributes, 16), AT(gpuAttributesCount, 1168), AT(rmStatus, 1176)),
    LAYOUT(UVM_ALLOC_SEMAPHORE_POOL_550, "UVM_ALLOC_SEMAPHORE_POOL", "550.54.14", "", 9248, AT(base, 0), AT(length, 8),
           AT(perGpuAttributes, 16), AT(gpuAttributesCount, 9232), AT(rmStatus, 9240)),
    LAYOUT(UVM_ALLOW_MIGRATION_RANGE_GROUPS, "UVM_ALLOW_MIGRATION_RANGE_GROUPS", "", "", 272, AT(rangeGroupIds, 0),
           AT(numGroupIds, 256), AT(rmStatus, 264)),
    LAYOUT(UVM_CREATE_EXTERNAL_RANGE, "UVM_CREATE_EXTERNAL_RANGE", "", "", 24, AT(base, 0), AT(length, 8), AT(rmStatus, 16)),
    LAYOUT(UVM_CREATE_RANGE_GROUP, "UVM_CREATE_RANGE_GROUP", "", "", 16, AT(rangeGroupId, 0), AT(rmStatus, 8)),
    LAYOUT(UVM_DESTROY_RANGE_GROUP, "UVM_DESTROY_RANGE_GROUP", "", "", 16, AT(rangeGroupId, 0), AT(rmStatus, 8)),
    LAYOUT(UVM_DISABLE_READ_DUPLICATION, "UVM_DISABLE_READ_DUPLICATION", "", "", 24, AT(requestedBase, 0), AT(length, 8),
           AT(rmStatus, 16)),
    LAYOUT(UVM_DISCARD, "UVM_DISCARD", "580.65.06", "", 32, AT(base, 0), AT(length, 8), AT(flags, 16), AT(rmStatus, 24)),
    LAYOUT(UVM_ENABLE_READ_DUPLICATION, "UVM_ENABLE_READ_DUPLICATION", "", "", 24, AT(requestedBase, 0), AT(length, 8),
           AT(rmStatus, 16)),
    LAYOUT(UVM_FREE_515, "UVM_FREE", "", "580.142", 24, AT(base, 0), AT(length, 8), AT(rmStatus, 16)),
    LAYOUT(UVM_FREE_590, "UVM_FREE", "590.44.01", "", 16, AT(base, 0), AT(rmStatus, 8)),
    LAYOUT(UVM_MAP_DYNAMIC_PARALLELISM_REGION, "UVM_MAP_DYNAMIC_PARALLELISM_REGION", "", "", 40, AT(base, 0), AT(length, 8),
           AT(gpuUuid, 16), AT(rmStatus, 32)),
    LAYOUT(UVM_MAP_EXTERNAL_ALLOCATION_515, "UVM_MAP_EXTERNAL_ALLOCATION", "", "550.40.07", 1200, AT(base, 0), AT(length, 8),
           AT(offset, 16), AT(perGpuAttributes, 24), AT(gpuAttributesCount, 1176), AT(rmCtrlFd, 1184), AT(hClient, 1188),
           AT(hMemory, 1192), AT(rmStatus, 1196)),
    LAYOUT(UVM_MAP_EXTERNAL_ALLOCATION_550, "UVM_MAP_EXTERNAL_ALLOCATION", "550.54.14", "", 9264, AT(base, 0), AT(length, 8),
           AT(offset, 16), AT(perGpuAttributes, 24), AT(gpuAttributesCount, 9240), AT(rmCtrlFd, 9248), AT(hClient, 9252),
           AT(hMemory, 9256), AT(rmStatus, 9260)),
    LAYOUT(UVM_MAP_EXTERNAL_SPARSE, "UVM_MAP_EXTERNAL_SPARSE", "", "", 40, AT(base, 0), AT(length, 8), AT(gpuUuid, 16),
           AT(rmStatus, 32)),
    LAYOUT(UVM_MIGRATE, "UVM_MIGRATE", "", "", 80, AT(base, 0), AT(length, 8), AT(destinationUuid, 16), AT(flags, 32),
           AT(semaphoreAddress, 40), AT(semaphorePayload, 48), AT(cpuNumaNode, 52), AT(userSpaceStart, 56),
           AT(userSpaceLength, 64), AT(rmStatus, 72)),
    LAYOUT(UVM_MIGRATE_RANGE_GROUP, "UVM_MIGRATE_RANGE_GROUP", "", "", 32, AT(rangeGroupId, 0), AT(destinationUuid, 8),
           AT(rmStatus, 24)),
    LAYOUT(UVM_POPULATE_PAGEABLE, "UVM_POPULATE_PAGEABLE", "", "", 24, AT(base, 0), AT(length, 8), AT(flags, 16),
           AT(rmStatus, 20)),
    LAYOUT(UVM_PREVENT_MIGRATION_RANGE_GROUPS, "UVM_PREVENT_MIGRATION_RANGE_GROUPS", "", "", 272, AT(rangeGroupIds, 0),
           AT(numGroupIds, 256), AT(rmStatus, 264)),
    LAYOUT(UVM_SET_ACCESSED_BY, "UVM_SET_ACCESSED_BY", "", "", 40, AT(requestedBase, 0), AT(length, 8), AT(accessedByUuid, 16),
           AT(rmStatus, 32)),
    LAYOUT(UVM_SET_PREFERRED_LOCATION_515, "UVM_SET_PREFERRED_LOCATION", "", "545.29.06", 40, AT(requestedBase, 0), AT(length, 8),
           AT(preferredLocation, 16), AT(rmStatus, 32)),
    LAYOUT(UVM_SET_PREFERRED_LOCATION_550, "UVM_SET_PREFERRED_LOCATION", "550.40.07", "", 40, AT(requestedBase, 0), AT(length, 8),
           AT(preferredLocation, 16), AT(preferredCpuNumaNode, 32), AT(rmStatus, 36)),
    LAYOUT(UVM_SET_RANGE_GROUP, "UVM_SET_RANGE_GROUP", "", "", 32, AT(rangeGroupId, 0), AT(requestedBase, 8), AT(length, 16),
           AT(rmStatus, 24)),
    LAYOUT(UVM_UNMAP_EXTERNAL, "UVM_UNMAP_EXTERNAL", "", "", 40, AT(base, 0), AT(length, 8), AT(gpuUuid, 16), AT(rmStatus, 32)),
    LAYOUT(UVM_UNSET_ACCESSED_BY, "UVM_UNSET_ACCESSED_BY", "", "", 40, AT(requestedBase, 0), AT(length, 8),
           AT(accessedByUuid, 16), AT(rmStatus, 32)),
    LAYOUT(UVM_UNSET_PREFERRED_LOCATION, "UVM_UNSET_PREFERRED_LOCATION", "", "", 24, AT(requestedBase, 0), AT(length, 8),
           AT(rmStatus, 16)),
    LAYOUT(UVM_VALIDATE_VA_RANGE, "UVM_VALIDATE_VA_RANGE", "", "", 24, AT(base, 0), AT(length, 8), AT(rmStatus, 16)),
    LAYOUT(UvmGpuMappingAttributes, "UvmGpuMappingAttributes", "", "", 36, AT(gpuUuid, 0), AT(gpuMappingType, 16),
           AT(gpuCachingType, 20), AT(gpuFormatType, 24), AT(gpuElementBits, 28), AT(gpuCompressionType, 32)),
};

}  // namespace moat::layouts
