// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/inode_map.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "agent/base/fd.h"

namespace moat::probe {
namespace {

moat_inode_key KeyOf(const InodeId& id) { return {.inode = id.second, .dev = id.first, .pad = 0}; }

// Those that read through filemap_read, filemap_splice_read, iomap or shmem (bpf/file/read.bpf.c).
bool ReadsAreSeen(long type) {
  constexpr long kTypes[] = {0xef53 /* ext2 to 4 */,
                             0x58465342 /* xfs */,
                             0x9123683e /* btrfs */,
                             0xf2f52010 /* f2fs */,
                             0x01021994 /* tmpfs */,
                             0x858458f6 /* ramfs */,
                             0xe0f5e1e2 /* erofs */,
                             0x73717368 /* squashfs */,
                             0x9660 /* iso9660 */,
                             0x4d44 /* vfat */,
                             0x2011bab0 /* exfat */};
  return std::ranges::find(kTypes, type) != std::end(kTypes);
}

}  // namespace

// ext4, xfs, btrfs and f2fs tell i_generation, which makes an inode number used again another file; others do not.
moat_inode_val InodeMap::ValueOf(uint32_t asset, bool directory, const std::string& path) const {
  moat_inode_val value{.asset = asset, .flags = directory ? MOAT_INODE_DIR : 0, .generation = 0, .generation_known = 0};
  Fd file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  int generation = 0;  // the kernel writes an int whatever the command's size says
  if (file && ioctl(file.get(), FS_IOC_GETVERSION, &generation) == 0) {
    value.generation = static_cast<uint32_t>(generation);
    value.generation_known = 1;
  }
  struct statfs system{};
  if (!reads_seen_ && (!file || fstatfs(file.get(), &system) != 0 || !ReadsAreSeen(system.f_type))) {
    value.flags |= MOAT_INODE_OPEN_READS;
  }
  return value;
}

namespace {

bool Same(const moat_inode_val& a, const moat_inode_val& b) {
  return a.asset == b.asset && a.flags == b.flags && a.generation == b.generation && a.generation_known == b.generation_known;
}

}  // namespace

// Before the map: a program that sees the bit and no entry looks once in vain, the other way round it would miss a file.
void InodeMap::NoteDirectory(uint32_t dev) {
  for (auto& slot : control_->dir_devs) {
    if (slot == dev + 1ull) {
      return;
    }
    if (slot == 0) {
      __atomic_store_n(&slot, dev + 1ull, __ATOMIC_RELEASE);
      return;
    }
  }
  control_->dir_devs_full = 1;
}

Status InodeMap::Put(const InodeId& id, const moat_inode_val& value) {
  if (value.flags & MOAT_INODE_DIR) {
    NoteDirectory(id.first);
    __atomic_store_n(&control_->have_dirs, 1, __ATOMIC_RELEASE);
  }
  const uint32_t bit = moat_filter_bit(id.second, id.first);
  __atomic_fetch_or(&control_->filter[bit / 64], 1ull << bit % 64, __ATOMIC_RELEASE);
  __atomic_store_n(&control_->have_assets, 1, __ATOMIC_RELEASE);
  const moat_inode_key key = KeyOf(id);
  if (bpf_map_update_elem(fd_, &key, &value, BPF_ANY) != 0) {
    return FailErrno(errno, errno == E2BIG ? "the inode map is full: name fewer files" : "the inode map");
  }
  return {};
}

Status InodeMap::Add(const InodeId& id, uint32_t asset, bool directory, const std::string& path) {
  return Put(id, ValueOf(asset, directory, path));
}

void InodeMap::Remove(const InodeId& id) {
  const moat_inode_key key = KeyOf(id);
  (void)bpf_map_delete_elem(fd_, &key);
}

Status InodeMap::Set(std::vector<ResolvedAsset>& assets) {
  std::map<InodeId, moat_inode_val> wanted;
  for (const ResolvedAsset& asset : assets) {
    for (const auto& file : asset.files) {
      wanted.emplace(InodeId(file.dev, file.inode), ValueOf(asset.id, file.directory, file.path));
    }
  }
  // What left goes first: it makes room. Keys are collected before any is deleted, since deleting disturbs the walk.
  std::vector<moat_inode_key> gone;
  moat_inode_key key{}, *previous = nullptr;
  while (bpf_map_get_next_key(fd_, previous, &key) == 0) {
    previous = &key;
    moat_inode_val value{};
    if (bpf_map_lookup_elem(fd_, &key, &value) != 0) {
      continue;
    }
    const auto entry = wanted.find({key.dev, key.inode});
    if (entry == wanted.end()) {
      gone.push_back(key);
    } else if (Same(entry->second, value)) {
      wanted.erase(entry);  // stays as it is: readers never see it missing
    }
  }
  for (const moat_inode_key& old : gone) {
    (void)bpf_map_delete_elem(fd_, &old);
  }
  size_t refused = 0;
  Status status;
  for (const auto& [id, value] : wanted) {
    if (Status put = Put(id, value); !put) {
      status = std::move(put);
      ++refused;
    }
  }
  if (refused > 0 && !assets.empty()) {
    assets.front().problems.push_back(std::to_string(refused) +
                                      " files and directories of all assets are not watched: " + status.error().message);
  }
  // Bits, devices and have_dirs of what left stay: they cost a look-up in vain, clearing them could hide a file for a moment.
  if (assets.empty()) {
    __atomic_store_n(&control_->have_assets, 0, __ATOMIC_RELEASE);
  }
  return {};
}

}  // namespace moat::probe
