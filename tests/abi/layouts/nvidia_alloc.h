// SPDX-License-Identifier: Apache-2.0
// NVIDIA/open-gpu-kernel-modules, class/ and alloc/: what classes are allocated with; memory has a file of its own.
#pragma once

#include "tests/abi/layouts/layout.h"

namespace moat::layouts {

struct NV0005_ALLOC_PARAMETERS {
  uint32_t hParentClient, hSrcResource, hClass, notifyIndex;
  Aligned64 data;
};
struct NV000F_ALLOCATION_PARAMETERS {
  Aligned64 capDescriptor;
  uint32_t flags;
};
struct NV0080_ALLOC_PARAMETERS {
  uint32_t deviceId, hClientShare, hTargetClient, hTargetDevice, flags;
  Aligned64 vaSpaceSize, vaStartInternal, vaLimitInternal;
  uint32_t vaMode;
};
struct NV2080_ALLOC_PARAMETERS {
  uint32_t subDeviceId;
};
struct NV83DE_ALLOC_PARAMETERS {
  uint32_t hDebuggerClient_Obsolete, hAppClient, hClass3dObject;
};
struct NVB0B5_ALLOCATION_PARAMETERS {
  uint32_t version, engineType;
};
struct NVB1CC_ALLOC_PARAMETERS {
  uint32_t hSubDevice;
};
struct NVB2CC_ALLOC_PARAMETERS {
  uint32_t hClientTarget, hContextTarget;
};
struct NVC637_ALLOCATION_PARAMETERS {
  Aligned64 capDescriptor;
  uint32_t swizzId;
};
struct NVC638_ALLOCATION_PARAMETERS {
  Aligned64 capDescriptor;
  uint32_t execPartitionId;
};
struct NVC639_ALLOCATION_PARAMETERS {
  Aligned64 capDescriptor;
};
struct NV_MEMORY_DESC_PARAMS {
  Aligned64 base, size;
  uint32_t addressSpace, cacheAttrib;
};
struct NV_CHANNEL_ALLOC_PARAMS_525 {
  uint32_t hObjectError, hObjectBuffer;
  Aligned64 gpFifoOffset;
  uint32_t gpFifoEntries, flags, hContextShare, hVASpace, hUserdMemory[8];
  Aligned64 userdOffset[8];
  uint32_t engineType, cid, subDeviceId, hObjectEccError;
  NV_MEMORY_DESC_PARAMS instanceMem, userdMem, ramfcMem, mthdbufMem;
  uint32_t hPhysChannelGroup, internalFlags;
  NV_MEMORY_DESC_PARAMS errorNotifierMem, eccErrorNotifierMem;
  uint32_t ProcessID, SubProcessID;
};
struct NV_CHANNEL_ALLOC_PARAMS_535 {
  uint32_t hObjectError, hObjectBuffer;
  Aligned64 gpFifoOffset;
  uint32_t gpFifoEntries, flags, hContextShare, hVASpace, hUserdMemory[8];
  Aligned64 userdOffset[8];
  uint32_t engineType, cid, subDeviceId, hObjectEccError;
  NV_MEMORY_DESC_PARAMS instanceMem, userdMem, ramfcMem, mthdbufMem;
  uint32_t hPhysChannelGroup, internalFlags;
  NV_MEMORY_DESC_PARAMS errorNotifierMem, eccErrorNotifierMem;
  uint32_t ProcessID, SubProcessID, encryptIv[3], decryptIv[3], hmacNonce[8];
};
struct NV_CHANNEL_ALLOC_PARAMS_570 {
  uint32_t hObjectError, hObjectBuffer;
  Aligned64 gpFifoOffset;
  uint32_t gpFifoEntries, flags, hContextShare, hVASpace, hUserdMemory[8];
  Aligned64 userdOffset[8];
  uint32_t engineType, cid, subDeviceId, hObjectEccError;
  NV_MEMORY_DESC_PARAMS instanceMem, userdMem, ramfcMem, mthdbufMem;
  uint32_t hPhysChannelGroup, internalFlags;
  NV_MEMORY_DESC_PARAMS errorNotifierMem, eccErrorNotifierMem;
  uint32_t ProcessID, SubProcessID, encryptIv[3], decryptIv[3], hmacNonce[8], tpcConfigID;
};
struct NV_CHANNEL_GROUP_ALLOCATION_PARAMETERS {
  uint32_t hObjectError, hObjectEccError, hVASpace, engineType;
  uint8_t bIsCallingContextVgpuPlugin;
};
struct NV_CONFIDENTIAL_COMPUTE_ALLOC_PARAMS {
  uint32_t hClient;
};
struct NV_CTXSHARE_ALLOCATION_PARAMETERS {
  uint32_t hVASpace, flags, subctxId;
};
struct NV_EVENT_BUFFER_ALLOC_PARAMETERS {
  Aligned64 bufferHeader, recordBuffer;
  uint32_t recordSize, recordCount;
  Aligned64 vardataBuffer;
  uint32_t vardataBufferSize, recordsFreeThreshold;
  Aligned64 notificationHandle;
  uint32_t vardataFreeThreshold, hSubDevice, flags, hBufferHeader, hRecordBuffer, hVardataBuffer;
};
struct NV_GR_ALLOCATION_PARAMETERS {
  uint32_t version, flags, size, caps;
};

inline constexpr Layout kNvidiaAlloc[] = {
    LAYOUT(NV0005_ALLOC_PARAMETERS, "NV0005_ALLOC_PARAMETERS", "", "", 24, AT(hParentClient, 0), AT(hSrcResource, 4),
           AT(hClass, 8), AT(notifyIndex, 12), AT(data, 16)),
    LAYOUT(NV000F_ALLOCATION_PARAMETERS, "NV000F_ALLOCATION_PARAMETERS", "", "", 16, AT(capDescriptor, 0), AT(flags, 8)),
    LAYOUT(NV0080_ALLOC_PARAMETERS, "NV0080_ALLOC_PARAMETERS", "", "", 56, AT(deviceId, 0), AT(hClientShare, 4),
           AT(hTargetClient, 8), AT(hTargetDevice, 12), AT(flags, 16), AT(vaSpaceSize, 24), AT(vaStartInternal, 32),
           AT(vaLimitInternal, 40), AT(vaMode, 48)),
    LAYOUT(NV2080_ALLOC_PARAMETERS, "NV2080_ALLOC_PARAMETERS", "", "", 4, AT(subDeviceId, 0)),
    LAYOUT(NV83DE_ALLOC_PARAMETERS, "NV83DE_ALLOC_PARAMETERS", "", "", 12, AT(hDebuggerClient_Obsolete, 0), AT(hAppClient, 4),
           AT(hClass3dObject, 8)),
    LAYOUT(NVB0B5_ALLOCATION_PARAMETERS, "NVB0B5_ALLOCATION_PARAMETERS", "", "", 8, AT(version, 0), AT(engineType, 4)),
    LAYOUT(NVB1CC_ALLOC_PARAMETERS, "NVB1CC_ALLOC_PARAMETERS", "565.57.01", "", 4, AT(hSubDevice, 0)),
    LAYOUT(NVB2CC_ALLOC_PARAMETERS, "NVB2CC_ALLOC_PARAMETERS", "", "", 8, AT(hClientTarget, 0), AT(hContextTarget, 4)),
    LAYOUT(NVC637_ALLOCATION_PARAMETERS, "NVC637_ALLOCATION_PARAMETERS", "", "", 16, AT(capDescriptor, 0), AT(swizzId, 8)),
    LAYOUT(NVC638_ALLOCATION_PARAMETERS, "NVC638_ALLOCATION_PARAMETERS", "", "", 16, AT(capDescriptor, 0),
           AT(execPartitionId, 8)),
    LAYOUT(NVC639_ALLOCATION_PARAMETERS, "NVC639_ALLOCATION_PARAMETERS", "", "", 8, AT(capDescriptor, 0)),
    LAYOUT(NV_CHANNEL_ALLOC_PARAMS_525, "NV_CHANNEL_ALLOC_PARAMS", "525.60.13", "535.43.02", 304, AT(hObjectError, 0),
           AT(hObjectBuffer, 4), AT(gpFifoOffset, 8), AT(gpFifoEntries, 16), AT(flags, 20), AT(hContextShare, 24),
           AT(hVASpace, 28), AT(hUserdMemory, 32), AT(userdOffset, 64), AT(engineType, 128), AT(cid, 132), AT(subDeviceId, 136),
           AT(hObjectEccError, 140), AT(instanceMem, 144), AT(userdMem, 168), AT(ramfcMem, 192), AT(mthdbufMem, 216),
           AT(hPhysChannelGroup, 240), AT(internalFlags, 244), AT(errorNotifierMem, 248), AT(eccErrorNotifierMem, 272),
           AT(ProcessID, 296), AT(SubProcessID, 300)),
    LAYOUT(NV_CHANNEL_ALLOC_PARAMS_535, "NV_CHANNEL_ALLOC_PARAMS", "535.104.05", "565.77", 360, AT(hObjectError, 0),
           AT(hObjectBuffer, 4), AT(gpFifoOffset, 8), AT(gpFifoEntries, 16), AT(flags, 20), AT(hContextShare, 24),
           AT(hVASpace, 28), AT(hUserdMemory, 32), AT(userdOffset, 64), AT(engineType, 128), AT(cid, 132), AT(subDeviceId, 136),
           AT(hObjectEccError, 140), AT(instanceMem, 144), AT(userdMem, 168), AT(ramfcMem, 192), AT(mthdbufMem, 216),
           AT(hPhysChannelGroup, 240), AT(internalFlags, 244), AT(errorNotifierMem, 248), AT(eccErrorNotifierMem, 272),
           AT(ProcessID, 296), AT(SubProcessID, 300), AT(encryptIv, 304), AT(decryptIv, 316), AT(hmacNonce, 328)),
    LAYOUT(NV_CHANNEL_ALLOC_PARAMS_570, "NV_CHANNEL_ALLOC_PARAMS", "570.86.15", "", 368, AT(hObjectError, 0),
           AT(hObjectBuffer, 4), AT(gpFifoOffset, 8), AT(gpFifoEntries, 16), AT(flags, 20), AT(hContextShare, 24),
           AT(hVASpace, 28), AT(hUserdMemory, 32), AT(userdOffset, 64), AT(engineType, 128), AT(cid, 132), AT(subDeviceId, 136),
           AT(hObjectEccError, 140), AT(instanceMem, 144), AT(userdMem, 168), AT(ramfcMem, 192), AT(mthdbufMem, 216),
           AT(hPhysChannelGroup, 240), AT(internalFlags, 244), AT(errorNotifierMem, 248), AT(eccErrorNotifierMem, 272),
           AT(ProcessID, 296), AT(SubProcessID, 300), AT(encryptIv, 304), AT(decryptIv, 316), AT(hmacNonce, 328),
           AT(tpcConfigID, 360)),
    LAYOUT(NV_CHANNEL_GROUP_ALLOCATION_PARAMETERS, "NV_CHANNEL_GROUP_ALLOCATION_PARAMETERS", "", "", 20, AT(hObjectError, 0),
           AT(hObjectEccError, 4), AT(hVASpace, 8), AT(engineType, 12), AT(bIsCallingContextVgpuPlugin, 16)),
    LAYOUT(NV_CONFIDENTIAL_COMPUTE_ALLOC_PARAMS, "NV_CONFIDENTIAL_COMPUTE_ALLOC_PARAMS", "535.43.02", "", 4, AT(hClient, 0)),
    LAYOUT(NV_CTXSHARE_ALLOCATION_PARAMETERS, "NV_CTXSHARE_ALLOCATION_PARAMETERS", "", "", 12, AT(hVASpace, 0), AT(flags, 4),
           AT(subctxId, 8)),
    LAYOUT(NV_EVENT_BUFFER_ALLOC_PARAMETERS, "NV_EVENT_BUFFER_ALLOC_PARAMETERS", "", "", 72, AT(bufferHeader, 0),
           AT(recordBuffer, 8), AT(recordSize, 16), AT(recordCount, 20), AT(vardataBuffer, 24), AT(vardataBufferSize, 32),
           AT(recordsFreeThreshold, 36), AT(notificationHandle, 40), AT(vardataFreeThreshold, 48), AT(hSubDevice, 52),
           AT(flags, 56), AT(hBufferHeader, 60), AT(hRecordBuffer, 64), AT(hVardataBuffer, 68)),
    LAYOUT(NV_GR_ALLOCATION_PARAMETERS, "NV_GR_ALLOCATION_PARAMETERS", "", "", 16, AT(version, 0), AT(flags, 4), AT(size, 8),
           AT(caps, 12)),
};

}  // namespace moat::layouts
