// SPDX-License-Identifier: Apache-2.0
// Looking into what others do on a GPU: debuggers, profilers, reads of their memory. Each beside the same on oneself.
#include <unistd.h>

#include "tests/workload/gpu_actor.h"

namespace moat::gpu {
namespace {

constexpr RmControl kDebug[] = {
    NV83DE_CTRL_CMD_SM_DEBUG_MODE_ENABLE,
    NV83DE_CTRL_CMD_DEBUG_READ_SINGLE_SM_ERROR_STATE,
    NV83DE_CTRL_CMD_DEBUG_READ_ALL_SM_ERROR_STATES,
    NV83DE_CTRL_CMD_DEBUG_SET_NEXT_STOP_TRIGGER_TYPE,
    NV83DE_CTRL_CMD_DEBUG_SET_SINGLE_STEP_INTERRUPT_HANDLING,
    NV83DE_CTRL_CMD_DEBUG_SUSPEND_CONTEXT,
    NV83DE_CTRL_CMD_DEBUG_RESUME_CONTEXT,
    NV83DE_CTRL_CMD_GET_MAPPINGS,
    NV83DE_CTRL_CMD_DEBUG_SET_SINGLE_SM_SINGLE_STEP,
    NV83DE_CTRL_CMD_DEBUG_SET_SINGLE_SM_STOP_TRIGGER,
    NV83DE_CTRL_CMD_DEBUG_SET_SINGLE_SM_RUN_TRIGGER,
};
constexpr RmControl kDebugMemory[] = {
    NV83DE_CTRL_CMD_DEBUG_READ_MEMORY, NV83DE_CTRL_CMD_DEBUG_WRITE_MEMORY,      NV83DE_CTRL_CMD_READ_SURFACE,
    NV83DE_CTRL_CMD_WRITE_SURFACE,     NV83DE_CTRL_CMD_DEBUG_READ_BATCH_MEMORY, NV83DE_CTRL_CMD_DEBUG_WRITE_BATCH_MEMORY,
};

void DebugClient(Rm& rm, uint32_t whom, std::span<const RmControl> controls) {
  const uint32_t device = rm.Alloc(NV01_DEVICE_0, rm.client(), NV0080_ALLOC_PARAMETERS{});
  const uint32_t debugger = rm.Alloc(GT200_DEBUGGER, device, NV83DE_ALLOC_PARAMETERS{.hAppClient = whom});
  for (const RmControl& control : controls) {
    rm.Control(debugger, control);
  }
}

// A process with a client, and another that debugs it.
void DebugAnother(Actor& actor, std::span<const RmControl> controls) {
  actor.Beside(
      [&](Actor& other, const Peer& peer) {
        const uint32_t whom = peer.Receive();
        Rm rm(other, other.Open("nvidiactl"));
        DebugClient(rm, whom, controls);
      },
      [&](const Peer& peer) { peer.Send(Rm(actor, actor.Open("nvidiactl")).client()); });
}

// As CUDA does: on its own client, and on another that it has.
void DebugItself(Actor& actor, std::span<const RmControl> controls) {
  const int ctl = actor.Open("nvidiactl");
  Rm rm(actor, ctl);
  DebugClient(rm, rm.client(), controls);
  DebugClient(rm, Rm(actor, ctl).client(), controls);
}

void Debugger(Actor& actor) { DebugAnother(actor, kDebug); }
void DebuggerBenign(Actor& actor) { DebugItself(actor, kDebug); }
void DebuggerMemory(Actor& actor) { DebugAnother(actor, kDebugMemory); }
void DebuggerMemoryBenign(Actor& actor) { DebugItself(actor, kDebugMemory); }

void Profiler(Actor& actor) {
  Rm rm(actor, actor.Open("nvidiactl"));
  const uint32_t subdevice = rm.Alloc(NV20_SUBDEVICE_0, rm.client(), NV2080_ALLOC_PARAMETERS{});
  const uint32_t device = rm.Alloc(MAXWELL_PROFILER_DEVICE, subdevice, NVB2CC_ALLOC_PARAMETERS{});
  rm.Alloc(MAXWELL_PROFILER_CONTEXT, subdevice, NVB1CC_ALLOC_PARAMETERS{.hSubDevice = subdevice});
  for (const RmControl& control :
       {NVB0CC_CTRL_CMD_RESERVE_HWPM_LEGACY, NVB0CC_CTRL_CMD_RESERVE_PM_AREA_SMPC, NVB0CC_CTRL_CMD_ALLOC_PMA_STREAM,
        NVB0CC_CTRL_CMD_BIND_PM_RESOURCES, NVB0CC_CTRL_CMD_RESERVE_PM_AREA_PC_SAMPLER, NVB0CC_CTRL_CMD_RESERVE_CCU_PROF,
        NV90CC_CTRL_CMD_HWPM_RESERVE}) {
    rm.Control(device, control);
  }
  for (const RmControl& control :
       {NV2080_CTRL_CMD_GR_CTXSW_PM_MODE, NV2080_CTRL_CMD_GR_CTXSW_SMPC_MODE, NV2080_CTRL_CMD_GR_PC_SAMPLING_MODE,
        NV2080_CTRL_CMD_GR_FECS_BIND_EVTBUF_FOR_UID, NV2080_CTRL_CMD_GR_FECS_BIND_EVTBUF_FOR_UID_V2}) {
    rm.Control(subdevice, control);
  }
  rm.Control(rm.Alloc(NV_COUNTER_COLLECTION_UNIT, subdevice), NV_COUNTER_COLLECTION_UNIT_CTRL_CMD_SUBSCRIBE);
  rm.Control(subdevice, NVC763_CTRL_CMD_VIDMEM_ACCESS_BIT_DUMP);
}

void ProfilerBenign(Actor& actor) {
  Rm rm(actor, actor.Open("nvidiactl"));
  const uint32_t subdevice = rm.Alloc(NV20_SUBDEVICE_0, rm.client(), NV2080_ALLOC_PARAMETERS{});
  for (const RmControl& control : {NV2080_CTRL_CMD_GR_GET_INFO, NV2080_CTRL_CMD_GR_SET_CTXSW_PREEMPTION_MODE,
                                   NV2080_CTRL_CMD_GR_GET_GLOBAL_SM_ORDER, NV90CC_CTRL_CMD_HWPM_GET_RESERVATION_INFO}) {
    rm.Control(subdevice, control);
  }
}

void UseMemory(Actor& actor, int uvm) {
  char buffer[64] = {};
  const auto at = reinterpret_cast<uint64_t>(buffer);
  actor.Uvm(uvm, UVM_TOOLS_READ_PROCESS_MEMORY{.buffer = at, .size = sizeof(buffer), .targetVa = at});
  actor.Uvm(uvm, UVM_TOOLS_WRITE_PROCESS_MEMORY{.buffer = at, .size = sizeof(buffer), .targetVa = at});
}

void Track(Actor& actor, int uvm) {
  const int tools = actor.Open("nvidia-uvm-tools");
  actor.Uvm(tools, UVM_TOOLS_INIT_EVENT_TRACKER_565{.uvmFd = static_cast<uint32_t>(uvm)});
  actor.Uvm(tools, UVM_TOOLS_INIT_EVENT_TRACKER_V2{.uvmFd = static_cast<uint32_t>(uvm)});
}

// An address space of one process, whose file is passed to another.
void PassAddressSpace(Actor& actor, void (*use)(Actor&, int)) {
  actor.Beside([&](Actor& other, const Peer& peer) { use(other, peer.ReceiveFd()); },
               [&](const Peer& peer) {
                 const int uvm = actor.Open("nvidia-uvm");
                 actor.Uvm(uvm, UVM_INITIALIZE{});
                 peer.SendFd(uvm);
               });
}

void OwnAddressSpace(Actor& actor, void (*use)(Actor&, int)) {
  const int uvm = actor.Open("nvidia-uvm");
  actor.Uvm(uvm, UVM_INITIALIZE{});
  use(actor, uvm);
}

void UvmMemory(Actor& actor) { PassAddressSpace(actor, UseMemory); }
void UvmMemoryBenign(Actor& actor) { OwnAddressSpace(actor, UseMemory); }
void Tracker(Actor& actor) { PassAddressSpace(actor, Track); }
void TrackerBenign(Actor& actor) { OwnAddressSpace(actor, Track); }

void DebugKfd(Actor& actor, pid_t whom) {
  const auto pid = static_cast<uint32_t>(whom);
  const int kfd = actor.Open("kfd");
  for (uint32_t op = 0; op < 4; ++op) {
    actor.Do(kfd, AMDKFD_IOC_DBG_TRAP, kfd_dbg_trap{.pid = pid, .op = op, .enable = {}});
  }
  actor.Do(kfd, AMDKFD_IOC_DBG_TRAP_DEPRECATED, kfd_dbg_trap_deprecated{.pid = pid});
}

void CopyKfd(Actor& actor, pid_t whom) {
  const auto pid = static_cast<uint32_t>(whom);
  const int kfd = actor.Open("kfd");
  actor.Do(kfd, AMDKFD_IOC_CRIU_OP, kfd_criu{.pid = pid, .op = 1});
  actor.Do(kfd, AMDKFD_IOC_CROSS_MEMORY_COPY_DEPRECATED, kfd_cross_memory_copy{.pid = pid});
}

void OnParent(Actor& actor, void (*what)(Actor&, pid_t)) {
  actor.Beside([&](Actor& other, const Peer&) { what(other, getppid()); }, [](const Peer&) {});
}

void KfdDebug(Actor& actor) { OnParent(actor, DebugKfd); }
void KfdDebugBenign(Actor& actor) { DebugKfd(actor, getpid()); }
void KfdMemory(Actor& actor) { OnParent(actor, CopyKfd); }
void KfdMemoryBenign(Actor& actor) { CopyKfd(actor, getpid()); }

void KfdProfile(Actor& actor) {
  const int kfd = actor.Open("kfd");
  actor.Do(kfd, AMDKFD_IOC_RLC_SPM);
  actor.Do(kfd, AMDKFD_IOC_PC_SAMPLE);
  actor.Do(kfd, AMDKFD_IOC_PROFILER);
}
void KfdProfileBenign(Actor& actor) {
  const int kfd = actor.Open("kfd");
  actor.Do(kfd, AMDKFD_IOC_GET_VERSION);
  actor.Do(kfd, AMDKFD_IOC_RUNTIME_ENABLE);
}

void XeProfile(Actor& actor) { actor.Do(actor.Open("xe"), DRM_XE_OBSERVATION); }
void XeProfileBenign(Actor& actor) {
  const int xe = actor.Open("xe");
  actor.Do(xe, DRM_XE_DEVICE_QUERY);
  actor.Do(xe, DRM_XE_EXEC);
}
void I915Profile(Actor& actor) {
  const int i915 = actor.Open("i915");
  actor.Do(i915, DRM_I915_PERF_ADD_CONFIG);
  actor.Do(i915, DRM_I915_PERF_OPEN);
}
void I915ProfileBenign(Actor& actor) {
  const int i915 = actor.Open("i915");
  actor.Do(i915, DRM_I915_GEM_CREATE_EXT);
  actor.Do(i915, DRM_I915_GEM_EXECBUFFER2);
}

constexpr Scenario kScenarios[] = {
    {"debugger",
     kSuspicious,
     "a debugger on another process: the object, and what stops and inspects it",
     {.debug = 12},
     "",
     Debugger},
    {"debugger-benign", kBenign, "the same on two clients of its own", {}, "", DebuggerBenign},
    {"debugger-memory",
     kSuspicious,
     "a debugger on another process reads and writes its memory",
     {.debug = 7},
     "",
     DebuggerMemory},
    {"debugger-memory-benign", kBenign, "the same on two clients of its own", {}, "", DebuggerMemoryBenign},
    {"profiler", kSuspicious, "counters and samples of the whole GPU, which tell what others do", {.profile = 16}, "", Profiler},
    {"profiler-benign", kBenign, "controls of the same interfaces that CUDA makes", {}, "", ProfilerBenign},
    {"uvm-memory",
     kSuspicious,
     "reads and writes the memory of another's address space, by a file that was passed",
     {.foreign_memory = 2},
     "",
     UvmMemory},
    {"uvm-memory-benign", kBenign, "the same in its own", {}, "", UvmMemoryBenign},
    {"uvm-tracker", kSuspicious, "tracks the events of another's address space", {.profile = 2}, "", Tracker},
    {"uvm-tracker-benign", kBenign, "the same of its own", {}, "", TrackerBenign},
    {"kfd-debug", kSuspicious, "AMD's debug trap on another process", {.debug = 5}, "kfd", KfdDebug},
    {"kfd-debug-benign", kBenign, "the same on itself", {}, "kfd", KfdDebugBenign},
    {"kfd-memory",
     kSuspicious,
     "checkpoints another process's GPU memory, copies across",
     {.foreign_memory = 2},
     "kfd",
     KfdMemory},
    {"kfd-memory-benign", kBenign, "the same on itself", {}, "kfd", KfdMemoryBenign},
    {"kfd-profile", kSuspicious, "AMD's counters and samples", {.profile = 3}, "kfd", KfdProfile},
    {"kfd-profile-benign", kBenign, "what a ROCm program begins with", {}, "kfd", KfdProfileBenign},
    {"xe-profile", kSuspicious, "Intel's observation streams", {.profile = 1}, "xe", XeProfile},
    {"xe-profile-benign", kBenign, "what submits work there", {}, "xe", XeProfileBenign},
    {"i915-profile", kSuspicious, "Intel's performance streams", {.profile = 2}, "i915", I915Profile},
    {"i915-profile-benign", kBenign, "what submits work there", {}, "i915", I915ProfileBenign},
};

}  // namespace

std::span<const Scenario> DebugScenarios() { return kScenarios; }

}  // namespace moat::gpu
