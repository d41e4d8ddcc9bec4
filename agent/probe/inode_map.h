// SPDX-License-Identifier: Apache-2.0
// The kernel's picture of the assets: the maps of inodes and of names, the filter and the device list of the control block.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/base/error.h"
#include "agent/probe/probe.h"
#include "agent/probe/resolve.h"
#include "bpf/abi/file.h"
#include "bpf/abi/label.h"

namespace moat::probe {

// The caller serialises. The maps and the control block stay the caller's and must live as long.
class InodeMap {
 public:
  // reads_seen: every read is seen, on whatever file system. Else those of file systems known to read through the functions that the
  // hooks sit on; of files elsewhere an open counts as reading.
  InodeMap(int map_fd, int names_fd, moat_control* control, bool reads_seen)
      : fd_(map_fd), names_fd_(names_fd), control_(control), reads_seen_(reads_seen) {}

  // Makes the maps hold exactly these: adds, changes, and removes what left, also what the kernel had learnt. What does not fit
  // becomes a problem of its asset.
  Status Set(std::vector<ResolvedAsset>& assets);
  // Adds what is new of one asset. Nothing is taken away: what left its directories is the asset's as long as its inode lives.
  Status Update(const ResolvedAsset& asset);

  // One more, at once. path: to ask for the inode's generation.
  Status Add(const InodeId& id, uint32_t asset, bool directory, const std::string& path);
  void Remove(const InodeId& id);
  bool Holds(const InodeId& id, uint32_t asset) const;

 private:
  struct Wanted {
    std::string path;
    uint32_t asset = 0;
    uint32_t flags = 0;  // MOAT_INODE_DIR, MOAT_INODE_NAMES
  };
  using Inodes = std::map<InodeId, Wanted>;
  using Names = std::map<std::pair<InodeId, std::string>, uint32_t>;

  static void Collect(const ResolvedAsset& asset, Inodes& inodes, Names& names);
  void Drop(const Inodes& inodes, const Names& names);
  // keep: what the map has of an inode is as good. refused: how many found no room.
  Status EnterAll(const Inodes& inodes, const Names& names, bool keep, size_t& refused);
  Status Enter(const InodeId& id, const Wanted& wanted, bool keep);
  moat_inode_val ValueOf(const Wanted& wanted, int held) const;
  Status Put(const InodeId& id, const moat_inode_val& value);
  void NoteDirectory(uint32_t dev);
  void EndNotes();

  int fd_, names_fd_;
  moat_control* control_;
  bool reads_seen_;
};

}  // namespace moat::probe
