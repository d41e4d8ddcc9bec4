// SPDX-License-Identifier: Apache-2.0
// fanotify: changes of names and inodes, which no tracepoint of this kernel tells. One notification group, marks on inodes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"

namespace moat::probe {

// A file by what its file system calls it: fsid, handle type, handle. Says which inode, whatever its name is now.
using FileHandle = std::string;

struct FanEvent {
  struct Place {
    FileHandle directory;  // empty: not told
    std::string name;
  };
  uint64_t mask = 0;  // FAN_*
  uint32_t pid = 0;   // thread group; 0: in a pid namespace that we cannot see
  FileHandle target;
  Place place;         // of the target; of FAN_RENAME: before
  Place renamed;       // of FAN_RENAME: after
};

class Fan {
 public:
  // Needs CAP_SYS_ADMIN and kernel 5.17 (FAN_REPORT_TARGET_FID).
  static Result<Fan> Open();

  // add: false removes these events of the mark. The path is not followed if it is a symlink.
  Status Mark(const std::string& path, uint64_t mask, bool add = true) const;
  static Result<FileHandle> HandleOf(const std::string& path);
  // An O_PATH descriptor of the inode, whatever its names are now. near: a directory of the same file system. Needs
  // CAP_DAC_READ_SEARCH. Not found: the inode is no more.
  static Result<Fd> OpenHandle(const FileHandle& handle, const std::string& near);

  // Appends what is there to read, at most about 64 KiB of it. False: nothing (more). overflow: the kernel dropped some.
  bool Read(std::vector<FanEvent>& events, bool& overflow) const;
  int fd() const { return fd_.get(); }

 private:
  explicit Fan(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// Parses what read() gave; pure. False: a length in it is wrong, the rest is not looked at.
bool ParseFanEvents(std::string_view bytes, std::vector<FanEvent>& events, bool& overflow);

}  // namespace moat::probe
