// SPDX-License-Identifier: Apache-2.0
// What of a domain stands on functions of drivers, which are modules: they come, go, and come again.
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/probe/devices.h"
#include "agent/probe/domain.h"
#include "agent/probe/log.h"

namespace moat::probe {

void Domain::AttachToDriver(Hook& hook, uint32_t drivers, bool afresh) {
  const bool loaded = (drivers >> hook.candidate->driver & 1) != 0;
  if (afresh || !loaded) {
    for (bpf_link* link : hook.links) {
      bpf_link__destroy(link);
    }
    hook.links.clear();
    hook.missing = hook.points;
  }
  const bool returns = std::string_view(bpf_program__section_name(hook.program)).starts_with("kretprobe");
  std::vector<std::string> missing;
  std::string without;
  for (const std::string& point : hook.missing) {
    LogCapture log;
    bpf_link* link = loaded ? bpf_program__attach_kprobe(hook.program, returns, point.c_str()) : nullptr;
    if (link != nullptr) {
      hook.links.push_back(link);
    } else {
      missing.push_back(point);
      refused_for_now_ |= loaded && errno != ENOENT;
      without += (without.empty() ? "" : ", ") + point + (errno == ENOENT ? "" : std::string(" (") + std::strerror(errno) + ")");
    }
  }
  hook.missing = std::move(missing);
  hook.attached = !hook.links.empty();
  hook.lacking = !hook.attached;
  hook.proof = hook.attached ? "not yet seen to run" : "";
  hook.why = !loaded           ? std::string("no driver of ") + ClassName(hook.candidate->driver) + " devices is loaded"
             : without.empty() ? "kprobe programs run here"
                               : "the driver lacks " + without;
}

bool Domain::AttachToDrivers(uint32_t drivers, bool afresh) {
  const std::lock_guard lock(late_);
  bool any = false;
  refused_for_now_ = false;
  for (Hook& hook : hooks_) {
    if (loaded_ && hook.program != nullptr && hook.candidate->driver != 0) {
      AttachToDriver(hook, drivers, afresh);
      any = true;
    }
  }
  return any;
}

}  // namespace moat::probe
