// SPDX-License-Identifier: Apache-2.0
// Which drivers of accelerators are loaded, and when that changes.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "agent/base/fd.h"

namespace moat::probe {

// One thread at a time.
class Drivers {
 public:
  // Without the kernel's notices (a network namespace of another user namespace has none) only looking tells.
  Drivers();

  int fd() const { return notices_.get(); }  // readable: a module or a device came or went; negative: there are no notices
  // Takes the notices; whether there were any. A module tells that it comes before it has registered its devices.
  bool Stirred();
  // Looks; whether devices' numbers or modules are others than when it looked last, the first time included.
  bool Changed();
  // As of the last look.
  uint32_t loaded() const { return loaded_; }  // bits by enum moat_gpu_class
  bool gone() const { return gone_; }  // a module that was there is there no more, or another of its name; the first time, too

 private:
  Fd notices_;
  std::string devices_;
  std::set<std::string> modules_;
  uint32_t loaded_ = 0;
  bool gone_ = false;
};

}  // namespace moat::probe
