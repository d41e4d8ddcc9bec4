// SPDX-License-Identifier: Apache-2.0
// NVIDIA/open-gpu-kernel-modules, nvos.h and class/: what memory, address spaces and ways between GPUs are allocated with.
#pragma once

#include "tests/abi/layouts/layout.h"

namespace moat::layouts {

struct NV_EXPORT_MEM_PACKET {
  uint8_t uuid[16], opaque[16];
};
struct NV00E0_ALLOCATION_PARAMETERS {
  uint32_t imexChannel;
  NV_EXPORT_MEM_PACKET packet;
  uint16_t numMaxHandles;
  uint32_t flags;
  uint8_t metadata[64];
  uint32_t deviceInstanceMask, giIdMasks[32];
  uint16_t numCurHandles;
};
struct NV00F1_ALLOCATION_PARAMETERS {
  Aligned64 capDescriptor;
  uint32_t flags;
  Aligned64 pOsEvent;
  uint16_t nodeId;
};
struct NV00F8_ALLOCATION_PARAMETERS_515 {
  Aligned64 alignment, allocSize;
  uint32_t pageSize, allocFlags;
  struct {
    Aligned64 offset;
    uint32_t hVidMem, flags;
  } map;
};
struct NV00F8_ALLOCATION_PARAMETERS_535 {
  Aligned64 alignment, allocSize, pageSize;
  uint32_t allocFlags;
  struct {
    Aligned64 offset;
    uint32_t hVidMem, flags;
  } map;
};
struct NV00F9_ALLOCATION_PARAMETERS {
  uint32_t imexChannel;
  NV_EXPORT_MEM_PACKET expPacket;
  uint16_t index;
  uint32_t flags;
  Aligned64 pOsEvent, id;
};
struct NV00FB_ALLOCATION_PARAMETERS {
  uint8_t exportUuid[16];
  uint16_t index;
  uint32_t flags;
  Aligned64 id;
};
struct NV00FD_ALLOCATION_PARAMETERS_525 {
  Aligned64 alignment, allocSize;
  uint32_t pageSize, allocFlags, numGpus;
  Aligned64 pOsEvent;
};
struct NV00FD_ALLOCATION_PARAMETERS_545 {
  NV_EXPORT_MEM_PACKET expPacket;
  uint16_t index;
  Aligned64 alignment, allocSize;
  uint32_t pageSize, allocFlags, numGpus;
  Aligned64 pOsEvent;
};
struct NV00FD_ALLOCATION_PARAMETERS_590 {
  NV_EXPORT_MEM_PACKET expPacket;
  uint16_t index;
  Aligned64 alignment, allocSize, pageSize;
  uint32_t allocFlags, numGpus;
  Aligned64 pOsEvent;
};
struct NV503B_ALLOC_PARAMETERS_515 {
  uint32_t hSubDevice, hPeerSubDevice, subDevicePeerIdMask, peerSubDevicePeerIdMask;
  uint64_t mailboxBar1Addr;
  uint32_t mailboxTotalSize, flags;
};
struct NV503B_BAR1_P2P_DMA_INFO {
  Aligned64 dma_address, dma_size;
};
struct NV503B_ALLOC_PARAMETERS_535 {
  uint32_t hSubDevice, hPeerSubDevice, subDevicePeerIdMask, peerSubDevicePeerIdMask;
  Aligned64 mailboxBar1Addr;
  uint32_t mailboxTotalSize, flags, subDeviceEgmPeerIdMask, peerSubDeviceEgmPeerIdMask;
  NV503B_BAR1_P2P_DMA_INFO l2pBar1P2PDmaInfo, p2lBar1P2PDmaInfo;
};
struct NV503B_FABRIC_P2P_DMA_INFO {
  Aligned64 gpa;
};
struct NV503B_ALLOC_PARAMETERS_590 {
  uint32_t hSubDevice, hPeerSubDevice, subDevicePeerIdMask, peerSubDevicePeerIdMask;
  Aligned64 mailboxBar1Addr;
  uint32_t mailboxTotalSize, flags, subDeviceEgmPeerIdMask, peerSubDeviceEgmPeerIdMask;
  NV503B_BAR1_P2P_DMA_INFO l2pBar1P2PDmaInfo, p2lBar1P2PDmaInfo;
  NV503B_FABRIC_P2P_DMA_INFO l2pFabricP2PInfo, p2lFabricP2PInfo;
};
struct NV503C_ALLOC_PARAMETERS {
  uint32_t flags;
};
struct NV_CONTEXT_DMA_ALLOCATION_PARAMS {
  uint32_t hSubDevice, flags, hMemory;
  Aligned64 offset, limit;
};
struct NV_MEMORY_ALLOCATION_PARAMS_515 {
  uint32_t owner, type, flags, width, height;
  int32_t pitch;
  uint32_t attr, attr2, format, comprCovg, zcullCovg;
  Aligned64 rangeLo, rangeHi, size, alignment, offset, limit, address;
  uint32_t ctagOffset, hVASpace, internalflags, tag;
};
struct NV_MEMORY_ALLOCATION_PARAMS_545 {
  uint32_t owner, type, flags, width, height;
  int32_t pitch;
  uint32_t attr, attr2, format, comprCovg, zcullCovg;
  Aligned64 rangeLo, rangeHi, size, alignment, offset, limit, address;
  uint32_t ctagOffset, hVASpace, internalflags, tag;
  int32_t numaNode;
};
struct NV_MEMORY_VIRTUAL_ALLOCATION_PARAMS {
  Aligned64 offset, limit;
  uint32_t hVASpace;
};
struct NV_OS_DESC_MEMORY_ALLOCATION_PARAMS {
  uint32_t type, flags, attr, attr2;
  Aligned64 descriptor, limit;
  uint32_t descriptorType, tag;
};
struct NV_VASPACE_ALLOCATION_PARAMETERS_515 {
  uint32_t index, flags;
  Aligned64 vaSize, vaStartInternal, vaLimitInternal;
  uint32_t bigPageSize;
  Aligned64 vaBase;
};
struct NV_VASPACE_ALLOCATION_PARAMETERS_580 {
  uint32_t index, flags;
  Aligned64 vaSize, vaStartInternal, vaLimitInternal;
  uint32_t bigPageSize;
  Aligned64 vaBase;
  uint32_t pasid;
};

inline constexpr Layout kNvidiaMemory[] = {
    LAYOUT(NV00E0_ALLOCATION_PARAMETERS, "NV00E0_ALLOCATION_PARAMETERS", "545.23.06", "", 244, AT(imexChannel, 0), AT(packet, 4),
           AT(packet.opaque, 20), AT(numMaxHandles, 36), AT(flags, 40), AT(metadata, 44), AT(deviceInstanceMask, 108),
           AT(giIdMasks, 112), AT(numCurHandles, 240)),
    LAYOUT(NV00F1_ALLOCATION_PARAMETERS, "NV00F1_ALLOCATION_PARAMETERS", "550.40.07", "", 32, AT(capDescriptor, 0), AT(flags, 8),
           AT(pOsEvent, 16), AT(nodeId, 24)),
    LAYOUT(NV00F8_ALLOCATION_PARAMETERS_515, "NV00F8_ALLOCATION_PARAMETERS", "", "530.41.03", 40, AT(alignment, 0),
           AT(allocSize, 8), AT(pageSize, 16), AT(allocFlags, 20), AT(map, 24), AT(map.offset, 24), AT(map.hVidMem, 32),
           AT(map.flags, 36)),
    LAYOUT(NV00F8_ALLOCATION_PARAMETERS_535, "NV00F8_ALLOCATION_PARAMETERS", "535.43.02", "", 48, AT(alignment, 0),
           AT(allocSize, 8), AT(pageSize, 16), AT(allocFlags, 24), AT(map, 32), AT(map.offset, 32), AT(map.hVidMem, 40),
           AT(map.flags, 44)),
    LAYOUT(NV00F9_ALLOCATION_PARAMETERS, "NV00F9_ALLOCATION_PARAMETERS", "550.40.07", "", 64, AT(imexChannel, 0),
           AT(expPacket, 4), AT(expPacket.opaque, 20), AT(index, 36), AT(flags, 40), AT(pOsEvent, 48), AT(id, 56)),
    LAYOUT(NV00FB_ALLOCATION_PARAMETERS, "NV00FB_ALLOCATION_PARAMETERS", "550.40.07", "", 32, AT(exportUuid, 0), AT(index, 16),
           AT(flags, 20), AT(id, 24)),
    LAYOUT(NV00FD_ALLOCATION_PARAMETERS_525, "NV00FD_ALLOCATION_PARAMETERS", "525.60.13", "535.288.01", 40, AT(alignment, 0),
           AT(allocSize, 8), AT(pageSize, 16), AT(allocFlags, 20), AT(numGpus, 24), AT(pOsEvent, 32)),
    LAYOUT(NV00FD_ALLOCATION_PARAMETERS_545, "NV00FD_ALLOCATION_PARAMETERS", "545.23.06", "580.142", 80, AT(expPacket, 0),
           AT(expPacket.opaque, 16), AT(index, 32), AT(alignment, 40), AT(allocSize, 48), AT(pageSize, 56), AT(allocFlags, 60),
           AT(numGpus, 64), AT(pOsEvent, 72)),
    LAYOUT(NV00FD_ALLOCATION_PARAMETERS_590, "NV00FD_ALLOCATION_PARAMETERS", "590.44.01", "", 80, AT(expPacket, 0),
           AT(expPacket.opaque, 16), AT(index, 32), AT(alignment, 40), AT(allocSize, 48), AT(pageSize, 56), AT(allocFlags, 64),
           AT(numGpus, 68), AT(pOsEvent, 72)),
    LAYOUT(NV503B_ALLOC_PARAMETERS_515, "NV503B_ALLOC_PARAMETERS", "", "530.41.03", 32, AT(hSubDevice, 0), AT(hPeerSubDevice, 4),
           AT(subDevicePeerIdMask, 8), AT(peerSubDevicePeerIdMask, 12), AT(mailboxBar1Addr, 16), AT(mailboxTotalSize, 24),
           AT(flags, 28)),
    LAYOUT(NV503B_ALLOC_PARAMETERS_535, "NV503B_ALLOC_PARAMETERS", "535.43.02", "580.142", 72, AT(hSubDevice, 0),
           AT(hPeerSubDevice, 4), AT(subDevicePeerIdMask, 8), AT(peerSubDevicePeerIdMask, 12), AT(mailboxBar1Addr, 16),
           AT(mailboxTotalSize, 24), AT(flags, 28), AT(subDeviceEgmPeerIdMask, 32), AT(peerSubDeviceEgmPeerIdMask, 36),
           AT(l2pBar1P2PDmaInfo, 40), AT(l2pBar1P2PDmaInfo.dma_address, 40), AT(l2pBar1P2PDmaInfo.dma_size, 48),
           AT(p2lBar1P2PDmaInfo, 56), AT(p2lBar1P2PDmaInfo.dma_address, 56), AT(p2lBar1P2PDmaInfo.dma_size, 64)),
    LAYOUT(NV503B_ALLOC_PARAMETERS_590, "NV503B_ALLOC_PARAMETERS", "590.44.01", "", 88, AT(hSubDevice, 0), AT(hPeerSubDevice, 4),
           AT(subDevicePeerIdMask, 8), AT(peerSubDevicePeerIdMask, 12), AT(mailboxBar1Addr, 16), AT(mailboxTotalSize, 24),
           AT(flags, 28), AT(subDeviceEgmPeerIdMask, 32), AT(peerSubDeviceEgmPeerIdMask, 36), AT(l2pBar1P2PDmaInfo, 40),
           AT(l2pBar1P2PDmaInfo.dma_address, 40), AT(l2pBar1P2PDmaInfo.dma_size, 48), AT(p2lBar1P2PDmaInfo, 56),
           AT(p2lBar1P2PDmaInfo.dma_address, 56), AT(p2lBar1P2PDmaInfo.dma_size, 64), AT(l2pFabricP2PInfo, 72),
           AT(l2pFabricP2PInfo.gpa, 72), AT(p2lFabricP2PInfo, 80), AT(p2lFabricP2PInfo.gpa, 80)),
    LAYOUT(NV503C_ALLOC_PARAMETERS, "NV503C_ALLOC_PARAMETERS", "", "", 4, AT(flags, 0)),
    LAYOUT(NV_CONTEXT_DMA_ALLOCATION_PARAMS, "NV_CONTEXT_DMA_ALLOCATION_PARAMS", "", "", 32, AT(hSubDevice, 0), AT(flags, 4),
           AT(hMemory, 8), AT(offset, 16), AT(limit, 24)),
    LAYOUT(NV_MEMORY_ALLOCATION_PARAMS_515, "NV_MEMORY_ALLOCATION_PARAMS", "", "535.288.01", 120, AT(owner, 0), AT(type, 4),
           AT(flags, 8), AT(width, 12), AT(height, 16), AT(pitch, 20), AT(attr, 24), AT(attr2, 28), AT(format, 32),
           AT(comprCovg, 36), AT(zcullCovg, 40), AT(rangeLo, 48), AT(rangeHi, 56), AT(size, 64), AT(alignment, 72),
           AT(offset, 80), AT(limit, 88), AT(address, 96), AT(ctagOffset, 104), AT(hVASpace, 108), AT(internalflags, 112),
           AT(tag, 116)),
    LAYOUT(NV_MEMORY_ALLOCATION_PARAMS_545, "NV_MEMORY_ALLOCATION_PARAMS", "545.23.06", "", 128, AT(owner, 0), AT(type, 4),
           AT(flags, 8), AT(width, 12), AT(height, 16), AT(pitch, 20), AT(attr, 24), AT(attr2, 28), AT(format, 32),
           AT(comprCovg, 36), AT(zcullCovg, 40), AT(rangeLo, 48), AT(rangeHi, 56), AT(size, 64), AT(alignment, 72),
           AT(offset, 80), AT(limit, 88), AT(address, 96), AT(ctagOffset, 104), AT(hVASpace, 108), AT(internalflags, 112),
           AT(tag, 116), AT(numaNode, 120)),
    LAYOUT(NV_MEMORY_VIRTUAL_ALLOCATION_PARAMS, "NV_MEMORY_VIRTUAL_ALLOCATION_PARAMS", "", "", 24, AT(offset, 0), AT(limit, 8),
           AT(hVASpace, 16)),
    LAYOUT(NV_OS_DESC_MEMORY_ALLOCATION_PARAMS, "NV_OS_DESC_MEMORY_ALLOCATION_PARAMS", "", "", 40, AT(type, 0), AT(flags, 4),
           AT(attr, 8), AT(attr2, 12), AT(descriptor, 16), AT(limit, 24), AT(descriptorType, 32), AT(tag, 36)),
    LAYOUT(NV_VASPACE_ALLOCATION_PARAMETERS_515, "NV_VASPACE_ALLOCATION_PARAMETERS", "", "575.64.05", 48, AT(index, 0),
           AT(flags, 4), AT(vaSize, 8), AT(vaStartInternal, 16), AT(vaLimitInternal, 24), AT(bigPageSize, 32), AT(vaBase, 40)),
    LAYOUT(NV_VASPACE_ALLOCATION_PARAMETERS_580, "NV_VASPACE_ALLOCATION_PARAMETERS", "580.65.06", "", 56, AT(index, 0),
           AT(flags, 4), AT(vaSize, 8), AT(vaStartInternal, 16), AT(vaLimitInternal, 24), AT(bigPageSize, 32), AT(vaBase, 40),
           AT(pasid, 48)),
};

}  // namespace moat::layouts
