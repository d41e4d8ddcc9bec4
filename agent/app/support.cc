// SPDX-License-Identifier: Apache-2.0
#include "agent/app/support.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

namespace moat::app {
namespace {

// Empty: all of these hooks are attached by a program that can deny; else the first that is not, and why.
std::string Missing(const std::vector<DomainStatus>& domains, const std::vector<std::string_view>& events) {
  for (const std::string_view event : events) {
    const HookStatus* found = nullptr;
    for (const DomainStatus& domain : domains) {
      for (const HookStatus& hook : domain.hooks) {
        found = hook.event == event ? &hook : found;
      }
    }
    if (found == nullptr || !found->attached) {
      return std::string(event) + (found != nullptr && !found->why.empty() ? ": " + found->why : " is not attached");
    }
  }
  return "";
}

struct Part {
  const char* what;  // "rules on assets"
  std::vector<std::string_view> events;
  bool (*asks)(const policy::Policy& policy);
  void (*drop)(policy::Policy& policy);
};

const std::vector<Part>& Parts() {
  static const std::vector<Part> kParts = {
      {"rules of egress",
       {"enforce.connect4", "enforce.connect6", "enforce.sendmsg4", "enforce.sendmsg6", "enforce.packet", "enforce.opened"},
       [](const policy::Policy& policy) { return policy.egress.has_value(); },
       [](policy::Policy& policy) { policy.egress.reset(); }},
      {"rules on assets",
       {"file.open", "enforce.file_open", "enforce.file_receive", "enforce.file_use", "enforce.file_map", "enforce.file_rename",
        "enforce.file_unlink", "enforce.file_rmdir", "enforce.file_link", "enforce.file_setattr", "enforce.memory"},
       [](const policy::Policy& policy) { return !policy.assets.empty(); },
       [](policy::Policy& policy) { policy.assets.clear(); }},
      {"rules on GPUs",
       {"gpu.open", "enforce.gpu_open", "enforce.gpu_receive", "enforce.gpu_ioctl"},
       [](const policy::Policy& policy) { return policy.gpu.has_value(); },
       [](policy::Policy& policy) { policy.gpu.reset(); }},
  };
  return kParts;
}

}  // namespace

Supported Support(policy::Set set, const std::vector<DomainStatus>& domains) {
  Supported out;
  for (policy::Policy& policy : set.policies) {
    for (const Part& part : Parts()) {
      if (policy.mode == policy::Mode::kObserve || !part.asks(policy)) {
        continue;
      }
      const std::string missing = Missing(domains, part.events);
      if (missing.empty()) {
        continue;
      }
      const std::string what =
          "policy " + policy.name + ": " + part.what + " cannot be enforced by this kernel (" + missing + ")";
      if (policy.on_unsupported == policy::OnUnsupported::kObserve) {
        out.exposures.push_back(what + ", and are only watched");
        part.drop(policy);
      } else {
        out.problems.push_back(policy.at.file + ":" + std::to_string(policy.at.line) + ":" + std::to_string(policy.at.column) +
                               ": " + what + "; to watch only, say onUnsupported: observe");
      }
    }
  }
  out.set = std::move(set);
  return out;
}

}  // namespace moat::app
