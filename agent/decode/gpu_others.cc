// SPDX-License-Identifier: Apache-2.0
// AMD's KFD, DRM and accel drivers, AWS Neuron, gdrdrv, nvidia-fs. Their structures only grew at the end, so that versions do not matter.
#include "agent/decode/gpu_call.h"

namespace moat::decode {
namespace {

using event::GpuCompleteness;
using event::GpuLocation;

struct Meaning {
  std::string_view name;
  const char* verb;
  const char* object;
  const char* bytes;  // the field that says how much; null: none
};
constexpr Meaning kMeanings[] = {
    {"AMDKFD_IOC_ALLOC_MEMORY_OF_GPU", "ALLOC", "memory", "size"},
    {"AMDKFD_IOC_FREE_MEMORY_OF_GPU", "FREE", "memory", nullptr},
    {"AMDKFD_IOC_MAP_MEMORY_TO_GPU", "MAP", "memory", nullptr},
    {"AMDKFD_IOC_UNMAP_MEMORY_FROM_GPU", "UNMAP", "memory", nullptr},
    {"AMDKFD_IOC_CREATE_QUEUE", "ALLOC", "queue", nullptr},
    {"AMDKFD_IOC_DESTROY_QUEUE", "FREE", "queue", nullptr},
    {"AMDKFD_IOC_DBG_TRAP", "DEBUG", "process", nullptr},
    {"AMDKFD_IOC_DBG_TRAP_DEPRECATED", "DEBUG", "process", nullptr},
    {"AMDKFD_IOC_CRIU_OP", "CHECKPOINT", "process", nullptr},
    {"AMDKFD_IOC_CROSS_MEMORY_COPY_DEPRECATED", "COPY", "memory", nullptr},
    {"AMDKFD_IOC_EXPORT_DMABUF", "EXPORT", "memory.dma-buf", nullptr},
    {"AMDKFD_IOC_IMPORT_DMABUF", "IMPORT", "memory.dma-buf", nullptr},
    {"AMDKFD_IOC_IPC_EXPORT_HANDLE", "EXPORT", "memory", nullptr},
    {"AMDKFD_IOC_IPC_IMPORT_HANDLE", "IMPORT", "memory", nullptr},
    {"AMDKFD_IOC_RLC_SPM", "PROFILE", "counters", nullptr},
    {"AMDKFD_IOC_PC_SAMPLE", "PROFILE", "samples", nullptr},
    {"DRM_IOCTL_PRIME_HANDLE_TO_FD", "EXPORT", "memory.dma-buf", nullptr},
    {"DRM_IOCTL_PRIME_FD_TO_HANDLE", "IMPORT", "memory.dma-buf", nullptr},
    {"DRM_IOCTL_GEM_CLOSE", "FREE", "memory", nullptr},
    {"DRM_AMDGPU_GEM_CREATE", "ALLOC", "memory", "bo_size"},
    {"DRM_AMDGPU_GEM_USERPTR", "ALLOC", "memory.user", "size"},
    {"DRM_AMDGPU_GEM_VA", "MAP", "memory", "map_size"},
    {"DRM_AMDGPU_CS", "SUBMIT", "commands", nullptr},
    {"DRM_XE_EXEC", "SUBMIT", "commands", nullptr},
    {"DRM_XE_OBSERVATION", "PROFILE", "counters", nullptr},
    {"DRM_I915_PERF_OPEN", "PROFILE", "counters", nullptr},
    {"NEURON_IOCTL_MEM_ALLOC", "ALLOC", "memory", "size"},
    {"NEURON_IOCTL_MEM_ALLOC_V2", "ALLOC", "memory", "size"},
    {"NEURON_IOCTL_MEM_ALLOC_V2MT", "ALLOC", "memory", "size"},
    {"NEURON_IOCTL_MEM_ALLOC_V2MT64", "ALLOC", "memory", "size"},
    {"NEURON_IOCTL_MEM_FREE", "FREE", "memory", nullptr},
    {"NEURON_IOCTL_DMABUF_FD", "EXPORT", "memory.dma-buf", "size"},
    {"NEURON_IOCTL_DEVICE_RESET", "RESET", "device", nullptr},
    {"NEURON_IOCTL_NC_RESET", "RESET", "device", nullptr},
    {"GDRDRV_IOC_PIN_BUFFER", "MAP", "memory", "size"},
    {"GDRDRV_IOC_PIN_BUFFER_V2", "MAP", "memory", "size"},
    {"NVFS_IOCTL_READ", "READ", "file", nullptr},
    {"NVFS_IOCTL_WRITE", "WRITE", "file", nullptr},
};

void Take(std::string_view name, const GpuBytes& bytes, event::GpuCall& call) {
  call.name = name.data();
  call.verb = "CALL";
  call.completeness = GpuCompleteness::kFull;
  for (const Meaning& meaning : kMeanings) {
    if (meaning.name == name) {
      call.verb = meaning.verb;
      call.object = meaning.object;
      if (meaning.bytes != nullptr) {
        call.bytes = GpuFields(call, bytes.params, name).Get(meaning.bytes);
      }
    }
  }
}

}  // namespace

void DecodeKfd(const GpuBytes& bytes, event::GpuCall& call) {
  const tables::KfdCall* known = tables::FindKfd(call.number);
  if (known == nullptr) {
    return;
  }
  Take(known->name, bytes, call);
  if (call.number == 0x16 || call.number == 0x17) {
    const uint64_t handle = GpuFields(call, bytes.params, known->name).Get("handle");
    call.client = static_cast<uint32_t>(handle >> 32);
    call.handle = static_cast<uint32_t>(handle);
  }
  if (call.number == 0x16) {  // flags: VRAM 1, GTT 2, USERPTR 4
    const uint64_t flags = GpuFields(call, bytes.params, known->name).Get("flags");
    call.device = static_cast<int64_t>(GpuFields(call, bytes.params, known->name).Get("gpu_id"));
    call.location = (flags & 4) != 0   ? GpuLocation::kUser
                    : (flags & 1) != 0 ? GpuLocation::kDevice
                    : (flags & 2) != 0 ? GpuLocation::kSystem
                                       : GpuLocation::kNone;
  }
}

void DecodeDrm(const GpuBytes& bytes, event::GpuCall& call) {
  const std::string_view driver = call.driver < std::size(tables::kDrmDrivers) ? tables::kDrmDrivers[call.driver] : "";
  if (const tables::DriverCall* known = tables::FindDrm(driver, call.number)) {
    Take(known->name, bytes, call);
    if (known->name == "DRM_AMDGPU_GEM_CREATE") {  // domains: CPU 1, GTT 2, VRAM 4
      const uint64_t domains = GpuFields(call, bytes.params, known->name).At(16, 8);
      call.location = (domains & 4) != 0 ? GpuLocation::kDevice : GpuLocation::kSystem;
    } else if (known->name == "DRM_AMDGPU_GEM_USERPTR") {
      call.location = GpuLocation::kUser;
    }
  }
}

void DecodeOther(const GpuBytes& bytes, event::GpuCall& call) {
  const std::string_view driver = call.device_class == event::GpuClass::kNeuron     ? "neuron"
                                  : call.device_class == event::GpuClass::kGdrdrv   ? "gdrdrv"
                                  : call.device_class == event::GpuClass::kNvidiaFs ? "nvidia-fs"
                                                                                    : "";
  if (const tables::DriverCall* known = tables::FindOther(driver, call.number, call.size)) {
    Take(known->name, bytes, call);
    if (driver == "neuron" && std::string_view(call.verb) == "ALLOC") {
      call.location = GpuLocation::kDevice;
    }
  }
}

}  // namespace moat::decode
