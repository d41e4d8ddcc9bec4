// SPDX-License-Identifier: Apache-2.0
// Paths taken apart, and without the symlinks in them.
#pragma once

#include <string>
#include <utility>

namespace moat::probe {

std::string ParentOf(const std::string& path);
std::string NameOf(const std::string& path);

// One thread. What a directory leads to is remembered for the next path in it: for one look around, not for good.
class RealPaths {
 public:
  std::string Of(const std::string& path);  // empty: nothing there

 private:
  std::pair<std::string, std::string> last_parent_;  // directory -> its real path
};

}  // namespace moat::probe
