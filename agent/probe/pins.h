// SPDX-License-Identifier: Apache-2.0
// What outlives the agent: maps and links under a directory of our own in a bpffs. While a link is pinned its program runs, agent or no
// agent; the next agent takes the maps over, attaches its own programs beside, and puts its links in the place of the old ones: there is
// no moment without.
//
// Layout: DIRECTORY/SCOPE/map_NAME and link_EVENT, where SCOPE is "host" or the number of the scope's cgroup.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"

namespace moat::probe {

// One thread.
class Pins {
 public:
  // Makes what is missing of the directory, mode 0700. Fails when it does not lie in a bpffs.
  static Result<Pins> Open(const std::string& directory, const std::string& scope);

  const std::string& path() const { return path_; }
  // A pinned map; not valid: there is none.
  Fd Map(const std::string& name) const;
  Status PutMap(const std::string& name, int fd) const;
  // In the place of the one before.
  Status PutLink(const std::string& name, int fd);
  // Links that this object did not put.
  void RemoveOtherLinks() const;
  // All of the scope and its directory; the one above too when it is empty then.
  Status RemoveAll();
  // Those directories again.
  Status MakeAgain() const;

  // Scopes below a directory for which links are pinned. Empty: none, or no such directory.
  static std::vector<std::string> Held(const std::string& directory);
  // Removes everything below a directory: what was enforced without an agent ends. How many links there were.
  static Result<size_t> Unload(const std::string& directory);

 private:
  explicit Pins(std::string path) : path_(std::move(path)) {}
  static Status Make(const std::string& path);
  Status Put(const std::string& name, int fd) const;

  std::string path_;
  std::set<std::string> put_;
};

}  // namespace moat::probe
