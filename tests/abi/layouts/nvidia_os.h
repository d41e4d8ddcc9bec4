// SPDX-License-Identifier: Apache-2.0
// NVIDIA/open-gpu-kernel-modules, nvos.h: what the escapes take. The end of a name is the first branch that has the layout.
#pragma once

#include "tests/abi/layouts/layout.h"

namespace moat::layouts {

struct NVOS00_PARAMETERS {
  uint32_t hRoot, hObjectParent, hObjectOld, status;
};
struct NVOS05_PARAMETERS {
  uint32_t hRoot, hObjectParent, hObjectNew, hClass, status;
};
struct NVOS21_PARAMETERS_515 {
  uint32_t hRoot, hObjectParent, hObjectNew, hClass;
  Aligned64 pAllocParms;
  uint32_t status;
};
struct NVOS21_PARAMETERS_535 {
  uint32_t hRoot, hObjectParent, hObjectNew, hClass;
  Aligned64 pAllocParms;
  uint32_t paramsSize, status;
};
struct NVOS30_PARAMETERS {
  uint32_t hClient, hDevice, hChannel, numChannels;
  Aligned64 phClients, phDevices, phChannels;
  uint32_t flags, timeout, status;
};
struct NVOS32_Free {
  uint32_t owner, hMemory, flags;
};
struct NVOS32_Info {
  uint32_t attr;
  Aligned64 offset, size, base;
};
struct NVOS32_HwAlloc {
  uint32_t allocOwner, allochMemory, flags, allocType, allocAttr, allocInputFlags;
  Aligned64 allocSize;
  uint32_t allocHeight, allocWidth, allocPitch, allocMask, allocComprCovg, allocZcullCovg;
  Aligned64 bindResultFunc, pHandle;
  uint32_t hResourceHandle, retAttr, kind;
  Aligned64 osDeviceHandle;
  uint32_t allocAttr2, retAttr2;
  Aligned64 allocAddr;
  struct {
    uint32_t compPageShift, compressedKind, compTagLineMin, compPageIndexLo, compPageIndexHi, compTagLineMultiplier;
  } comprInfo;
  uint32_t uncompressedKind;
};
struct NVOS32_AllocOsDesc {
  uint32_t hMemory, type, flags, attr, attr2;
  Aligned64 descriptor, limit;
  uint32_t descriptorType;
};
struct NVOS32_PARAMETERS_515 {
  uint32_t hRoot, hObjectParent, function, hVASpace;
  int16_t ivcHeapNumber;
  uint32_t status;
  Aligned64 total, free;
  union {
    struct {
      uint32_t owner, hMemory, type, flags, attr, format, comprCovg, zcullCovg, partitionStride, width, height;
      Aligned64 size, alignment, offset, limit, address, rangeBegin, rangeEnd;
      uint32_t attr2, ctagOffset;
    } AllocSize;
    NVOS32_Free Free;
    NVOS32_Info Info;
    NVOS32_HwAlloc HwAlloc;
    NVOS32_AllocOsDesc AllocOsDesc;
  } data;
};
struct NVOS32_PARAMETERS_550 {
  uint32_t hRoot, hObjectParent, function, hVASpace;
  int16_t ivcHeapNumber;
  uint32_t status;
  Aligned64 total, free;
  union {
    struct {
      uint32_t owner, hMemory, type, flags, attr, format, comprCovg, zcullCovg, partitionStride, width, height;
      Aligned64 size, alignment, offset, limit, address, rangeBegin, rangeEnd;
      uint32_t attr2, ctagOffset;
      int32_t numaNode;
    } AllocSize;
    NVOS32_Free Free;
    NVOS32_Info Info;
    NVOS32_HwAlloc HwAlloc;
    NVOS32_AllocOsDesc AllocOsDesc;
  } data;
};
struct NVOS34_PARAMETERS {
  uint32_t hClient, hDevice, hMemory;
  Aligned64 pLinearAddress;
  uint32_t status, flags;
};
struct NVOS38_PARAMETERS {
  uint32_t hClient, hObject, AccessType, DevNodeLength;
  Aligned64 pDevNode;
  uint32_t ParmStrLength;
  Aligned64 pParmStr;
  uint32_t BinaryDataLength;
  Aligned64 pBinaryData;
  uint32_t Data, Entry, status;
};
struct NVOS39_PARAMETERS {
  uint32_t hObjectParent, hSubDevice, hObjectNew, hClass, flags, selector, hMemory;
  Aligned64 offset, limit;
  uint32_t status;
};
struct NVOS41_PARAMETERS {
  Aligned64 pEvent;
  uint32_t MoreEvents, status;
};
struct NVOS46_PARAMETERS_515 {
  uint32_t hClient, hDevice, hDma, hMemory;
  Aligned64 offset, length;
  uint32_t flags;
  Aligned64 dmaOffset;
  uint32_t status;
};
struct NVOS46_PARAMETERS_580 {
  uint32_t hClient, hDevice, hDma, hMemory;
  Aligned64 offset, length;
  uint32_t flags, flags2, kindOverride;
  Aligned64 dmaOffset;
  uint32_t status;
};
struct NVOS47_PARAMETERS_515 {
  uint32_t hClient, hDevice, hDma, hMemory, flags;
  Aligned64 dmaOffset;
  uint32_t status;
};
struct NVOS47_PARAMETERS_550 {
  uint32_t hClient, hDevice, hDma, hMemory, flags;
  Aligned64 dmaOffset, size;
  uint32_t status;
};
struct NVOS49_PARAMETERS {
  uint32_t hClient, hChannel, hCtxDma, status;
};
struct NVOS54_PARAMETERS {
  uint32_t hClient, hObject, cmd, flags;
  Aligned64 params;
  uint32_t paramsSize, status;
};
struct NVOS55_PARAMETERS {
  uint32_t hClient, hParent, hObject, hClientSrc, hObjectSrc, flags, status;
};
struct NVOS56_PARAMETERS {
  uint32_t hClient, hDevice, hMemory;
  Aligned64 pOldCpuAddress, pNewCpuAddress;
  uint32_t status;
};
struct RS_ACCESS_MASK {
  uint32_t limbs[1];
};
struct RS_SHARE_POLICY {
  uint32_t target;
  RS_ACCESS_MASK accessMask;
  uint16_t type;
  uint8_t action;
};
struct NVOS57_PARAMETERS {
  uint32_t hClient, hObject;
  RS_SHARE_POLICY sharePolicy;
  uint32_t status;
};
struct NVOS64_PARAMETERS_515 {
  uint32_t hRoot, hObjectParent, hObjectNew, hClass;
  Aligned64 pAllocParms, pRightsRequested;
  uint32_t status;
};
struct NVOS64_PARAMETERS_525 {
  uint32_t hRoot, hObjectParent, hObjectNew, hClass;
  Aligned64 pAllocParms, pRightsRequested;
  uint32_t flags, status;
};
struct NVOS64_PARAMETERS_535 {
  uint32_t hRoot, hObjectParent, hObjectNew, hClass;
  Aligned64 pAllocParms, pRightsRequested;
  uint32_t paramsSize, flags, status;
};
struct NVOS_I2C_ACCESS_PARAMS {
  uint32_t hClient, hDevice, paramSize;
  Aligned64 paramStructPtr;
  uint32_t status;
};

inline constexpr Layout kNvidiaOs[] = {
    LAYOUT(NVOS00_PARAMETERS, "NVOS00_PARAMETERS", "", "", 16, AT(hRoot, 0), AT(hObjectParent, 4), AT(hObjectOld, 8),
           AT(status, 12)),
    LAYOUT(NVOS05_PARAMETERS, "NVOS05_PARAMETERS", "", "", 20, AT(hRoot, 0), AT(hObjectParent, 4), AT(hObjectNew, 8),
           AT(hClass, 12), AT(status, 16)),
    LAYOUT(NVOS21_PARAMETERS_515, "NVOS21_PARAMETERS", "", "530.41.03", 32, AT(hRoot, 0), AT(hObjectParent, 4), AT(hObjectNew, 8),
           AT(hClass, 12), AT(pAllocParms, 16), AT(status, 24)),
    LAYOUT(NVOS21_PARAMETERS_535, "NVOS21_PARAMETERS", "535.43.02", "", 32, AT(hRoot, 0), AT(hObjectParent, 4), AT(hObjectNew, 8),
           AT(hClass, 12), AT(pAllocParms, 16), AT(paramsSize, 24), AT(status, 28)),
    LAYOUT(NVOS30_PARAMETERS, "NVOS30_PARAMETERS", "", "", 56, AT(hClient, 0), AT(hDevice, 4), AT(hChannel, 8),
           AT(numChannels, 12), AT(phClients, 16), AT(phDevices, 24), AT(phChannels, 32), AT(flags, 40), AT(timeout, 44),
           AT(status, 48)),
    LAYOUT(NVOS32_PARAMETERS_515, "NVOS32_PARAMETERS", "", "545.29.06", 184, AT(hRoot, 0), AT(hObjectParent, 4), AT(function, 8),
           AT(hVASpace, 12), AT(ivcHeapNumber, 16), AT(status, 20), AT(total, 24), AT(free, 32), AT(data.AllocOsDesc.hMemory, 40),
           AT(data.AllocSize.owner, 40), AT(data.Free.owner, 40), AT(data.Info.attr, 40), AT(data.AllocOsDesc.type, 44),
           AT(data.AllocSize.hMemory, 44), AT(data.Free.hMemory, 44), AT(data.AllocOsDesc.flags, 48), AT(data.AllocSize.type, 48),
           AT(data.Free.flags, 48), AT(data.AllocOsDesc.attr, 52), AT(data.AllocSize.flags, 52), AT(data.AllocOsDesc.attr2, 56),
           AT(data.AllocSize.attr, 56), AT(data.AllocSize.format, 60), AT(data.AllocOsDesc.descriptor, 64),
           AT(data.AllocSize.comprCovg, 64), AT(data.AllocSize.zcullCovg, 68), AT(data.AllocOsDesc.limit, 72),
           AT(data.AllocSize.partitionStride, 72), AT(data.AllocSize.width, 76), AT(data.AllocOsDesc.descriptorType, 80),
           AT(data.AllocSize.height, 80), AT(data.AllocSize.size, 88), AT(data.AllocSize.alignment, 96),
           AT(data.AllocSize.offset, 104), AT(data.AllocSize.limit, 112), AT(data.AllocSize.address, 120),
           AT(data.AllocSize.rangeBegin, 128), AT(data.AllocSize.rangeEnd, 136), AT(data.AllocSize.attr2, 144),
           AT(data.AllocSize.ctagOffset, 148)),
    LAYOUT(NVOS32_PARAMETERS_550, "NVOS32_PARAMETERS", "550.40.07", "", 184, AT(hRoot, 0), AT(hObjectParent, 4), AT(function, 8),
           AT(hVASpace, 12), AT(ivcHeapNumber, 16), AT(status, 20), AT(total, 24), AT(free, 32), AT(data.AllocOsDesc.hMemory, 40),
           AT(data.AllocSize.owner, 40), AT(data.Free.owner, 40), AT(data.Info.attr, 40), AT(data.AllocOsDesc.type, 44),
           AT(data.AllocSize.hMemory, 44), AT(data.Free.hMemory, 44), AT(data.AllocOsDesc.flags, 48), AT(data.AllocSize.type, 48),
           AT(data.Free.flags, 48), AT(data.AllocOsDesc.attr, 52), AT(data.AllocSize.flags, 52), AT(data.AllocOsDesc.attr2, 56),
           AT(data.AllocSize.attr, 56), AT(data.AllocSize.format, 60), AT(data.AllocOsDesc.descriptor, 64),
           AT(data.AllocSize.comprCovg, 64), AT(data.AllocSize.zcullCovg, 68), AT(data.AllocOsDesc.limit, 72),
           AT(data.AllocSize.partitionStride, 72), AT(data.AllocSize.width, 76), AT(data.AllocOsDesc.descriptorType, 80),
           AT(data.AllocSize.height, 80), AT(data.AllocSize.size, 88), AT(data.AllocSize.alignment, 96),
           AT(data.AllocSize.offset, 104), AT(data.AllocSize.limit, 112), AT(data.AllocSize.address, 120),
           AT(data.AllocSize.rangeBegin, 128), AT(data.AllocSize.rangeEnd, 136), AT(data.AllocSize.attr2, 144),
           AT(data.AllocSize.ctagOffset, 148), AT(data.AllocSize.numaNode, 152)),
    LAYOUT(NVOS34_PARAMETERS, "NVOS34_PARAMETERS", "", "", 32, AT(hClient, 0), AT(hDevice, 4), AT(hMemory, 8),
           AT(pLinearAddress, 16), AT(status, 24), AT(flags, 28)),
    LAYOUT(NVOS38_PARAMETERS, "NVOS38_PARAMETERS", "", "", 72, AT(hClient, 0), AT(hObject, 4), AT(AccessType, 8),
           AT(DevNodeLength, 12), AT(pDevNode, 16), AT(ParmStrLength, 24), AT(pParmStr, 32), AT(BinaryDataLength, 40),
           AT(pBinaryData, 48), AT(Data, 56), AT(Entry, 60), AT(status, 64)),
    LAYOUT(NVOS39_PARAMETERS, "NVOS39_PARAMETERS", "", "", 56, AT(hObjectParent, 0), AT(hSubDevice, 4), AT(hObjectNew, 8),
           AT(hClass, 12), AT(flags, 16), AT(selector, 20), AT(hMemory, 24), AT(offset, 32), AT(limit, 40), AT(status, 48)),
    LAYOUT(NVOS41_PARAMETERS, "NVOS41_PARAMETERS", "", "", 16, AT(pEvent, 0), AT(MoreEvents, 8), AT(status, 12)),
    LAYOUT(NVOS46_PARAMETERS_515, "NVOS46_PARAMETERS", "", "575.64.05", 56, AT(hClient, 0), AT(hDevice, 4), AT(hDma, 8),
           AT(hMemory, 12), AT(offset, 16), AT(length, 24), AT(flags, 32), AT(dmaOffset, 40), AT(status, 48)),
    LAYOUT(NVOS46_PARAMETERS_580, "NVOS46_PARAMETERS", "580.65.06", "", 64, AT(hClient, 0), AT(hDevice, 4), AT(hDma, 8),
           AT(hMemory, 12), AT(offset, 16), AT(length, 24), AT(flags, 32), AT(flags2, 36), AT(kindOverride, 40),
           AT(dmaOffset, 48), AT(status, 56)),
    LAYOUT(NVOS47_PARAMETERS_515, "NVOS47_PARAMETERS", "", "545.29.06", 40, AT(hClient, 0), AT(hDevice, 4), AT(hDma, 8),
           AT(hMemory, 12), AT(flags, 16), AT(dmaOffset, 24), AT(status, 32)),
    LAYOUT(NVOS47_PARAMETERS_550, "NVOS47_PARAMETERS", "550.40.07", "", 48, AT(hClient, 0), AT(hDevice, 4), AT(hDma, 8),
           AT(hMemory, 12), AT(flags, 16), AT(dmaOffset, 24), AT(size, 32), AT(status, 40)),
    LAYOUT(NVOS49_PARAMETERS, "NVOS49_PARAMETERS", "", "", 16, AT(hClient, 0), AT(hChannel, 4), AT(hCtxDma, 8), AT(status, 12)),
    LAYOUT(NVOS54_PARAMETERS, "NVOS54_PARAMETERS", "", "", 32, AT(hClient, 0), AT(hObject, 4), AT(cmd, 8), AT(flags, 12),
           AT(params, 16), AT(paramsSize, 24), AT(status, 28)),
    LAYOUT(NVOS55_PARAMETERS, "NVOS55_PARAMETERS", "", "", 28, AT(hClient, 0), AT(hParent, 4), AT(hObject, 8), AT(hClientSrc, 12),
           AT(hObjectSrc, 16), AT(flags, 20), AT(status, 24)),
    LAYOUT(NVOS56_PARAMETERS, "NVOS56_PARAMETERS", "", "", 40, AT(hClient, 0), AT(hDevice, 4), AT(hMemory, 8),
           AT(pOldCpuAddress, 16), AT(pNewCpuAddress, 24), AT(status, 32)),
    LAYOUT(NVOS57_PARAMETERS, "NVOS57_PARAMETERS", "", "", 24, AT(hClient, 0), AT(hObject, 4), AT(sharePolicy, 8),
           AT(sharePolicy.target, 8), AT(sharePolicy.accessMask, 12), AT(sharePolicy.type, 16), AT(sharePolicy.action, 18),
           AT(status, 20)),
    LAYOUT(NVOS64_PARAMETERS_515, "NVOS64_PARAMETERS", "", "520.61.05", 40, AT(hRoot, 0), AT(hObjectParent, 4), AT(hObjectNew, 8),
           AT(hClass, 12), AT(pAllocParms, 16), AT(pRightsRequested, 24), AT(status, 32)),
    LAYOUT(NVOS64_PARAMETERS_525, "NVOS64_PARAMETERS", "525.60.13", "530.41.03", 40, AT(hRoot, 0), AT(hObjectParent, 4),
           AT(hObjectNew, 8), AT(hClass, 12), AT(pAllocParms, 16), AT(pRightsRequested, 24), AT(flags, 32), AT(status, 36)),
    LAYOUT(NVOS64_PARAMETERS_535, "NVOS64_PARAMETERS", "535.43.02", "", 48, AT(hRoot, 0), AT(hObjectParent, 4), AT(hObjectNew, 8),
           AT(hClass, 12), AT(pAllocParms, 16), AT(pRightsRequested, 24), AT(paramsSize, 32), AT(flags, 36), AT(status, 40)),
    LAYOUT(NVOS_I2C_ACCESS_PARAMS, "NVOS_I2C_ACCESS_PARAMS", "", "", 32, AT(hClient, 0), AT(hDevice, 4), AT(paramSize, 8),
           AT(paramStructPtr, 16), AT(status, 24)),
};

}  // namespace moat::layouts
