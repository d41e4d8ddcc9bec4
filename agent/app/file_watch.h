// SPDX-License-Identifier: Apache-2.0
// Tells that files or directories have changed: edited in place, renamed over, or exchanged behind a symbolic link as Kubernetes does with
// a ConfigMap. Says that something is new, not what.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"

namespace moat::app {

// One thread.
class FileWatch {
 public:
  // Of a file its directory is watched: an editor puts another file in its place. What is not there yet is found when it comes, if its
  // directory is there.
  static Result<FileWatch> Open(const std::vector<std::string>& paths);

  int fd() const { return fd_.get(); }  // readable: something has changed
  // Takes what there is to be read. True: it may concern the paths.
  bool Take();

 private:
  explicit FileWatch(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
  std::map<int, std::set<std::string>> names_;  // by watch: whose changes matter; none: any YAML file's
};

}  // namespace moat::app
