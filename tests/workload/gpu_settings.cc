// SPDX-License-Identifier: Apache-2.0
// What changes a GPU for all who use it, and what goes past its driver's own care.
#include "tests/workload/gpu_actor.h"

namespace moat::gpu {
namespace {

template <const auto& kControls>
void Controls(Actor& actor) {
  Rm rm(actor, actor.Open("nvidiactl"));
  const uint32_t subdevice = rm.Alloc(NV20_SUBDEVICE_0, rm.client(), NV2080_ALLOC_PARAMETERS{});
  for (const RmControl& control : kControls) {
    rm.Control(subdevice, control);
  }
}

constexpr RmControl kMig[] = {NV2080_CTRL_CMD_GPU_SET_PARTITIONS, NV2080_CTRL_CMD_GPU_SET_PARTITIONING_MODE,
                              NVC637_CTRL_CMD_EXEC_PARTITIONS_CREATE, NVC637_CTRL_CMD_EXEC_PARTITIONS_DELETE};
constexpr RmControl kMigBenign[] = {NV2080_CTRL_CMD_GPU_GET_PARTITIONS, NV2080_CTRL_CMD_GPU_GET_PARTITION_CAPACITY,
                                    NV2080_CTRL_CMD_GPU_GET_ACTIVE_PARTITION_IDS, NVC637_CTRL_CMD_EXEC_PARTITIONS_GET,
                                    NVC637_CTRL_EXEC_PARTITIONS_GET_ACTIVE_IDS};
constexpr RmControl kReset[] = {NV2080_CTRL_CMD_GPU_MARK_DEVICE_FOR_RESET, NV2080_CTRL_CMD_GPU_MARK_DEVICE_FOR_DRAIN_AND_RESET,
                                NV0000_CTRL_CMD_GPU_MODIFY_DRAIN_STATE, NV2080_CTRL_CMD_GPU_FORCE_GSP_UNLOAD,
                                NV0020_CTRL_CMD_GPU_MGMT_SET_SHUTDOWN_STATE};
constexpr RmControl kResetBenign[] = {NV2080_CTRL_CMD_GPU_GET_RESET_STATUS, NV2080_CTRL_CMD_GPU_GET_DRAIN_AND_RESET_STATUS,
                                      NV0000_CTRL_CMD_GPU_QUERY_DRAIN_STATE};
constexpr RmControl kEcc[] = {NV2080_CTRL_CMD_GPU_SET_ECC_CONFIGURATION, NV2080_CTRL_CMD_GPU_RESET_ECC_ERROR_STATUS};
constexpr RmControl kEccBenign[] = {NV2080_CTRL_CMD_GPU_QUERY_ECC_STATUS, NV2080_CTRL_CMD_GPU_QUERY_ECC_CONFIGURATION};
constexpr RmControl kErrors[] = {NV2080_CTRL_CMD_GPU_ERROR_INJECTION_CONTROL, NV2080_CTRL_CMD_ECC_INJECT_ERROR,
                                 NV2080_CTRL_CMD_NVLINK_SET_HW_ERROR_INJECT, NV2080_CTRL_CMD_NVLINK_INJECT_SW_ERROR,
                                 NV2080_CTRL_CMD_GSP_GDMA_FUZZ_TEST};
constexpr RmControl kErrorsBenign[] = {NV2080_CTRL_CMD_NVLINK_GET_HW_ERROR_INJECT, NV2080_CTRL_CMD_ECC_INJECTION_SUPPORTED};
constexpr RmControl kClocks[] = {NV2080_CTRL_CMD_GPU_SET_POWER, {"NV2080_CTRL_CMD_PERF_SET_POWERSTATE", 0x2080205b, 4},
                                 Gss("CLK", 0x2080d012),        Gss("PERF", 0x2080e0a1),
                                 Gss("PMGR", 0x2080e610),       Gss("VOLT", 0x2080f201)};
constexpr RmControl kClocksBenign[] = {Gss("CLK", 0x20809012),  Gss("PERF", 0x2080a0a1),    Gss("PMGR", 0x2080a610),
                                       Gss("VOLT", 0x2080b201), Gss("THERMAL", 0x20808501), Gss("NNE", 0x2080b701)};
constexpr RmControl kAccounting[] = {NV0000_CTRL_CMD_GPUACCT_SET_ACCOUNTING_STATE, NV0000_CTRL_CMD_GPUACCT_CLEAR_ACCOUNTING_DATA};
constexpr RmControl kAccountingBenign[] = {NV0000_CTRL_CMD_GPUACCT_GET_ACCOUNTING_STATE,
                                           NV0000_CTRL_CMD_GPUACCT_GET_PROC_ACCOUNTING_INFO,
                                           NV0000_CTRL_CMD_GPUACCT_GET_ACCOUNTING_PIDS};
constexpr RmControl kWatchdog[] = {NV2080_CTRL_CMD_RC_DISABLE_WATCHDOG, NV2080_CTRL_CMD_SET_RC_RECOVERY};
constexpr RmControl kWatchdogBenign[] = {NV2080_CTRL_CMD_RC_GET_WATCHDOG_INFO, NV2080_CTRL_CMD_RC_RELEASE_WATCHDOG_REQUESTS,
                                         NV2080_CTRL_CMD_GET_RC_RECOVERY};
constexpr RmControl kConfidential[] = {NV_CONF_COMPUTE_CTRL_CMD_SYSTEM_SET_GPUS_STATE,
                                       NV_CONF_COMPUTE_CTRL_CMD_GPU_SET_VIDMEM_SIZE, NV_CONF_COMPUTE_CTRL_SET_SECURITY_POLICY,
                                       NV2080_CTRL_CMD_FIFO_ROTATE_KEYS, NV2080_CTRL_CMD_FB_SET_DRAM_ENCRYPTION_CONFIGURATION};
constexpr RmControl kMode[] = {NV2080_CTRL_CMD_GPU_SET_COMPUTE_MODE_RULES, NV2080_CTRL_CMD_GPU_SET_GPU_DEBUG_MODE};
constexpr RmControl kModeBenign[] = {NV2080_CTRL_CMD_GPU_QUERY_COMPUTE_MODE_RULES, NV2080_CTRL_CMD_GPU_GET_GPU_DEBUG_MODE};

void ConfidentialBenign(Actor& actor) {
  Rm rm(actor, actor.Open("nvidiactl"));
  const uint32_t confidential =
      rm.Alloc(NV_CONFIDENTIAL_COMPUTE, rm.client(), NV_CONFIDENTIAL_COMPUTE_ALLOC_PARAMS{.hClient = rm.client()});
  rm.Control(confidential, NV_CONF_COMPUTE_CTRL_CMD_SYSTEM_GET_CAPABILITIES);
  rm.Control(confidential, NV_CONF_COMPUTE_CTRL_CMD_SYSTEM_GET_GPUS_STATE);
  const uint32_t channel = rm.Alloc(AMPERE_CHANNEL_GPFIFO_A, rm.client(), NV_CHANNEL_ALLOC_PARAMS{.gpFifoEntries = 1024});
  rm.Control(channel, NVC56F_CTRL_CMD_GET_KMB);  // of its own
  rm.Control(channel, NV_CONF_COMPUTE_CTRL_GET_SECURITY_POLICY);
}

constexpr RmControl kRegisters[] = {NV2080_CTRL_CMD_GPU_EXEC_REG_OPS, NV2080_CTRL_CMD_NVLINK_PRM_ACCESS,
                                    NVB0CC_CTRL_CMD_EXEC_REG_OPS, NV83DE_CTRL_CMD_DEBUG_EXEC_REG_OPS};
void Registers(Actor& actor) {
  Controls<kRegisters>(actor);
  Rm rm(actor, actor.Open("nvidiactl"));
  rm.Alloc(NV01_MEMORY_LOCAL_PHYSICAL, rm.client());
  actor.Escaped(actor.Open("nvidia0"), NV_ESC_RM_I2C_ACCESS, NVOS_I2C_ACCESS_PARAMS{.hClient = rm.client()});
}
void RegistersBenign(Actor& actor) {
  Rm rm(actor, actor.Open("nvidiactl"));
  const uint32_t memory = rm.Alloc(NV01_MEMORY_LOCAL_USER, rm.client(), NV_MEMORY_ALLOCATION_PARAMS{.size = 2 << 20});
  rm.Control(memory, NV0041_CTRL_CMD_GET_SURFACE_INFO);
}

constexpr RmControl kInternal[] = {
    NV2080_CTRL_CMD_INTERNAL_CONTROL_GSP_TRACE, NVA06C_CTRL_CMD_INTERNAL_GPFIFO_SCHEDULE, NV2080_CTRL_CMD_GPU_EVICT_CTX,
    NV0041_CTRL_CMD_MAP_MEMORY_FOR_GPU_ACCESS,  NV208F_CTRL_CMD_FIFO_GET_CHANNEL_STATE,   NV0000_CTRL_CMD_NVD_GET_NVLOG_INFO};
constexpr RmControl kInternalBenign[] = {NVA06C_CTRL_CMD_GPFIFO_SCHEDULE, NVA06C_CTRL_CMD_SET_TIMESLICE,
                                         NV0041_CTRL_CMD_GET_SURFACE_INFO, NV2080_CTRL_CMD_GPU_GET_PIDS};
void Internal(Actor& actor) {
  Controls<kInternal>(actor);
  Rm rm(actor, actor.Open("nvidiactl"));
  rm.Alloc(NV20_SUBDEVICE_DIAG, rm.client());
  struct Diagnostic {
    uint32_t hClient, rest[9];
  };
  actor.Escaped(rm.fd(), NV_ESC_RM_LOCKLESS_DIAGNOSTIC, Diagnostic{.hClient = rm.client()});
}

void NeuronReset(Actor& actor) {
  const int neuron = actor.Open("neuron");
  for (const Command& command :
       {NEURON_IOCTL_DEVICE_RESET, NEURON_IOCTL_NC_RESET, NEURON_IOCTL_POD_CTRL, NEURON_IOCTL_POD_CTRL_V2}) {
    actor.Do(neuron, command);
  }
}
void NeuronResetBenign(Actor& actor) {
  const int neuron = actor.Open("neuron");
  for (const Command& command :
       {NEURON_IOCTL_DEVICE_READY, NEURON_IOCTL_NC_RESET_READY, NEURON_IOCTL_POD_INFO, NEURON_IOCTL_POD_STATUS}) {
    actor.Do(neuron, command);
  }
}
void NeuronRegisters(Actor& actor) {
  const int neuron = actor.Open("neuron");
  actor.Do(neuron, NEURON_IOCTL_BAR_READ);
  actor.Do(neuron, NEURON_IOCTL_BAR_WRITE);
}
void NeuronRegistersBenign(Actor& actor) {
  const int neuron = actor.Open("neuron");
  actor.Do(neuron, NEURON_IOCTL_POST_METRIC);
  actor.Do(neuron, NEURON_IOCTL_MEM_ALLOC);
}
void I915Registers(Actor& actor) { actor.Do(actor.Open("i915"), DRM_I915_REG_READ); }
void I915RegistersBenign(Actor& actor) { actor.Do(actor.Open("i915"), DRM_I915_GEM_CREATE_EXT); }
void AmdgpuRegisters(Actor& actor) {
  actor.Do(actor.Open("amdgpu"), DRM_AMDGPU_INFO, drm_amdgpu_info{.query = AMDGPU_INFO_READ_MMR_REG});
}
void AmdgpuRegistersBenign(Actor& actor) {
  const int amdgpu = actor.Open("amdgpu");
  actor.Do(amdgpu, DRM_AMDGPU_INFO,
           drm_amdgpu_info{.return_size = AMDGPU_INFO_READ_MMR_REG, .query = AMDGPU_INFO_VRAM_GTT, .rest = {}});
  actor.Do(amdgpu, DRM_AMDGPU_GEM_CREATE, drm_amdgpu_gem_create_in{.bo_size = 2 << 20, .domains = 4});
}

constexpr Scenario kScenarios[] = {
    {"mig", kSuspicious, "partitions of a GPU are made and removed", {.reconfigure = 4}, "", Controls<kMig>},
    {"mig-benign", kBenign, "which there are", {}, "", Controls<kMigBenign>},
    {"reset", kSuspicious, "a GPU is reset, drained, shut down", {.reconfigure = 5}, "", Controls<kReset>},
    {"reset-benign", kBenign, "whether it is to be", {}, "", Controls<kResetBenign>},
    {"ecc", kSuspicious, "error correction is switched off, its counters are cleared", {.reconfigure = 2}, "", Controls<kEcc>},
    {"ecc-benign", kBenign, "what they say", {}, "", Controls<kEccBenign>},
    {"error-injection", kSuspicious, "faults are put into memory and links", {.reconfigure = 5}, "", Controls<kErrors>},
    {"error-injection-benign", kBenign, "whether that can be done", {}, "", Controls<kErrorsBenign>},
    {"clocks",
     kSuspicious,
     "clocks, power limits and voltage are set, by controls that the firmware alone knows too",
     {.reconfigure = 6},
     "",
     Controls<kClocks>},
    {"clocks-benign", kBenign, "the same are read", {}, "", Controls<kClocksBenign>},
    {"accounting",
     kSuspicious,
     "the accounting of processes is switched off and cleared",
     {.reconfigure = 2},
     "",
     Controls<kAccounting>},
    {"accounting-benign", kBenign, "the same is read", {}, "", Controls<kAccountingBenign>},
    {"watchdog",
     kSuspicious,
     "the watchdog and the recovery from faults are switched off",
     {.reconfigure = 2},
     "",
     Controls<kWatchdog>},
    {"watchdog-benign", kBenign, "their state, and its own request to them is given back", {}, "", Controls<kWatchdogBenign>},
    {"confidential",
     kSuspicious,
     "confidential computing is set up otherwise, keys are rotated",
     {.reconfigure = 5},
     "",
     Controls<kConfidential>},
    {"confidential-benign", kBenign, "a CUDA program in it: its state, the keys of its own channel", {}, "", ConfidentialBenign},
    {"mode", kSuspicious, "the compute mode and the debug mode are set", {.reconfigure = 2}, "", Controls<kMode>},
    {"mode-benign", kBenign, "they are read", {}, "", Controls<kModeBenign>},
    {"registers", kSuspicious, "registers, links' registers, physical memory and I2C", {.raw_access = 6}, "", Registers},
    {"registers-benign", kBenign, "what its own memory is", {}, "", RegistersBenign},
    {"internal", kSuspicious, "controls that the driver keeps for itself, and field diagnostics", {.internal = 8}, "", Internal},
    {"internal-benign", kBenign, "controls of the same interfaces that anybody makes", {}, "", Controls<kInternalBenign>},
    {"neuron-reset",
     kSuspicious,
     "a Neuron device is reset, its pod set up otherwise",
     {.reconfigure = 4},
     "neuron",
     NeuronReset},
    {"neuron-reset-benign", kBenign, "their state", {}, "neuron", NeuronResetBenign},
    {"neuron-registers", kSuspicious, "a Neuron device's registers", {.raw_access = 2}, "neuron", NeuronRegisters},
    {"neuron-registers-benign", kBenign, "its memory and its metrics", {}, "neuron", NeuronRegistersBenign},
    {"i915-registers", kSuspicious, "Intel's registers", {.raw_access = 1}, "i915", I915Registers},
    {"i915-registers-benign", kBenign, "its memory", {}, "i915", I915RegistersBenign},
    {"amdgpu-registers", kSuspicious, "AMD's registers", {.raw_access = 1}, "amdgpu", AmdgpuRegisters},
    {"amdgpu-registers-benign", kBenign, "other information by the same call", {}, "amdgpu", AmdgpuRegistersBenign},
};

}  // namespace

std::span<const Scenario> SettingScenarios() { return kScenarios; }

}  // namespace moat::gpu
