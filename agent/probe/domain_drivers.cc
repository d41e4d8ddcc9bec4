// SPDX-License-Identifier: Apache-2.0
// What of a domain stands on functions of drivers, which are modules: they come, go, and come again.
#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/probe/devices.h"
#include "agent/probe/domain.h"
#include "agent/probe/log.h"

namespace moat::probe {
namespace {

bpf_link* AttachAt(bpf_program* program, const std::string& function, uint64_t offset, bool returns) {
  LIBBPF_OPTS(bpf_kprobe_opts, options);
  options.offset = offset;
  options.retprobe = returns;
  return bpf_program__attach_kprobe_opts(program, function.c_str(), &options);
}

std::string Hex(uint64_t number) {
  std::array<char, 16> digits{};
  return "0x" + std::string(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), number, 16).ptr);
}

}  // namespace

// In place of a function that the kernel refuses to probe, where it is called, and where it returns to. All of them or none.
Status Domain::AttachToCalls(Hook& hook, const std::string& function, bool returns) {
  std::vector<CallSite>& sites = calls_of_[function];  // kept: what is attached there lies in the machine code
  if (sites.empty()) {
    std::ifstream symbols("/proc/kallsyms");
    MOAT_ASSIGN(sites, FindCalls(symbols, function, hook.candidate->callers,
                                 TextReader(Program("moat_gpu_text"), MapFd("moat_gpu_text_map"))));
  }
  std::vector<bpf_link*> links;
  for (const CallSite& site : sites) {
    const uint64_t offset = returns ? site.after : site.call;
    LogCapture log;
    bpf_link* link = AttachAt(hook.program, site.function, offset, false);
    if (link == nullptr) {
      const int err = errno;
      std::ranges::for_each(links, bpf_link__destroy);
      return FailErrno(err, "its call at " + site.function + "+" + Hex(offset));
    }
    links.push_back(link);
    hook.by += (hook.by.empty() ? "" : ", ") + function + " where it is called, " + site.function + "+" + Hex(offset);
  }
  hook.links.insert(hook.links.end(), links.begin(), links.end());
  return {};
}

void Domain::AttachToDriver(Hook& hook, uint32_t drivers, bool afresh) {
  const bool loaded = (drivers >> hook.candidate->driver & 1) != 0;
  if (afresh || !loaded) {
    std::ranges::for_each(hook.links, bpf_link__destroy);
    hook.links.clear();
    hook.by.clear();
    hook.missing = hook.points;
  }
  const bool returns = std::string_view(bpf_program__section_name(hook.program)).starts_with("kretprobe");
  std::vector<std::string> missing;
  std::string without;
  for (const std::string& point : hook.missing) {
    LogCapture log;
    bpf_link* link = loaded ? AttachAt(hook.program, point, 0, returns) : nullptr;
    const int err = errno;
    if (link != nullptr) {
      hook.links.push_back(link);
      continue;
    }
    std::string why = err == ENOENT ? "" : std::strerror(err);
    if (loaded && err != ENOENT && !hook.candidate->callers.empty()) {
      const Status called = AttachToCalls(hook, point, returns);
      if (called) {
        continue;
      }
      why += "; " + called.error().message;
    }
    missing.push_back(point);
    refused_for_now_ |= loaded && err != ENOENT;
    without += (without.empty() ? "" : ", ") + point + (why.empty() ? "" : " (" + why + ")");
  }
  hook.missing = std::move(missing);
  hook.attached = !hook.links.empty();
  hook.lacking = !hook.attached;
  hook.proof = hook.attached ? "not yet seen to run" : "";
  hook.why = !loaded            ? std::string("no driver of ") + ClassName(hook.candidate->driver) + " devices is loaded"
             : !without.empty() ? "the driver lacks " + without
             : !hook.by.empty() ? "kprobe programs run here; " + hook.by
                                : "kprobe programs run here";
}

bool Domain::AttachToDrivers(uint32_t drivers, bool afresh) {
  const std::lock_guard lock(late_);
  bool any = false;
  refused_for_now_ = false;
  if (afresh) {
    calls_of_.clear();
  }
  for (Hook& hook : hooks_) {
    if (loaded_ && hook.program != nullptr && hook.candidate->driver != 0) {
      AttachToDriver(hook, drivers, afresh);
      any = true;
    }
  }
  return any;
}

}  // namespace moat::probe
