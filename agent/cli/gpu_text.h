// SPDX-License-Identifier: Apache-2.0
// Calls of accelerators' drivers, for people and as JSON.
#pragma once

#include <string>

#include "agent/cli/json.h"
#include "moat/v1/event.pb.h"

namespace moat::cli {

// "/dev/nvidia0" as Safe() has it, or "nvidia 195:0" when its path is not known.
std::string GpuDeviceWord(const std::string& device, const std::string& device_class, uint32_t rdev);
// "/dev/nvidia0 ALLOC memory.local 40.0 GiB ok"
std::string GpuCallText(const v1::GpuCall& call);
// "/dev/nvidia-caps/nvidia-cap1 (mig/config) for read [reconfigure]"
std::string GpuOpenText(const v1::GpuOpen& open, const std::string& mode);
// "pci 0000:81:00.0 MAP resource1 16.0 MiB [raw-access]"
std::string GpuMapText(const v1::GpuMap& map);
// Their fields, into an object that is open.
void JsonGpuMap(Json& json, const v1::GpuMap& map);
void JsonGpuCall(Json& json, const v1::GpuCall& call);

}  // namespace moat::cli
