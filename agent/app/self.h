// SPDX-License-Identifier: Apache-2.0
// What the agent knows of its own process and host.
#pragma once

#include <cstdint>
#include <string>

namespace moat::app {

std::string HostName();    // MOAT_HOSTNAME where it is set: in a pod the kernel tells the pod's
std::string KernelRelease();
uint32_t HostPid();        // as events have it; 0: it is not known, this process is in a pid namespace of its own
uint64_t CpuNs();          // user and system time of all threads
uint64_t RssBytes();       // 0: /proc is not readable
uint64_t SinceStartNs();   // since this process began, before main(); to 10 ms, as /proc tells it

}  // namespace moat::app
