// SPDX-License-Identifier: Apache-2.0
// What of a domain stands on functions of drivers, which are modules: they come, go, and come again.
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "agent/probe/devices.h"
#include "agent/probe/domain.h"
#include "agent/probe/log.h"

namespace moat::probe {

void Domain::AttachToDriver(Hook& hook, uint32_t drivers) {
  for (bpf_link* link : hook.links) {
    bpf_link__destroy(link);  // what it stood on may be gone, and another driver at its place
  }
  hook.links.clear();
  const bool returns = std::string_view(bpf_program__section_name(hook.program)).starts_with("kretprobe");
  std::string without;
  if ((drivers >> hook.candidate->driver & 1) == 0) {
    hook.why = std::string("no driver of ") + ClassName(hook.candidate->driver) + " devices is loaded";
  } else {
    for (const std::string& point : hook.points) {
      LogCapture log;
      if (bpf_link* link = bpf_program__attach_kprobe(hook.program, returns, point.c_str())) {
        hook.links.push_back(link);
      } else {
        without +=
            (without.empty() ? "" : ", ") + point + (errno == ENOENT ? "" : std::string(" (") + std::strerror(errno) + ")");
      }
    }
    hook.why = without.empty() ? "kprobe programs run here" : "the driver lacks " + without;
  }
  hook.attached = !hook.links.empty();
  hook.lacking = !hook.attached;
  hook.proof = hook.attached ? "not yet seen to run" : "";
}

bool Domain::AttachToDrivers(uint32_t drivers) {
  const std::lock_guard lock(late_);
  bool any = false;
  for (Hook& hook : hooks_) {
    if (loaded_ && hook.program != nullptr && hook.candidate->driver != 0) {
      AttachToDriver(hook, drivers);
      any = true;
    }
  }
  return any;
}

}  // namespace moat::probe
