// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/inode_map.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <optional>

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

// i_generation makes an inode number used again another file. ext4, xfs, btrfs and f2fs have one, and tell it in the handle of a file, which takes
// neither a right nor an open, that a policy might deny to moatd itself. Where it lies in the handle: fs/exportfs/expfs.c (ext4, f2fs),
// fs/xfs/xfs_export.h, fs/btrfs/export.h. held: O_PATH.
std::optional<uint32_t> Generation(int held, long type) {
  constexpr int kInode32 = 1, kInode32Parent = 2, kXfs64 = 0x81, kXfs64Parent = 0x82, kBtrfs = 0x4d, kBtrfsParent = 0x4e;
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> room{};
  auto* handle = reinterpret_cast<file_handle*>(room.data());
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  if (name_to_handle_at(held, "", handle, &mount, AT_EMPTY_PATH) != 0) {
    return std::nullopt;
  }
  size_t at = 0;
  switch (static_cast<uint32_t>(type)) {
    case 0xef53:  // ext4, ext3, ext2
    case 0xf2f52010:  // f2fs
      at = handle->handle_type == kInode32 || handle->handle_type == kInode32Parent ? 4 : 0;
      break;
    case 0x58465342:  // xfs
      at = handle->handle_type == kXfs64 || handle->handle_type == kXfs64Parent       ? 8
           : handle->handle_type == kInode32 || handle->handle_type == kInode32Parent ? 4
                                                                                      : 0;
      break;
    case 0x9123683e:  // btrfs
      at = handle->handle_type == kBtrfs || handle->handle_type == kBtrfsParent ? 16 : 0;
      break;
    default: break;
  }
  uint32_t generation = 0;
  if (at == 0 || handle->handle_bytes < at + sizeof(generation)) {
    return std::nullopt;
  }
  std::memcpy(&generation, reinterpret_cast<const char*>(handle->f_handle) + at, sizeof(generation));
  return generation;
}

}  // namespace

moat_inode_val InodeMap::ValueOf(const Wanted& wanted, int held) const {
  moat_inode_val value{.asset = wanted.asset, .flags = wanted.flags, .generation = 0, .generation_known = 0};
  struct statfs system{};
  const bool known = fstatfs(held, &system) == 0;
  if (const auto generation = known ? Generation(held, system.f_type) : std::nullopt) {
    value.generation = *generation;
    value.generation_known = 1;
  }
  if (!reads_seen_ && (!known || !ReadsAreSeen(system.f_type))) {
    value.flags |= MOAT_INODE_OPEN_READS;
  }
  return value;
}

namespace {

bool Same(const moat_inode_val& a, const moat_inode_val& b) {
  return a.asset == b.asset && a.flags == b.flags && a.generation == b.generation && a.generation_known == b.generation_known;
}

}  // namespace

// Before the map: a program that sees the byte and no entry looks once in vain, the other way round it would miss a file.
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

// What the kernel has noted with inodes (moat_inode_note) holds no more. After the map: a note made of the old entry is of the old epoch.
void InodeMap::EndNotes() { __atomic_fetch_add(&control_->inode_epoch, 1, __ATOMIC_RELEASE); }

Status InodeMap::Put(const InodeId& id, const moat_inode_val& value) {
  if (value.flags & MOAT_INODE_DIR) {
    NoteDirectory(id.first);
    __atomic_store_n(&control_->have_dirs, 1, __ATOMIC_RELEASE);
  }
  __atomic_store_n(&control_->filter[moat_filter_slot(id.second)], 1, __ATOMIC_RELEASE);
  __atomic_store_n(&control_->have_assets, 1, __ATOMIC_RELEASE);
  const moat_inode_key key = KeyOf(id);
  if (bpf_map_update_elem(fd_, &key, &value, BPF_ANY) != 0) {
    return FailErrno(errno, errno == E2BIG ? "the inode map is full: name fewer files" : "the inode map");
  }
  EndNotes();
  return {};
}

// The file is held while it is entered: an inode that ends earlier is not entered, one that ends later leaves the table by its end.
Status InodeMap::Enter(const InodeId& id, const Wanted& wanted, bool keep) {
  if (wanted.path.empty()) {
    return {};  // it has no path any more: what is known of it stays
  }
  const Fd held(open(wanted.path.c_str(), O_PATH | O_CLOEXEC));
  struct stat info{};
  if (!held || fstat(held.get(), &info) != 0 || info.st_ino != id.second) {
    return {};  // gone, or another by now, of which we are told
  }
  moat_inode_val fresh = ValueOf(wanted, held.get()), known{};
  const moat_inode_key key = KeyOf(id);
  if (bpf_map_lookup_elem(fd_, &key, &known) == 0) {
    if (Same(fresh, known)) {
      return {};  // stays as it is: readers never see it missing
    }
    const bool another = known.generation_known && fresh.generation_known && known.generation != fresh.generation;
    if (keep && !another) {
      if ((wanted.flags & ~known.flags & MOAT_INODE_NAMES) == 0) {
        return {};  // also as another asset's, which it stays
      }
      fresh = known;
      fresh.flags |= MOAT_INODE_NAMES;
    }
  }
  return Put(id, fresh);
}

