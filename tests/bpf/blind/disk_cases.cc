// SPDX-License-Identifier: Apache-2.0
// The asset's blocks, by ways that no read tells: shared with another file, or read from the disk below the file system.
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "tests/bpf/blind/mounts.h"

namespace moat::test {
namespace {

constexpr size_t kPage = 4096;

// Can two files of this file system share their extents?
bool Clones(const std::string& dir) {
  WriteFile(dir + "/clone-from", std::string(8192, 'c'));
  const Fd from(open((dir + "/clone-from").c_str(), O_RDONLY)), to(open((dir + "/clone-to").c_str(), O_RDWR | O_CREAT, 0600));
  const bool can = from && to && ioctl(to.get(), FICLONE, from.get()) == 0;
  unlink((dir + "/clone-from").c_str());
  unlink((dir + "/clone-to").c_str());
  return can;
}

// MOAT_CLONES names a directory where files can be cloned, for machines without the programs that make such a file system.
void SetClone(Stage& stage) {
  if (const char* clones = std::getenv("MOAT_CLONES")) {
    const std::string at = clones + stage.dir.substr(stage.dir.rfind('/'));
    ASSERT_EQ(mkdir(at.c_str(), 0700), 0) << at << ": " << std::strerror(errno);
    ASSERT_TRUE(Clones(at)) << at;
    MoveAsset(stage, at);
  } else if (!Clones(stage.dir)) {
    const std::string at = MountNew(stage, {{"btrfs", "mkfs.btrfs -q -f "}, {"xfs", "mkfs.xfs -q -f -m reflink=1 "}});
    if (at.empty()) {
      stage.cannot = "the file system of /var/tmp cannot clone: " + stage.cannot;
      return;
    }
    ASSERT_TRUE(Clones(at));
    MoveAsset(stage, at);
  }
}

void EndClone(Stage& stage) {
  Leave(stage);
  if (std::getenv("MOAT_CLONES") != nullptr) {
    std::error_code failed;
    std::filesystem::remove_all(std::filesystem::path(stage.asset).parent_path(), failed);
  }
}

void Clone(Stage& stage) {
  const int from = MustOpen(stage.weights, O_RDONLY), to = MustOpen(stage.other, O_RDWR | O_CREAT, 0600);
  for (int i = 0; i < kTimes; ++i) {
    MOAT_CHILD_CHECK(ftruncate(to, 0) == 0 && ioctl(to, FICLONE, from) == 0);
  }
  struct stat st{};
  char last = 0;
  MOAT_CHILD_CHECK(fstat(to, &st) == 0 && st.st_size == ssize_t{kModelBytes});
  MOAT_CHILD_CHECK(pread(to, &last, 1, kModelBytes - 1) == 1 && last == 'w');
}

// Where on the disk the first byte of a file lies, and the disk; "" or why not.
std::string Place(const std::string& path, std::string& disk, uint64_t& offset) {
  struct stat st{};
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || fstat(fd.get(), &st) != 0 || fsync(fd.get()) != 0) {
    return path + ": " + std::strerror(errno);
  }
  // The name of a disk in /dev stands in its uevent. A file system without one of its own (btrfs, tmpfs) has an anonymous number.
  const std::string number = std::to_string(major(st.st_dev)) + ":" + std::to_string(minor(st.st_dev));
  std::ifstream uevent("/sys/dev/block/" + number + "/uevent");
  for (std::string line; std::getline(uevent, line);) {
    disk = line.starts_with("DEVNAME=") ? "/dev/" + line.substr(8) : disk;
  }
  if (disk.empty()) {
    return "the file system lies on no block device of its own (" + number + ")";
  }
  if (const Fd device(open(disk.c_str(), O_RDONLY | O_CLOEXEC)); !device) {
    return disk + ": " + std::strerror(errno);
  }
  alignas(fiemap) char room[sizeof(fiemap) + sizeof(fiemap_extent)] = {};
  auto* map = reinterpret_cast<fiemap*>(room);
  map->fm_length = kPage;
  map->fm_flags = FIEMAP_FLAG_SYNC;
  map->fm_extent_count = 1;
  if (ioctl(fd.get(), FS_IOC_FIEMAP, map) != 0 || map->fm_mapped_extents != 1) {
    return std::string("FIEMAP: ") + std::strerror(errno);
  }
  const fiemap_extent& extent = *reinterpret_cast<fiemap_extent*>(room + sizeof(fiemap));
  if ((extent.fe_flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_NOT_ALIGNED)) !=
      0) {
    return "the file's place on the disk is not told";
  }
  offset = extent.fe_physical;
  return "";
}

// An image of the test's own, where one can be made: the disk below /var/tmp may be no test's business.
void SetDisk(Stage& stage) {
  std::string disk;
  uint64_t offset = 0;
  if (const std::string at = MountNew(stage, {{"ext4", "mkfs.ext4 -q -F "}, {"ext4", "mke2fs -F "}}); !at.empty()) {
    ASSERT_NO_FATAL_FAILURE(MoveAsset(stage, at));
  }
  stage.cannot = Place(stage.weights, disk, offset);
}

// The one case that does its thing once: a page of the asset, read from the disk that it lies on.
void ReadDisk(Stage& stage) {
  std::string disk;
  uint64_t offset = 0;
  MOAT_CHILD_CHECK(Place(stage.weights, disk, offset).empty());
  const int fd = MustOpen(disk, O_RDONLY | O_DIRECT);
  auto* buffer = static_cast<char*>(aligned_alloc(kPage, kPage));
  MOAT_CHILD_CHECK(pread(fd, buffer, kPage, static_cast<off_t>(offset)) == ssize_t{kPage} &&
                   std::all_of(buffer, buffer + kPage, [](char c) { return c == 'w'; }));
}

}  // namespace

void AddDiskCases(std::vector<BlindSpot>& cases) {
  cases.push_back({.name = "FICLONE",
                   .group = Group::kFile,
                   .events = {"file.copy"},
                   .exposure = "ficlone",
                   .setup = SetClone,
                   .act = Clone,
                   .cleanup = EndClone,
                   .truth = {.bytes_read = kTimes * kModelBytes, .labelled = 1}});
  cases.push_back({.name = "raw block device",
                   .group = Group::kFile,
                   .events = {"file.open"},
                   .exposure = "block_device",
                   .setup = SetDisk,
                   .act = ReadDisk,
                   .cleanup = Leave,
                   .truth = {.labelled = 1}});
}

}  // namespace moat::test
