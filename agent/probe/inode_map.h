// SPDX-License-Identifier: Apache-2.0
// The kernel's picture of the assets: the inode map, the bit filter and the device list of the control block.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "agent/base/error.h"
#include "agent/probe/probe.h"
#include "agent/probe/resolve.h"
#include "bpf/abi/file.h"
#include "bpf/abi/label.h"

namespace moat::probe {

// The caller serialises. The map and the control block stay the caller's and must live as long.
class InodeMap {
 public:
  // reads_seen: every read is seen, on whatever file system. Else those of file systems known to read through the functions that the
  // hooks sit on; of files elsewhere an open counts as reading.
  InodeMap(int map_fd, moat_control* control, bool reads_seen) : fd_(map_fd), control_(control), reads_seen_(reads_seen) {}

  // Makes the map hold exactly these: adds, changes, and removes what left, also what the kernel had learnt. What does not fit
  // becomes a problem of its asset.
  Status Set(std::vector<ResolvedAsset>& assets);

  // One more, at once. path: to ask for the inode's generation.
  Status Add(const InodeId& id, uint32_t asset, bool directory, const std::string& path);
  void Remove(const InodeId& id);

 private:
  Status Put(const InodeId& id, const moat_inode_val& value);
  void NoteDirectory(uint32_t dev);
  moat_inode_val ValueOf(uint32_t asset, bool directory, const std::string& path) const;

  int fd_;
  moat_control* control_;
  bool reads_seen_;
};

}  // namespace moat::probe
