// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/real_path.h"

#include <sys/stat.h>

#include <cstdlib>
#include <memory>

namespace moat::probe {
namespace {

std::string RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr), &std::free);
  return real ? real.get() : "";
}

}  // namespace

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string NameOf(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// realpath() asks for every component: once per directory is enough.
std::string RealPaths::Of(const std::string& path) {
  const std::string parent = ParentOf(path);
  if (last_parent_.first != parent) {
    last_parent_ = {parent, RealPath(parent)};
  }
  if (last_parent_.second.empty()) {
    return "";  // its directory is gone
  }
  struct stat info{};
  std::string real = last_parent_.second + (last_parent_.second.ends_with('/') ? "" : "/") + NameOf(path);
  return lstat(real.c_str(), &info) == 0 && !S_ISLNK(info.st_mode) ? real : RealPath(path);
}

}  // namespace moat::probe
