// SPDX-License-Identifier: Apache-2.0
// Words that detectors have in common.
#pragma once

#include <string>
#include <string_view>

#include "agent/detect/detector.h"

namespace moat::detect {

// For sentences, in which nothing that anyone chose may break a line or colour a terminal.
std::string Who(const Scene& scene, const event::Header& header);  // "/usr/bin/python3[4711] in pod prod/vllm-0 (vllm)"
std::string Program(const event::Header& header);  // "/usr/bin/python3", else the thread's name
std::string Whose(const Scene& scene, const event::Header& header);  // "pod prod/vllm-0 (vllm)", "unit ssh.service", "cgroup /x"
// Whose work it is by the service that systemd runs, as root and outside containers and jobs; not what people run who log in by one.
bool IsSystemService(const Scene& scene, const event::Process& process);
// Of a container or pod, where programs and their names are what its image says.
bool IsInContainer(const Scene& scene, const event::Process& process);
std::string AssetName(const Scene& scene, uint32_t asset);  // "llama-70b"; "asset 7" when nobody knows it any more
std::string AssetClass(const Scene& scene, uint32_t asset);  // "weights"
std::string FileName(const Scene& scene, uint32_t dev, uint64_t inode, std::string_view name);  // its path where that is known
std::string DeviceName(const Scene& scene, uint32_t rdev);  // "/dev/nvidia0", "195:0"
std::string Bytes(uint64_t bytes);  // "1.2 GiB"

}  // namespace moat::detect
