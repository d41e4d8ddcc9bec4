// SPDX-License-Identifier: Apache-2.0
// NVIDIA/open-gpu-kernel-modules, kernel-open/nvidia-uvm: calls of nvidia-uvm-tools.
#pragma once

#include "tests/abi/layouts/uvm.h"

namespace moat::layouts {

struct UVM_TOOLS_DISABLE_COUNTERS {
  Aligned64 counterTypeFlags;
  uint32_t rmStatus;
};
struct UVM_TOOLS_ENABLE_COUNTERS {
  Aligned64 counterTypeFlags;
  uint32_t rmStatus;
};
struct UVM_TOOLS_EVENT_QUEUE_DISABLE_EVENTS {
  Aligned64 eventTypeFlags;
  uint32_t rmStatus;
};
struct UVM_TOOLS_EVENT_QUEUE_ENABLE_EVENTS {
  Aligned64 eventTypeFlags;
  uint32_t rmStatus;
};
struct UVM_TOOLS_FLUSH_EVENTS {
  uint32_t rmStatus;
};
struct UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_515 {
  Aligned64 tablePtr;
  uint32_t count, rmStatus;
};
struct UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_550 {
  Aligned64 tablePtr;
  uint32_t count, rmStatus, version;
};
struct UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_560 {
  Aligned64 tablePtr;
  uint32_t version, rmStatus;
};
struct UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_565 {
  Aligned64 tablePtr;
  uint32_t rmStatus;
};
struct UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_V2 {
  Aligned64 tablePtr;
  uint32_t rmStatus;
};
struct UVM_TOOLS_INIT_EVENT_TRACKER_515 {
  Aligned64 queueBuffer, queueBufferSize, controlBuffer;
  NvUuid processor;
  uint32_t allProcessors, uvmFd, rmStatus;
};
struct UVM_TOOLS_INIT_EVENT_TRACKER_550 {
  Aligned64 queueBuffer, queueBufferSize, controlBuffer;
  NvUuid processor;
  uint32_t allProcessors, uvmFd, rmStatus, requestedVersion, grantedVersion;
};
struct UVM_TOOLS_INIT_EVENT_TRACKER_560 {
  Aligned64 queueBuffer, queueBufferSize, controlBuffer;
  NvUuid processor;
  uint32_t allProcessors, uvmFd, version, rmStatus;
};
struct UVM_TOOLS_INIT_EVENT_TRACKER_565 {
  Aligned64 queueBuffer, queueBufferSize, controlBuffer;
  NvUuid processor;
  uint32_t allProcessors, uvmFd, rmStatus;
};
struct UVM_TOOLS_INIT_EVENT_TRACKER_V2 {
  Aligned64 queueBuffer, queueBufferSize, controlBuffer;
  NvUuid processor;
  uint32_t allProcessors, uvmFd, rmStatus;
};
struct UVM_TOOLS_READ_PROCESS_MEMORY {
  Aligned64 buffer, size, targetVa, bytesRead;
  uint32_t rmStatus;
};
struct UVM_TOOLS_SET_NOTIFICATION_THRESHOLD {
  uint32_t notificationThreshold, rmStatus;
};
struct UVM_TOOLS_WRITE_PROCESS_MEMORY {
  Aligned64 buffer, size, targetVa, bytesWritten;
  uint32_t rmStatus;
};

inline constexpr Layout kUvmTools[] = {
    LAYOUT(UVM_TOOLS_DISABLE_COUNTERS, "UVM_TOOLS_DISABLE_COUNTERS", "", "", 16, AT(counterTypeFlags, 0), AT(rmStatus, 8)),
    LAYOUT(UVM_TOOLS_ENABLE_COUNTERS, "UVM_TOOLS_ENABLE_COUNTERS", "", "", 16, AT(counterTypeFlags, 0), AT(rmStatus, 8)),
    LAYOUT(UVM_TOOLS_EVENT_QUEUE_DISABLE_EVENTS, "UVM_TOOLS_EVENT_QUEUE_DISABLE_EVENTS", "", "", 16, AT(eventTypeFlags, 0),
           AT(rmStatus, 8)),
    LAYOUT(UVM_TOOLS_EVENT_QUEUE_ENABLE_EVENTS, "UVM_TOOLS_EVENT_QUEUE_ENABLE_EVENTS", "", "", 16, AT(eventTypeFlags, 0),
           AT(rmStatus, 8)),
    LAYOUT(UVM_TOOLS_FLUSH_EVENTS, "UVM_TOOLS_FLUSH_EVENTS", "", "", 4, AT(rmStatus, 0)),
    LAYOUT(UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_515, "UVM_TOOLS_GET_PROCESSOR_UUID_TABLE", "", "550.40.07", 16, AT(tablePtr, 0),
           AT(count, 8), AT(rmStatus, 12)),
    LAYOUT(UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_550, "UVM_TOOLS_GET_PROCESSOR_UUID_TABLE", "550.54.14", "555.58.02", 24,
           AT(tablePtr, 0), AT(count, 8), AT(rmStatus, 12), AT(version, 16)),
    LAYOUT(UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_560, "UVM_TOOLS_GET_PROCESSOR_UUID_TABLE", "560.28.03", "560.35.03", 16,
           AT(tablePtr, 0), AT(version, 8), AT(rmStatus, 12)),
    LAYOUT(UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_565, "UVM_TOOLS_GET_PROCESSOR_UUID_TABLE", "565.57.01", "", 16, AT(tablePtr, 0),
           AT(rmStatus, 8)),
    LAYOUT(UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_V2, "UVM_TOOLS_GET_PROCESSOR_UUID_TABLE_V2", "565.57.01", "", 16, AT(tablePtr, 0),
           AT(rmStatus, 8)),
    LAYOUT(UVM_TOOLS_INIT_EVENT_TRACKER_515, "UVM_TOOLS_INIT_EVENT_TRACKER", "", "550.40.07", 56, AT(queueBuffer, 0),
           AT(queueBufferSize, 8), AT(controlBuffer, 16), AT(processor, 24), AT(allProcessors, 40), AT(uvmFd, 44),
           AT(rmStatus, 48)),
    LAYOUT(UVM_TOOLS_INIT_EVENT_TRACKER_550, "UVM_TOOLS_INIT_EVENT_TRACKER", "550.54.14", "555.58.02", 64, AT(queueBuffer, 0),
           AT(queueBufferSize, 8), AT(controlBuffer, 16), AT(processor, 24), AT(allProcessors, 40), AT(uvmFd, 44),
           AT(rmStatus, 48), AT(requestedVersion, 52), AT(grantedVersion, 56)),
    LAYOUT(UVM_TOOLS_INIT_EVENT_TRACKER_560, "UVM_TOOLS_INIT_EVENT_TRACKER", "560.28.03", "560.35.03", 56, AT(queueBuffer, 0),
           AT(queueBufferSize, 8), AT(controlBuffer, 16), AT(processor, 24), AT(allProcessors, 40), AT(uvmFd, 44),
           AT(version, 48), AT(rmStatus, 52)),
    LAYOUT(UVM_TOOLS_INIT_EVENT_TRACKER_565, "UVM_TOOLS_INIT_EVENT_TRACKER", "565.57.01", "", 56, AT(queueBuffer, 0),
           AT(queueBufferSize, 8), AT(controlBuffer, 16), AT(processor, 24), AT(allProcessors, 40), AT(uvmFd, 44),
           AT(rmStatus, 48)),
    LAYOUT(UVM_TOOLS_INIT_EVENT_TRACKER_V2, "UVM_TOOLS_INIT_EVENT_TRACKER_V2", "565.57.01", "", 56, AT(queueBuffer, 0),
           AT(queueBufferSize, 8), AT(controlBuffer, 16), AT(processor, 24), AT(allProcessors, 40), AT(uvmFd, 44),
           AT(rmStatus, 48)),
    LAYOUT(UVM_TOOLS_READ_PROCESS_MEMORY, "UVM_TOOLS_READ_PROCESS_MEMORY", "", "", 40, AT(buffer, 0), AT(size, 8),
           AT(targetVa, 16), AT(bytesRead, 24), AT(rmStatus, 32)),
    LAYOUT(UVM_TOOLS_SET_NOTIFICATION_THRESHOLD, "UVM_TOOLS_SET_NOTIFICATION_THRESHOLD", "", "", 8, AT(notificationThreshold, 0),
           AT(rmStatus, 4)),
    LAYOUT(UVM_TOOLS_WRITE_PROCESS_MEMORY, "UVM_TOOLS_WRITE_PROCESS_MEMORY", "", "", 40, AT(buffer, 0), AT(size, 8),
           AT(targetVa, 16), AT(bytesWritten, 24), AT(rmStatus, 32)),
};

}  // namespace moat::layouts
