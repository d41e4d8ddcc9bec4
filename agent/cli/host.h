// SPDX-License-Identifier: Apache-2.0
// What this host offers an agent, as far as files tell: asked by doctor, agent or not.
#pragma once

#include <string>
#include <vector>

namespace moat::cli {

struct HostFact {
  enum class Verdict { kGood, kLess, kBad };  // kLess: moat runs, and sees or stops less
  std::string name;
  Verdict verdict = Verdict::kGood;
  std::string value;
  std::string meaning;  // of a verdict that is not good
};

inline constexpr const char* kCapabilities = "capabilities";  // the fact's name

// root: "" but in tests, put before /proc and /sys.
std::vector<HostFact> HostFacts(const std::string& root);

}  // namespace moat::cli
