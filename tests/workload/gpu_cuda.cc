// SPDX-License-Identifier: Apache-2.0
// A CUDA program from cuInit to its exit, as far as its calls go: kernels and copies are none. And a ROCm program, shorter.
#include <sys/mman.h>

#include <algorithm>
#include <iterator>

#include "tests/workload/gpu_actor.h"

namespace moat::gpu {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kVa = 0x7f0000000000;  // where ranges are laid; nothing is mapped there

// A file of its own is named, and mmap follows on that: what the driver has put there, or nothing where there is none.
void Map(Actor& actor, const Rm& rm, uint32_t device, uint32_t memory, uint64_t length) {
  const int fd = actor.Open("nvidia0");
  actor.Escaped(fd, NV_ESC_REGISTER_FD, nv_ioctl_register_fd_t{.ctl_fd = rm.fd()});
  actor.Escaped(rm.fd(), NV_ESC_RM_MAP_MEMORY,
                nv_ioctl_nvos33_parameters_with_fd{
                    .params = {.hClient = rm.client(), .hDevice = device, .hMemory = memory, .length = length}, .fd = fd});
  (void)mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

void MapExternal(Actor& actor, const Rm& rm, int uvm, uint32_t memory, uint64_t base, uint64_t length) {
  actor.Uvm(uvm, UVM_CREATE_EXTERNAL_RANGE{.base = base, .length = length});
  actor.Uvm(uvm, UVM_MAP_EXTERNAL_ALLOCATION_PARAMS{
                     .base = base, .length = length, .rmCtrlFd = rm.fd(), .hClient = rm.client(), .hMemory = memory});
}

struct Context {
  uint32_t device = 0, subdevice = 0, space = 0, channel = 0;
};

Rm Initialize(Actor& actor, Context& context) {
  const int ctl = actor.Open("nvidiactl");
  nv_ioctl_rm_api_version_t version{};
  std::copy(std::begin(kDriverVersion), std::end(kDriverVersion), version.versionString);
  actor.Escaped(ctl, NV_ESC_CHECK_VERSION_STR, version);
  actor.Escaped(ctl, NV_ESC_SYS_PARAMS, nv_ioctl_sys_params_t{});
  struct Cards {
    nv_ioctl_card_info_t card[32];
  };
  actor.Escaped(ctl, NV_ESC_CARD_INFO, Cards{});
  Rm rm(actor, ctl);
  for (const RmControl& control :
       {NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION, NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION_V2,
        NV0000_CTRL_CMD_GPU_GET_ATTACHED_IDS, NV0000_CTRL_CMD_GPU_GET_PROBED_IDS, NV0000_CTRL_CMD_GPU_GET_ID_INFO,
        NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2, NV0000_CTRL_CMD_GPU_ATTACH_IDS}) {
    rm.Control(rm.client(), control);
  }
  const int gpu = actor.Open("nvidia0");
  actor.Escaped(gpu, NV_ESC_REGISTER_FD, nv_ioctl_register_fd_t{.ctl_fd = ctl});
  actor.Escaped(gpu, NV_ESC_WAIT_OPEN_COMPLETE, nv_ioctl_wait_open_complete_t{});
  context.device = rm.Alloc(NV01_DEVICE_0, rm.client(), NV0080_ALLOC_PARAMETERS{});
  context.subdevice = rm.Alloc(NV20_SUBDEVICE_0, context.device, NV2080_ALLOC_PARAMETERS{});
  rm.Control(context.device, NV0080_CTRL_CMD_GPU_GET_CLASSLIST);
  for (const RmControl& control :
       {NV2080_CTRL_CMD_GPU_GET_NAME_STRING, NV2080_CTRL_CMD_GPU_GET_GID_INFO, NV2080_CTRL_CMD_GPU_QUERY_COMPUTE_MODE_RULES,
        NV2080_CTRL_CMD_FB_GET_INFO_V2, NV2080_CTRL_CMD_GR_GET_INFO, NV2080_CTRL_CMD_GR_GET_GLOBAL_SM_ORDER}) {
    rm.Control(context.subdevice, control);
  }
  rm.Alloc(NV01_MEMORY_VIRTUAL, context.device, NV_MEMORY_VIRTUAL_ALLOCATION_PARAMS{.limit = 0x1ffffffffffff});
  const uint32_t doorbell = rm.Alloc(AMPERE_USERMODE_A, context.subdevice);
  Map(actor, rm, context.device, doorbell, 64 << 10);
  context.space = rm.Alloc(FERMI_VASPACE_A, context.device, NV_VASPACE_ALLOCATION_PARAMETERS{.flags = 0x48});
  return rm;
}

void MakeChannel(Actor& actor, Rm& rm, int uvm, Context& context) {
  const uint32_t group = rm.Alloc(KEPLER_CHANNEL_GROUP_A, context.device,
                                  NV_CHANNEL_GROUP_ALLOCATION_PARAMETERS{.hVASpace = context.space, .engineType = 1});
  const uint32_t share =
      rm.Alloc(FERMI_CONTEXT_SHARE_A, group, NV_CTXSHARE_ALLOCATION_PARAMETERS{.hVASpace = context.space, .flags = 1});
  context.channel =
      rm.Alloc(AMPERE_CHANNEL_GPFIFO_A, group, NV_CHANNEL_ALLOC_PARAMS{.gpFifoEntries = 1024, .hContextShare = share});
  const uint32_t compute = rm.Alloc(AMPERE_COMPUTE_B, context.channel, NV_GR_ALLOCATION_PARAMETERS{.version = 1, .size = 16});
  rm.Alloc(AMPERE_DMA_COPY_B, context.channel, NVB0B5_ALLOCATION_PARAMETERS{.version = 1, .engineType = 10});
  // On itself, to learn of its own faults.
  const uint32_t debugger =
      rm.Alloc(GT200_DEBUGGER, context.device, NV83DE_ALLOC_PARAMETERS{.hAppClient = rm.client(), .hClass3dObject = compute});
  for (const RmControl& control : {NV83DE_CTRL_CMD_DEBUG_SET_MODE_MMU_DEBUG, NV83DE_CTRL_CMD_DEBUG_SET_EXCEPTION_MASK,
                                   NV83DE_CTRL_CMD_DEBUG_READ_ALL_SM_ERROR_STATES, NV83DE_CTRL_CMD_DEBUG_SUSPEND_CONTEXT,
                                   NV83DE_CTRL_CMD_DEBUG_RESUME_CONTEXT}) {
    rm.Control(debugger, control);
  }
  actor.Escaped(rm.fd(), NV_ESC_ALLOC_OS_EVENT, nv_ioctl_alloc_os_event_t{.hClient = rm.client(), .hDevice = context.device});
  rm.Alloc(NV01_EVENT_OS_EVENT, context.channel, NV0005_ALLOC_PARAMETERS{.hParentClient = rm.client(), .hClass = 0x79});
  actor.Uvm(uvm, UVM_REGISTER_CHANNEL{
                     .rmCtrlFd = rm.fd(), .hClient = rm.client(), .hChannel = context.channel, .base = kVa, .length = 32 * kMiB});
  rm.Control(group, NVA06C_CTRL_CMD_GPFIFO_SCHEDULE, NVA06C_CTRL_GPFIFO_SCHEDULE_PARAMS_515{.bEnable = 1});
  rm.Control(context.channel, NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN);
}

uint32_t AllocDevice(Actor& actor, Rm& rm, int uvm, const Context& context, uint64_t base, uint64_t size) {
  const uint32_t memory = rm.Alloc(NV01_MEMORY_LOCAL_USER, context.device, NV_MEMORY_ALLOCATION_PARAMS{.size = size});
  MapExternal(actor, rm, uvm, memory, base, size);
  return memory;
}

void Cuda(Actor& actor) {
  Context context;
  Rm rm = Initialize(actor, context);
  const int uvm = actor.Open("nvidia-uvm"), uvm_mm = actor.Open("nvidia-uvm");
  actor.Uvm(uvm, UVM_INITIALIZE{});
  actor.Uvm(uvm_mm, UVM_MM_INITIALIZE{.uvmFd = uvm});
  actor.Uvm(uvm, UVM_REGISTER_GPU{.rmCtrlFd = rm.fd(), .hClient = rm.client()});
  actor.Uvm(uvm, UVM_REGISTER_GPU_VASPACE{.rmCtrlFd = rm.fd(), .hClient = rm.client(), .hVaSpace = context.space});
  MakeChannel(actor, rm, uvm, context);

  // cuMemAlloc, three times
  const uint64_t sizes[] = {2 * kMiB, 64 * kMiB, 1024 * kMiB};
  uint32_t device[3];
  for (size_t i = 0; i < std::size(sizes); ++i) {
    device[i] = AllocDevice(actor, rm, uvm, context, kVa + (i + 1) * 4096 * kMiB, sizes[i]);
  }
  // cuMemAllocHost
  const uint32_t host = rm.Alloc(NV01_MEMORY_SYSTEM, context.device, NV_MEMORY_ALLOCATION_PARAMS{.size = 32 * kMiB});
  Map(actor, rm, context.device, host, 32 * kMiB);
  MapExternal(actor, rm, uvm, host, kVa + 16384 * kMiB, 32 * kMiB);
  // cuMemHostRegister
  const int gpu = actor.Open("nvidia0");
  actor.Escaped(gpu, {NV01_MEMORY_SYSTEM_OS_DESCRIPTOR.name, NV_ESC_RM_ALLOC_MEMORY.number},
                nv_ioctl_nvos02_parameters_with_fd{.params = {.hRoot = rm.client(),
                                                              .hObjectParent = context.device,
                                                              .hObjectNew = actor.NewHandle(),
                                                              .hClass = NV01_MEMORY_SYSTEM_OS_DESCRIPTOR.id,
                                                              .pMemory = kVa,
                                                              .limit = 8 * kMiB - 1},
                                                   .fd = -1});
  // cuMemAllocManaged is an mmap of the UVM file; cuMemAdvise and cuMemPrefetchAsync there and back
  (void)mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, uvm, 0);
  const uint64_t managed = kVa + 32768 * kMiB;
  actor.Uvm(uvm, UVM_SET_PREFERRED_LOCATION_PARAMS{.requestedBase = managed, .length = 16 * kMiB});
  actor.Uvm(uvm, UVM_SET_ACCESSED_BY{.requestedBase = managed, .length = 16 * kMiB});
  actor.Uvm(uvm, UVM_MIGRATE{.base = managed, .length = 16 * kMiB});
  actor.Uvm(uvm, UVM_MIGRATE{.base = managed, .length = 16 * kMiB});
  // cuMemFree of two; the rest goes with the files
  for (size_t i = 0; i < 2; ++i) {
    actor.Uvm(uvm, UVM_FREE_PARAMS{.base = kVa + (i + 1) * 4096 * kMiB, .length = sizes[i]});
    rm.Free(context.device, device[i]);
  }
}

void Rocm(Actor& actor) {
  const int kfd = actor.Open("kfd");
  actor.Do(kfd, AMDKFD_IOC_GET_VERSION);
  actor.Do(kfd, AMDKFD_IOC_ACQUIRE_VM);
  actor.Do(kfd, AMDKFD_IOC_RUNTIME_ENABLE);
  actor.Do(kfd, AMDKFD_IOC_CREATE_QUEUE);
  for (uint64_t i = 1; i <= 3; ++i) {
    actor.Do(kfd, AMDKFD_IOC_ALLOC_MEMORY_OF_GPU, kfd_alloc_memory_of_gpu{.size = i * kMiB, .handle = i, .flags = 1});
    actor.Do(kfd, AMDKFD_IOC_MAP_MEMORY_TO_GPU, kfd_map_memory_to_gpu{.handle = i, .n_devices = 1});
  }
  struct Svm {
    kfd_svm head;
    kfd_svm_attribute attrs[2];
  };
  actor.Do(kfd, {AMDKFD_IOC_SVM.name, _IOWR('K', 0x20, Svm)}, Svm{.head = {.start_addr = kVa, .size = kMiB, .nattr = 2}});
  actor.Do(kfd, AMDKFD_IOC_GET_DMABUF_INFO);
  actor.Do(kfd, AMDKFD_IOC_FREE_MEMORY_OF_GPU, kfd_free_memory_of_gpu{.handle = 1});
}

constexpr Scenario kScenarios[] = {
    {"cuda", kBenign, "cuInit, a context, device, host and managed memory, free, exit", {}, "", Cuda},
    {"rocm", kBenign, "a ROCm program's start, memory, shared virtual memory", {}, "kfd", Rocm},
};

}  // namespace

std::span<const Scenario> CudaScenarios() { return kScenarios; }

}  // namespace moat::gpu
