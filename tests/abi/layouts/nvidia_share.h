// SPDX-License-Identifier: Apache-2.0
// NVIDIA/open-gpu-kernel-modules, ctrl/: controls that give memory to others, or take it from them.
#pragma once

#include "tests/abi/layouts/nvidia_os.h"

namespace moat::layouts {

struct NV0000_CTRL_CLIENT_SET_INHERITED_SHARE_POLICY_PARAMS {
  RS_SHARE_POLICY sharePolicy;
};
struct NV0000_CTRL_CLIENT_SHARE_OBJECT_PARAMS {
  uint32_t hObject;
  RS_SHARE_POLICY sharePolicy;
};
struct NV0000_CTRL_CLIENT_SUBSCRIBE_TO_IMEX_CHANNEL_PARAMS {
  Aligned64 devDescriptor;
  uint32_t channel;
};
struct NV0000_CTRL_GPU_MODIFY_DRAIN_STATE_PARAMS {
  uint32_t gpuId, newState, flags;
};
struct NV0000_CTRL_OS_UNIX_CREATE_EXPORT_OBJECT_FD_PARAMS {
  uint32_t hDevice;
  uint16_t maxObjects;
  uint8_t metadata[64];
  int32_t fd;
};
struct NV0000_CTRL_OS_UNIX_EXPORT_OBJECTS_TO_FD_PARAMS {
  int32_t fd;
  uint32_t hDevice;
  uint16_t maxObjects;
  uint8_t metadata[64];
  uint32_t objects[512];
  uint16_t numObjects, index;
};
struct NV0000_CTRL_OS_UNIX_EXPORT_OBJECT {
  uint32_t type;
  union {
    struct {
      uint32_t hDevice, hParent, hObject;
    } rmObject;
  } data;
};
struct NV0000_CTRL_OS_UNIX_EXPORT_OBJECT_TO_FD_PARAMS {
  NV0000_CTRL_OS_UNIX_EXPORT_OBJECT object;
  int32_t fd;
  uint32_t flags;
};
struct NV0000_CTRL_OS_UNIX_GET_EXPORT_OBJECT_INFO_PARAMS_515 {
  int32_t fd;
  uint32_t deviceInstance;
  uint16_t maxObjects;
  uint8_t metadata[64];
};
struct NV0000_CTRL_OS_UNIX_GET_EXPORT_OBJECT_INFO_PARAMS_545 {
  int32_t fd;
  uint32_t deviceInstance, gpuInstanceId;
  uint16_t maxObjects;
  uint8_t metadata[64];
};
struct NV0000_CTRL_OS_UNIX_IMPORT_OBJECTS_FROM_FD_PARAMS {
  int32_t fd;
  uint32_t hParent, objects[128];
  uint8_t objectTypes[128];
  uint16_t numObjects, index;
};
struct NV0000_CTRL_OS_UNIX_IMPORT_OBJECT_FROM_FD_PARAMS {
  int32_t fd;
  NV0000_CTRL_OS_UNIX_EXPORT_OBJECT object;
};
struct NV0000_CTRL_SET_SUB_PROCESS_ID_PARAMS {
  uint32_t subProcessID;
  char subProcessName[100];
};
struct NV00E0_CTRL_EXPORT_MEM_PARAMS {
  uint16_t index;
  uint32_t hParent, handles[256];
  uint16_t numHandles;
  Aligned64 devDescriptor;
};
struct NV_IMPORT_MEM_INFO {
  uint32_t hParent;
  uint8_t addrSpace;
};
struct NV00E0_CTRL_IMPORT_MEM_PARAMS {
  uint16_t index, numHandles;
  uint32_t handles[128];
  NV_IMPORT_MEM_INFO memInfos[128];
};
struct NV00F8_CTRL_ATTACH_MEM_INFO {
  uint32_t hMemory;
  Aligned64 offset, mapOffset, mapLength;
};
struct NV00F8_CTRL_ATTACH_MEM_PARAMS {
  NV00F8_CTRL_ATTACH_MEM_INFO memInfos[64];
  uint16_t numMemInfos;
  uint32_t flags;
  uint16_t numAttached;
};
struct NV00FD_CTRL_ATTACH_MEM_PARAMS_525 {
  uint32_t hSubdevice, hMemory;
  Aligned64 offset, mapOffset, mapLength;
  uint32_t flags;
  Aligned64 devDescriptor;
};
struct NV00FD_CTRL_ATTACH_MEM_PARAMS_530 {
  uint32_t hSubdevice, hMemory;
  Aligned64 offset, mapOffset, mapLength;
  uint32_t flags;
};
struct NV00FD_CTRL_ATTACH_MEM_PARAMS_580 {
  uint32_t hSubdevice, hMemory;
  Aligned64 offset, mapOffset, mapLength;
  uint32_t flags, subPageOffset;
};
struct NV503C_CTRL_REGISTER_PID_PARAMS {
  uint32_t hClient;
};
struct NV503C_CTRL_REGISTER_VIDMEM_PARAMS {
  uint32_t hMemory;
  Aligned64 address, size, offset;
};

inline constexpr Layout kNvidiaShare[] = {
    LAYOUT(NV0000_CTRL_CLIENT_SET_INHERITED_SHARE_POLICY_PARAMS, "NV0000_CTRL_CLIENT_SET_INHERITED_SHARE_POLICY_PARAMS", "", "",
           12, AT(sharePolicy, 0), AT(sharePolicy.target, 0), AT(sharePolicy.accessMask, 4), AT(sharePolicy.type, 8),
           AT(sharePolicy.action, 10)),
    LAYOUT(NV0000_CTRL_CLIENT_SHARE_OBJECT_PARAMS, "NV0000_CTRL_CLIENT_SHARE_OBJECT_PARAMS", "", "", 16, AT(hObject, 0),
           AT(sharePolicy, 4), AT(sharePolicy.target, 4), AT(sharePolicy.accessMask, 8), AT(sharePolicy.type, 12),
           AT(sharePolicy.action, 14)),
    LAYOUT(NV0000_CTRL_CLIENT_SUBSCRIBE_TO_IMEX_CHANNEL_PARAMS, "NV0000_CTRL_CLIENT_SUBSCRIBE_TO_IMEX_CHANNEL_PARAMS",
           "550.40.07", "", 16, AT(devDescriptor, 0), AT(channel, 8)),
    LAYOUT(NV0000_CTRL_GPU_MODIFY_DRAIN_STATE_PARAMS, "NV0000_CTRL_GPU_MODIFY_DRAIN_STATE_PARAMS", "", "", 12, AT(gpuId, 0),
           AT(newState, 4), AT(flags, 8)),
    LAYOUT(NV0000_CTRL_OS_UNIX_CREATE_EXPORT_OBJECT_FD_PARAMS, "NV0000_CTRL_OS_UNIX_CREATE_EXPORT_OBJECT_FD_PARAMS", "", "", 76,
           AT(hDevice, 0), AT(maxObjects, 4), AT(metadata, 6), AT(fd, 72)),
    LAYOUT(NV0000_CTRL_OS_UNIX_EXPORT_OBJECTS_TO_FD_PARAMS, "NV0000_CTRL_OS_UNIX_EXPORT_OBJECTS_TO_FD_PARAMS", "", "", 2128,
           AT(fd, 0), AT(hDevice, 4), AT(maxObjects, 8), AT(metadata, 10), AT(objects, 76), AT(numObjects, 2124),
           AT(index, 2126)),
    LAYOUT(NV0000_CTRL_OS_UNIX_EXPORT_OBJECT_TO_FD_PARAMS, "NV0000_CTRL_OS_UNIX_EXPORT_OBJECT_TO_FD_PARAMS", "", "", 24,
           AT(object, 0), AT(object.type, 0), AT(object.data, 4), AT(object.data.rmObject, 4),
           AT(object.data.rmObject.hDevice, 4), AT(object.data.rmObject.hParent, 8), AT(object.data.rmObject.hObject, 12),
           AT(fd, 16), AT(flags, 20)),
    LAYOUT(NV0000_CTRL_OS_UNIX_GET_EXPORT_OBJECT_INFO_PARAMS_515, "NV0000_CTRL_OS_UNIX_GET_EXPORT_OBJECT_INFO_PARAMS", "",
           "535.288.01", 76, AT(fd, 0), AT(deviceInstance, 4), AT(maxObjects, 8), AT(metadata, 10)),
    LAYOUT(NV0000_CTRL_OS_UNIX_GET_EXPORT_OBJECT_INFO_PARAMS_545, "NV0000_CTRL_OS_UNIX_GET_EXPORT_OBJECT_INFO_PARAMS",
           "545.23.06", "", 80, AT(fd, 0), AT(deviceInstance, 4), AT(gpuInstanceId, 8), AT(maxObjects, 12), AT(metadata, 14)),
    LAYOUT(NV0000_CTRL_OS_UNIX_IMPORT_OBJECTS_FROM_FD_PARAMS, "NV0000_CTRL_OS_UNIX_IMPORT_OBJECTS_FROM_FD_PARAMS", "", "", 652,
           AT(fd, 0), AT(hParent, 4), AT(objects, 8), AT(objectTypes, 520), AT(numObjects, 648), AT(index, 650)),
    LAYOUT(NV0000_CTRL_OS_UNIX_IMPORT_OBJECT_FROM_FD_PARAMS, "NV0000_CTRL_OS_UNIX_IMPORT_OBJECT_FROM_FD_PARAMS", "", "", 20,
           AT(fd, 0), AT(object, 4), AT(object.type, 4), AT(object.data, 8), AT(object.data.rmObject, 8),
           AT(object.data.rmObject.hDevice, 8), AT(object.data.rmObject.hParent, 12), AT(object.data.rmObject.hObject, 16)),
    LAYOUT(NV0000_CTRL_SET_SUB_PROCESS_ID_PARAMS, "NV0000_CTRL_SET_SUB_PROCESS_ID_PARAMS", "", "", 104, AT(subProcessID, 0),
           AT(subProcessName, 4)),
    LAYOUT(NV00E0_CTRL_EXPORT_MEM_PARAMS, "NV00E0_CTRL_EXPORT_MEM_PARAMS", "550.40.07", "", 1048, AT(index, 0), AT(hParent, 4),
           AT(handles, 8), AT(numHandles, 1032), AT(devDescriptor, 1040)),
    LAYOUT(NV00E0_CTRL_IMPORT_MEM_PARAMS, "NV00E0_CTRL_IMPORT_MEM_PARAMS", "550.40.07", "", 1540, AT(index, 0), AT(numHandles, 2),
           AT(handles, 4), AT(memInfos, 516)),
    LAYOUT(NV00F8_CTRL_ATTACH_MEM_PARAMS, "NV00F8_CTRL_ATTACH_MEM_PARAMS", "525.60.13", "", 2064, AT(memInfos, 0),
           AT(numMemInfos, 2048), AT(flags, 2052), AT(numAttached, 2056)),
    LAYOUT(NV00FD_CTRL_ATTACH_MEM_PARAMS_525, "NV00FD_CTRL_ATTACH_MEM_PARAMS", "525.60.13", "525.147.05", 48, AT(hSubdevice, 0),
           AT(hMemory, 4), AT(offset, 8), AT(mapOffset, 16), AT(mapLength, 24), AT(flags, 32), AT(devDescriptor, 40)),
    LAYOUT(NV00FD_CTRL_ATTACH_MEM_PARAMS_530, "NV00FD_CTRL_ATTACH_MEM_PARAMS", "530.30.02", "575.64.05", 40, AT(hSubdevice, 0),
           AT(hMemory, 4), AT(offset, 8), AT(mapOffset, 16), AT(mapLength, 24), AT(flags, 32)),
    LAYOUT(NV00FD_CTRL_ATTACH_MEM_PARAMS_580, "NV00FD_CTRL_ATTACH_MEM_PARAMS", "580.65.06", "", 40, AT(hSubdevice, 0),
           AT(hMemory, 4), AT(offset, 8), AT(mapOffset, 16), AT(mapLength, 24), AT(flags, 32), AT(subPageOffset, 36)),
    LAYOUT(NV503C_CTRL_REGISTER_PID_PARAMS, "NV503C_CTRL_REGISTER_PID_PARAMS", "", "", 4, AT(hClient, 0)),
    LAYOUT(NV503C_CTRL_REGISTER_VIDMEM_PARAMS, "NV503C_CTRL_REGISTER_VIDMEM_PARAMS", "", "", 32, AT(hMemory, 0), AT(address, 8),
           AT(size, 16), AT(offset, 24)),
};

}  // namespace moat::layouts
