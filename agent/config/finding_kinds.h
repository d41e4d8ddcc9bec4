// SPDX-License-Identifier: Apache-2.0
// Kinds of findings, as files name them: as event::FindingKindName(), which this folder may not see; a unit test holds the two together.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/strings.h"
#include "agent/config/section.h"

namespace moat::config {

inline constexpr std::array<std::string_view, 22> kFindingKinds = {
    "weight-exfiltration", "weight-collection", "canary-touched",    "weight-tamper",    "unsafe-load",      "reverse-shell",
    "fileless-exec",       "code-injection",    "gpu-undeclared",    "gpu-misuse",       "lateral-movement", "metadata-access",
    "dns-tunnel",          "failed-logins",     "interactive-shell", "namespace-escape", "policy-denial",    "policy-would-deny",
    "budget-exhausted",    "agent-tampering",   "agent-degraded",    "events-lost"};

// The list "kinds" of a section.
inline void ReadFindingKinds(Section& section, std::vector<std::string>& kinds) {
  section.Each("kinds", [&](const Node& kind) {
    if (kind.type == Node::Type::kScalar && std::ranges::find(kFindingKinds, kind.value) != kFindingKinds.end()) {
      kinds.push_back(kind.value);
    } else {
      section.Complain(kind, section.Path("kinds") + "[] has no such kind of finding: " + Quoted(kind.value) +
                                 DidYouMean(kind.value, kFindingKinds));
    }
  });
}

}  // namespace moat::config
