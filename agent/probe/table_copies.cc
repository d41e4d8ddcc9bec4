// SPDX-License-Identifier: Apache-2.0
// The rows of functions of drivers, which hold their own copies of parameters.
#include <utility>

#include "agent/probe/table.h"

namespace moat::probe {
namespace {

constexpr Unseen kChanged = {
    "changed",
    "parameters that the caller changes after the driver has read them: what lies there when the call returns is told"};

// The driver's own copy of parameters, when it begins with them and when it is done (bpf/gpu/copy.bpf.c).
Row CopyRow(const char* event, const char* program, std::vector<std::string_view> functions, uint32_t driver,
            std::vector<std::string_view> callers = {}) {
  return {event,
          "gpu",
          {{.backend = Backend::kKprobe,
            .program = program,
            .attach = std::move(functions),
            .driver = driver,
            .callers = std::move(callers)}},
          {kChanged}};
}
// kernel-open/nvidia/nv.c: the first is part of the second where the compiler made it so.
const std::vector<std::string_view> kRmCallers = {"nvidia_ioctl", "nvidia_unlocked_ioctl"};
const std::vector<std::string_view> kUvmFunctions = {"uvm_api_initialize",
                                                     "uvm_api_free",
                                                     "uvm_api_map_external_allocation",
                                                     "uvm_api_create_external_range",
                                                     "uvm_api_tools_init_event_tracker",
                                                     "uvm_api_tools_init_event_tracker_v2",
                                                     "uvm_api_tools_read_process_memory",
                                                     "uvm_api_tools_write_process_memory"};
const std::vector<std::string_view> kKfdFunctions = {
    "kfd_ioctl_alloc_memory_of_gpu", "kfd_ioctl_free_memory_of_gpu", "kfd_ioctl_set_debug_trap",    "kfd_ioctl_criu",
    "kfd_ioctl_export_dmabuf",       "kfd_ioctl_import_dmabuf",      "kfd_ioctl_cross_memory_copy", "kfd_ioctl_ipc_export_handle",
    "kfd_ioctl_ipc_import_handle"};

}  // namespace

std::vector<Row> CopyRows() {
  return {
      {"gpu.text", "gpu", {{Backend::kIter, "moat_gpu_text"}}, {kChanged}},
      CopyRow("gpu.rm", "moat_gpu_rm", {"rm_ioctl"}, MOAT_GPU_NVIDIA, kRmCallers),
      CopyRow("gpu.rm_ended", "moat_gpu_rm_ended", {"rm_ioctl"}, MOAT_GPU_NVIDIA, kRmCallers),
      CopyRow("gpu.rm_copies", "moat_gpu_rm_copies", {"os_memcpy_from_user"}, MOAT_GPU_NVIDIA),
      CopyRow("gpu.rm_copied", "moat_gpu_rm_copied", {"os_memcpy_from_user"}, MOAT_GPU_NVIDIA),
      CopyRow("gpu.uvm", "moat_gpu_uvm", kUvmFunctions, MOAT_GPU_NVIDIA_UVM),
      CopyRow("gpu.uvm_ended", "moat_gpu_uvm_ended", kUvmFunctions, MOAT_GPU_NVIDIA_UVM),
      CopyRow("gpu.kfd", "moat_gpu_kfd", kKfdFunctions, MOAT_GPU_KFD),
      CopyRow("gpu.kfd_ended", "moat_gpu_kfd_ended", kKfdFunctions, MOAT_GPU_KFD),
      CopyRow("gpu.drm", "moat_gpu_drm", {"drm_ioctl_kernel"}, MOAT_GPU_DRM),
      CopyRow("gpu.drm_ended", "moat_gpu_drm_ended", {"drm_ioctl_kernel"}, MOAT_GPU_DRM),
  };
}

}  // namespace moat::probe
