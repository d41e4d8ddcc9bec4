// SPDX-License-Identifier: Apache-2.0
// NVIDIA/open-gpu-kernel-modules, ctrl/: the other controls, debuggers and profilers among them.
#pragma once

#include "tests/abi/layouts/layout.h"

namespace moat::layouts {

struct eccLocation {
  uint32_t location, sublocation, extlocation;
};
struct NV2080_CTRL_ECC_INJECT_ERROR_PARAMS {
  uint32_t unit;
  uint8_t errorType;
  eccLocation location;
  uint32_t flags;
  Aligned64 address;
};
struct NV2080_CTRL_FB_SET_DRAM_ENCRYPTION_CONFIGURATION_PARAMS {
  uint32_t newConfiguration;
};
struct NV2080_CTRL_FIFO_DISABLE_CHANNELS_PARAMS {
  uint8_t bDisable;
  uint32_t numChannels;
  uint8_t bOnlyDisableScheduling, bRewindGpPut;
  Aligned64 pRunlistPreemptEvent;
  uint32_t hClientList[64], hChannelList[64];
};
struct NV0080_CTRL_GR_ROUTE_INFO {
  uint32_t flags;
  Aligned64 route;
};
struct NV2080_CTRL_GPU_EXEC_REG_OPS_PARAMS {
  uint32_t hClientTarget, hChannelTarget, bNonTransactional, reserved00[2], regOpCount;
  Aligned64 regOps;
  NV0080_CTRL_GR_ROUTE_INFO grRouteInfo;
};
struct NV2080_CTRL_GPU_GET_PIDS_PARAMS {
  uint32_t idType, id, pidTblCount, pidTbl[950];
};
struct NV2080_CTRL_GPU_REG_OP {
  uint8_t regOp, regType, regStatus, regQuad;
  uint32_t regGroupMask, regSubGroupMask, regOffset, regValueHi, regValueLo, regAndNMaskHi, regAndNMaskLo;
};
struct NV2080_CTRL_GPU_RESET_ECC_ERROR_STATUS_PARAMS {
  uint32_t statuses;
  uint8_t flags;
};
struct NV2080_CTRL_GPU_SET_COMPUTE_MODE_RULES_PARAMS {
  uint32_t rules, flags;
};
struct NV2080_CTRL_GPU_SET_ECC_CONFIGURATION_PARAMS {
  uint32_t newConfiguration;
};
struct NV2080_CTRL_GPU_SET_PARTITIONING_MODE_PARAMS {
  uint32_t partitioningMode;
};
struct NV2080_CTRL_GPU_PARTITION_SPAN {
  Aligned64 lo, hi;
};
struct NV2080_CTRL_GPU_SET_PARTITION_INFO {
  uint32_t swizzId, partitionFlag;
  uint8_t bValid;
  NV2080_CTRL_GPU_PARTITION_SPAN placement;
};
struct NV2080_CTRL_GPU_SET_PARTITIONS_PARAMS_515 {
  uint32_t partitionCount;
  NV2080_CTRL_GPU_SET_PARTITION_INFO partitionInfo[8];
};
struct NV2080_CTRL_GPU_SET_PARTITION_INFO_550 {
  uint32_t swizzId;
  uint8_t uuid[16];
  uint32_t partitionFlag;
  uint8_t bValid;
  NV2080_CTRL_GPU_PARTITION_SPAN placement;
};
struct NV2080_CTRL_GPU_SET_PARTITIONS_PARAMS_550 {
  uint32_t partitionCount;
  NV2080_CTRL_GPU_SET_PARTITION_INFO_550 partitionInfo[8];
};
struct NV2080_CTRL_PERF_BOOST_PARAMS {
  uint32_t flags, duration;
};
struct NV2080_CTRL_PERF_RATED_TDP_CONTROL_PARAMS_515 {
  uint32_t client, input;
};
struct NV2080_CTRL_PERF_RATED_TDP_CONTROL_PARAMS_560 {
  uint32_t client, input, vPstateType;
};
struct NV83DE_CTRL_DEBUG_ACCESS_MEMORY_ENTRY {
  uint32_t hMemory, length;
  Aligned64 memOffset;
  uint32_t dataOffset, status;
};
struct NV83DE_CTRL_DEBUG_ACCESS_MEMORY_PARAMS {
  Aligned64 pData;
  uint32_t dataLength, count;
  NV83DE_CTRL_DEBUG_ACCESS_MEMORY_ENTRY entries[150];
};
struct NV83DE_CTRL_DEBUG_ACCESS_OP {
  Aligned64 gpuVA, pCpuVA;
  uint32_t size, valid;
};
struct NV83DE_CTRL_DEBUG_ACCESS_SURFACE_PARAMETERS {
  uint32_t count;
  NV83DE_CTRL_DEBUG_ACCESS_OP opsBuffer[64];
};
struct NV83DE_CTRL_DEBUG_EXEC_REG_OPS_PARAMS {
  uint8_t bNonTransactional;
  uint32_t regOpCount;
  NV2080_CTRL_GPU_REG_OP regOps[100];
};
struct NV83DE_CTRL_DEBUG_READ_MEMORY_PARAMS {
  uint32_t hMemory, length;
  Aligned64 offset, buffer;
};
struct NV83DE_CTRL_DEBUG_WRITE_MEMORY_PARAMS {
  uint32_t hMemory, length;
  Aligned64 offset, buffer;
};
struct NVA06C_CTRL_GPFIFO_SCHEDULE_PARAMS_515 {
  uint8_t bEnable, bSkipSubmit;
};
struct NVA06C_CTRL_GPFIFO_SCHEDULE_PARAMS_575 {
  uint8_t bEnable, bSkipSubmit, bSkipEnable;
};
struct NVB0CC_CTRL_ALLOC_PMA_STREAM_PARAMS {
  uint32_t hMemPmaBuffer;
  Aligned64 pmaBufferOffset, pmaBufferSize;
  uint32_t hMemPmaBytesAvailable;
  Aligned64 pmaBytesAvailableOffset;
  uint8_t ctxsw;
  uint32_t pmaChannelIdx;
  Aligned64 pmaBufferVA;
};
struct NVB0CC_CTRL_EXEC_REG_OPS_PARAMS {
  uint32_t regOpCount, mode;
  uint8_t bPassed, bDirect;
  NV2080_CTRL_GPU_REG_OP regOps[124];
};
struct NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN_PARAMS {
  uint32_t workSubmitToken;
};
struct NVC637_CTRL_EXEC_PARTITIONS_INFO {
  uint32_t gpcCount, veidCount, ceCount, nvEncCount, nvDecCount, nvJpgCount, ofaCount, sharedEngFlag, veidStartOffset;
};
struct NVC637_CTRL_EXEC_PARTITIONS_CREATE_PARAMS_515 {
  uint8_t bQuery;
  uint32_t flags, execPartCount;
  NVC637_CTRL_EXEC_PARTITIONS_INFO execPartInfo[8];
  uint32_t execPartId[8];
};
struct NVC637_CTRL_EXEC_PARTITIONS_INFO_520 {
  uint32_t gpcCount, gfxGpcCount, veidCount, ceCount, nvEncCount, nvDecCount, nvJpgCount, ofaCount, sharedEngFlag,
      veidStartOffset;
};
struct NVC637_CTRL_EXEC_PARTITIONS_CREATE_PARAMS_520 {
  uint8_t bQuery;
  uint32_t flags, execPartCount;
  NVC637_CTRL_EXEC_PARTITIONS_INFO_520 execPartInfo[8];
  uint32_t execPartId[8];
};
struct NVC637_CTRL_EXEC_PARTITIONS_INFO_525 {
  uint32_t gpcCount, gfxGpcCount, veidCount, ceCount, nvEncCount, nvDecCount, nvJpgCount, ofaCount, sharedEngFlag,
      veidStartOffset, smCount, spanStart, computeSize;
};
struct NVC637_CTRL_EXEC_PARTITIONS_CREATE_PARAMS_525 {
  uint8_t bQuery;
  uint32_t flags, execPartCount;
  NVC637_CTRL_EXEC_PARTITIONS_INFO_525 execPartInfo[8];
  uint32_t execPartId[8];
};
struct NVC637_CTRL_EXEC_PARTITIONS_DELETE_PARAMS {
  uint32_t execPartCount, execPartId[8];
};
struct NV_CONF_COMPUTE_CTRL_CMD_SYSTEM_SET_GPUS_STATE_PARAMS {
  uint8_t bAcceptClientRequest;
};

inline constexpr Layout kNvidiaCtrl[] = {
    LAYOUT(NV2080_CTRL_ECC_INJECT_ERROR_PARAMS, "NV2080_CTRL_ECC_INJECT_ERROR_PARAMS", "580.65.06", "", 32, AT(unit, 0),
           AT(errorType, 4), AT(location, 8), AT(location.location, 8), AT(location.sublocation, 12),
           AT(location.extlocation, 16), AT(flags, 20), AT(address, 24)),
    LAYOUT(NV2080_CTRL_FB_SET_DRAM_ENCRYPTION_CONFIGURATION_PARAMS, "NV2080_CTRL_FB_SET_DRAM_ENCRYPTION_CONFIGURATION_PARAMS",
           "570.86.15", "", 4, AT(newConfiguration, 0)),
    LAYOUT(NV2080_CTRL_FIFO_DISABLE_CHANNELS_PARAMS, "NV2080_CTRL_FIFO_DISABLE_CHANNELS_PARAMS", "", "", 536, AT(bDisable, 0),
           AT(numChannels, 4), AT(bOnlyDisableScheduling, 8), AT(bRewindGpPut, 9), AT(pRunlistPreemptEvent, 16),
           AT(hClientList, 24), AT(hChannelList, 280)),
    LAYOUT(NV2080_CTRL_GPU_EXEC_REG_OPS_PARAMS, "NV2080_CTRL_GPU_EXEC_REG_OPS_PARAMS", "", "", 48, AT(hClientTarget, 0),
           AT(hChannelTarget, 4), AT(bNonTransactional, 8), AT(reserved00, 12), AT(regOpCount, 20), AT(regOps, 24),
           AT(grRouteInfo, 32), AT(grRouteInfo.flags, 32), AT(grRouteInfo.route, 40)),
    LAYOUT(NV2080_CTRL_GPU_GET_PIDS_PARAMS, "NV2080_CTRL_GPU_GET_PIDS_PARAMS", "", "", 3812, AT(idType, 0), AT(id, 4),
           AT(pidTblCount, 8), AT(pidTbl, 12)),
    LAYOUT(NV2080_CTRL_GPU_REG_OP, "NV2080_CTRL_GPU_REG_OP", "", "", 32, AT(regOp, 0), AT(regType, 1), AT(regStatus, 2),
           AT(regQuad, 3), AT(regGroupMask, 4), AT(regSubGroupMask, 8), AT(regOffset, 12), AT(regValueHi, 16), AT(regValueLo, 20),
           AT(regAndNMaskHi, 24), AT(regAndNMaskLo, 28)),
    LAYOUT(NV2080_CTRL_GPU_RESET_ECC_ERROR_STATUS_PARAMS, "NV2080_CTRL_GPU_RESET_ECC_ERROR_STATUS_PARAMS", "", "", 8,
           AT(statuses, 0), AT(flags, 4)),
    LAYOUT(NV2080_CTRL_GPU_SET_COMPUTE_MODE_RULES_PARAMS, "NV2080_CTRL_GPU_SET_COMPUTE_MODE_RULES_PARAMS", "", "", 8,
           AT(rules, 0), AT(flags, 4)),
    LAYOUT(NV2080_CTRL_GPU_SET_ECC_CONFIGURATION_PARAMS, "NV2080_CTRL_GPU_SET_ECC_CONFIGURATION_PARAMS", "", "", 4,
           AT(newConfiguration, 0)),
    LAYOUT(NV2080_CTRL_GPU_SET_PARTITIONING_MODE_PARAMS, "NV2080_CTRL_GPU_SET_PARTITIONING_MODE_PARAMS", "", "", 4,
           AT(partitioningMode, 0)),
    LAYOUT(NV2080_CTRL_GPU_SET_PARTITIONS_PARAMS_515, "NV2080_CTRL_GPU_SET_PARTITIONS_PARAMS", "", "545.29.06", 264,
           AT(partitionCount, 0), AT(partitionInfo, 8)),
    LAYOUT(NV2080_CTRL_GPU_SET_PARTITIONS_PARAMS_550, "NV2080_CTRL_GPU_SET_PARTITIONS_PARAMS", "550.40.07", "", 392,
           AT(partitionCount, 0), AT(partitionInfo, 8)),
    LAYOUT(NV2080_CTRL_PERF_BOOST_PARAMS, "NV2080_CTRL_PERF_BOOST_PARAMS", "", "", 8, AT(flags, 0), AT(duration, 4)),
    LAYOUT(NV2080_CTRL_PERF_RATED_TDP_CONTROL_PARAMS_515, "NV2080_CTRL_PERF_RATED_TDP_CONTROL_PARAMS", "", "555.58.02", 8,
           AT(client, 0), AT(input, 4)),
    LAYOUT(NV2080_CTRL_PERF_RATED_TDP_CONTROL_PARAMS_560, "NV2080_CTRL_PERF_RATED_TDP_CONTROL_PARAMS", "560.28.03", "", 12,
           AT(client, 0), AT(input, 4), AT(vPstateType, 8)),
    LAYOUT(NV83DE_CTRL_DEBUG_ACCESS_MEMORY_ENTRY, "NV83DE_CTRL_DEBUG_ACCESS_MEMORY_ENTRY", "", "", 24, AT(hMemory, 0),
           AT(length, 4), AT(memOffset, 8), AT(dataOffset, 16), AT(status, 20)),
    LAYOUT(NV83DE_CTRL_DEBUG_ACCESS_MEMORY_PARAMS, "NV83DE_CTRL_DEBUG_ACCESS_MEMORY_PARAMS", "", "", 3616, AT(pData, 0),
           AT(dataLength, 8), AT(count, 12), AT(entries, 16)),
    LAYOUT(NV83DE_CTRL_DEBUG_ACCESS_OP, "NV83DE_CTRL_DEBUG_ACCESS_OP", "", "", 24, AT(gpuVA, 0), AT(pCpuVA, 8), AT(size, 16),
           AT(valid, 20)),
    LAYOUT(NV83DE_CTRL_DEBUG_ACCESS_SURFACE_PARAMETERS, "NV83DE_CTRL_DEBUG_ACCESS_SURFACE_PARAMETERS", "", "", 1544, AT(count, 0),
           AT(opsBuffer, 8)),
    LAYOUT(NV83DE_CTRL_DEBUG_EXEC_REG_OPS_PARAMS, "NV83DE_CTRL_DEBUG_EXEC_REG_OPS_PARAMS", "", "", 3208, AT(bNonTransactional, 0),
           AT(regOpCount, 4), AT(regOps, 8)),
    LAYOUT(NV83DE_CTRL_DEBUG_READ_MEMORY_PARAMS, "NV83DE_CTRL_DEBUG_READ_MEMORY_PARAMS", "", "", 24, AT(hMemory, 0),
           AT(length, 4), AT(offset, 8), AT(buffer, 16)),
    LAYOUT(NV83DE_CTRL_DEBUG_WRITE_MEMORY_PARAMS, "NV83DE_CTRL_DEBUG_WRITE_MEMORY_PARAMS", "", "", 24, AT(hMemory, 0),
           AT(length, 4), AT(offset, 8), AT(buffer, 16)),
    LAYOUT(NVA06C_CTRL_GPFIFO_SCHEDULE_PARAMS_515, "NVA06C_CTRL_GPFIFO_SCHEDULE_PARAMS", "", "570.211.01", 2, AT(bEnable, 0),
           AT(bSkipSubmit, 1)),
    LAYOUT(NVA06C_CTRL_GPFIFO_SCHEDULE_PARAMS_575, "NVA06C_CTRL_GPFIFO_SCHEDULE_PARAMS", "575.51.02", "", 3, AT(bEnable, 0),
           AT(bSkipSubmit, 1), AT(bSkipEnable, 2)),
    LAYOUT(NVB0CC_CTRL_ALLOC_PMA_STREAM_PARAMS, "NVB0CC_CTRL_ALLOC_PMA_STREAM_PARAMS", "", "", 56, AT(hMemPmaBuffer, 0),
           AT(pmaBufferOffset, 8), AT(pmaBufferSize, 16), AT(hMemPmaBytesAvailable, 24), AT(pmaBytesAvailableOffset, 32),
           AT(ctxsw, 40), AT(pmaChannelIdx, 44), AT(pmaBufferVA, 48)),
    LAYOUT(NVB0CC_CTRL_EXEC_REG_OPS_PARAMS, "NVB0CC_CTRL_EXEC_REG_OPS_PARAMS", "", "", 3980, AT(regOpCount, 0), AT(mode, 4),
           AT(bPassed, 8), AT(bDirect, 9), AT(regOps, 12)),
    LAYOUT(NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN_PARAMS, "NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN_PARAMS", "", "", 4,
           AT(workSubmitToken, 0)),
    LAYOUT(NVC637_CTRL_EXEC_PARTITIONS_CREATE_PARAMS_515, "NVC637_CTRL_EXEC_PARTITIONS_CREATE_PARAMS", "", "515.105.01", 332,
           AT(bQuery, 0), AT(flags, 4), AT(execPartCount, 8), AT(execPartInfo, 12), AT(execPartId, 300)),
    LAYOUT(NVC637_CTRL_EXEC_PARTITIONS_CREATE_PARAMS_520, "NVC637_CTRL_EXEC_PARTITIONS_CREATE_PARAMS", "520.61.05", "520.61.05",
           364, AT(bQuery, 0), AT(flags, 4), AT(execPartCount, 8), AT(execPartInfo, 12), AT(execPartId, 332)),
    LAYOUT(NVC637_CTRL_EXEC_PARTITIONS_CREATE_PARAMS_525, "NVC637_CTRL_EXEC_PARTITIONS_CREATE_PARAMS", "525.60.13", "", 460,
           AT(bQuery, 0), AT(flags, 4), AT(execPartCount, 8), AT(execPartInfo, 12), AT(execPartId, 428)),
    LAYOUT(NVC637_CTRL_EXEC_PARTITIONS_DELETE_PARAMS, "NVC637_CTRL_EXEC_PARTITIONS_DELETE_PARAMS", "", "", 36,
           AT(execPartCount, 0), AT(execPartId, 4)),
    LAYOUT(NV_CONF_COMPUTE_CTRL_CMD_SYSTEM_SET_GPUS_STATE_PARAMS, "NV_CONF_COMPUTE_CTRL_CMD_SYSTEM_SET_GPUS_STATE_PARAMS",
           "535.43.02", "", 1, AT(bAcceptClientRequest, 0)),
};

}  // namespace moat::layouts