Status InodeMap::Add(const InodeId& id, uint32_t asset, bool directory, const std::string& path) {
  return Enter(id, {.path = path, .asset = asset, .flags = directory ? MOAT_INODE_DIR : 0}, /*keep=*/false);
}

void InodeMap::Remove(const InodeId& id) {
  const moat_inode_key key = KeyOf(id);
  (void)bpf_map_delete_elem(fd_, &key);
  EndNotes();
}

bool InodeMap::Holds(const InodeId& id, uint32_t asset) const {
  const moat_inode_key key = KeyOf(id);
  moat_inode_val value{};
  return bpf_map_lookup_elem(fd_, &key, &value) == 0 && value.asset == asset;
}

void InodeMap::Collect(const ResolvedAsset& asset, Inodes& inodes, Names& names) {
  for (const auto& file : asset.files) {
    inodes.try_emplace(
        {file.dev, file.inode},
        Wanted{.path = file.left ? "" : file.path, .asset = asset.id, .flags = file.directory ? MOAT_INODE_DIR : 0});
  }
  for (const NamedPlace& place : NamesOf(asset)) {
    names.emplace(std::pair(place.directory_id, place.name.substr(0, MOAT_NAME_LEN - 1)), asset.id);
    inodes.try_emplace(place.directory_id, Wanted{.path = place.directory, .asset = asset.id}).first->second.flags |=
        MOAT_INODE_NAMES;
  }
}

// What the maps hold and is not wanted. Keys are collected before any is deleted, since deleting disturbs the walk.
void InodeMap::Drop(const Inodes& inodes, const Names& names) {
  std::vector<moat_inode_key> gone;
  moat_inode_key key{}, *previous = nullptr;
  while (bpf_map_get_next_key(fd_, previous, &key) == 0) {
    previous = &key;
    if (!inodes.contains({key.dev, key.inode})) {
      gone.push_back(key);
    }
  }
  for (const moat_inode_key& old : gone) {
    (void)bpf_map_delete_elem(fd_, &old);
  }
  EndNotes();
  std::vector<moat_name_key> gone_names;
  moat_name_key name{}, *before = nullptr;
  while (bpf_map_get_next_key(names_fd_, before, &name) == 0) {
    before = &name;
    if (!names.contains({InodeId(name.dev, name.inode), name.name})) {
      gone_names.push_back(name);
    }
  }
  for (const moat_name_key& old : gone_names) {
    (void)bpf_map_delete_elem(names_fd_, &old);
  }
}

// The last refusal.
Status InodeMap::EnterAll(const Inodes& inodes, const Names& names, bool keep, size_t& refused) {
  Status status;
  for (const auto& [id, wanted] : inodes) {
    if (Status put = Enter(id, wanted, keep); !put) {
      status = std::move(put);
      ++refused;
    }
  }
  for (const auto& [place, asset] : names) {
    moat_name_key key{.inode = place.first.second, .dev = place.first.first, .pad = 0, .name = {}};
    place.second.copy(key.name, sizeof(key.name) - 1);
    __atomic_store_n(&control_->have_names, 1, __ATOMIC_RELEASE);
    if (bpf_map_update_elem(names_fd_, &key, &asset, BPF_ANY) != 0) {
      status =
          FailErrno(errno, errno == E2BIG ? "the map of names is full: name directories in place of files" : "the map of names");
      ++refused;
    }
  }
  return status;
}

Status InodeMap::Set(std::vector<ResolvedAsset>& assets) {
  Inodes inodes;
  Names names;
  for (const ResolvedAsset& asset : assets) {
    Collect(asset, inodes, names);
  }
  Drop(inodes, names);  // first: it makes room
  size_t refused = 0;
  const Status status = EnterAll(inodes, names, /*keep=*/false, refused);
  if (refused > 0 && !assets.empty()) {
    assets.front().problems.push_back(std::to_string(refused) +
                                      " files and directories of all assets are not watched: " + status.error().message);
  }
  // Bytes of the filter, devices and have_dirs of what left stay: they cost a look-up in vain, clearing them could hide a file for a moment.
  if (assets.empty()) {
    __atomic_store_n(&control_->have_assets, 0, __ATOMIC_RELEASE);
  }
  return {};
}

Status InodeMap::Update(const ResolvedAsset& asset) {
  Inodes inodes;
  Names names;
  Collect(asset, inodes, names);
  size_t refused = 0;
  return EnterAll(inodes, names, /*keep=*/true, refused);
}

}  // namespace moat::probe
