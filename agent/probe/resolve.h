// SPDX-License-Identifier: Apache-2.0
// Asset paths -> the files and directories behind them, by identity. Only the file system is asked; no map, no kernel program.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/config/config.h"
#include "agent/probe/probe.h"

namespace moat::probe {

// (device as the kernel keeps it in s_dev, inode number): what the kernel side looks up.
using InodeId = std::pair<uint32_t, uint64_t>;

// s_dev of the file systems, by mount id. What stat() calls the device is another number on btrfs (one per subvolume) and
// overlayfs (one per layer); the mount table has the one that kernel programs read.
class MountDevices {
 public:
  MountDevices();  // reads /proc/self/mountinfo
  uint32_t Of(uint64_t mount_id, uint32_t stat_major, uint32_t stat_minor) const;

 private:
  std::map<uint64_t, uint32_t> devices_;
};

// s_dev of what is mounted in any mount namespace that has a process. Costs a look at each process.
std::set<uint32_t> MountedDevices();

// A file as found.
struct Found {
  InodeId id;
  uint64_t bytes = 0;
  uint32_t links = 0;
  bool directory = false, regular = false, symlink = false;
};
// follow: the target of a symlink. False when there is nothing of that name (any more); errno says why.
bool FindFile(const MountDevices& mounts, int dirfd, const char* path, bool follow, Found& out);

struct ResolveLimits {
  size_t files = 200000;  // of all assets together
  int depth = 64;  // of directories below an asset's path
};

// A name whose next file or directory is the asset again.
struct NamedPlace {
  std::string directory;  // without symlinks
  InodeId directory_id;
  std::string name;
};
// Those of an asset: of the files and directories that were named or are reached by a symlink, and of symlinks that were named themselves.
// What lies below a directory of the asset needs none.
std::vector<NamedPlace> NamesOf(const ResolvedAsset& asset);

// Walks every path. A symlink found in an asset's directory that leads to a file (as in the Hugging Face cache) brings that
// file in, wherever it lies; one that leads to a directory is not followed and told as a problem. Index of the result = label bit.
std::vector<ResolvedAsset> ResolveAssets(const std::vector<config::Asset>& assets, const ResolveLimits& limits = {});

}  // namespace moat::probe
