// SPDX-License-Identifier: Apache-2.0
// Devices of which opening is the whole story: NVIDIA's capabilities, and the groups and devices of vfio that hold an accelerator.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bpf/abi/gpu.h"

namespace moat::probe {

struct Opening {
  uint32_t rdev = 0;
  moat_gpu_class class_id = MOAT_GPU_NONE;
  uint32_t categories = 0;  // bits; 0: none, which is known
  std::string object;  // "mig/config"; of vfio the addresses of the accelerators: "0000:81:00.0"
  std::string path;  // the usual name of its node, whether or not it is there
  bool operator==(const Opening&) const = default;
};

// By device number. From the files below root ("": the host's own); what cannot be read is not there, as where there is no such driver.
// caps_major: of nvidia-caps, 0: none. Any thread.
std::vector<Opening> FindOpenings(const std::string& root, uint32_t caps_major);

}  // namespace moat::probe
