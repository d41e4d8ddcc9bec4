// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/resolve.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <set>
#include <sstream>

#include "agent/base/fd.h"
#include "agent/probe/real_path.h"
#include "bpf/abi/event.h"

namespace moat::probe {
namespace {

constexpr size_t kMaxProblems = 16;  // told per asset; the rest as a number
constexpr uint32_t KernelDevice(uint32_t major, uint32_t minor) { return major << 20 | (minor & 0xfffff); }

struct CloseDir {
  void operator()(DIR* dir) const { closedir(dir); }
};

// False: the table could not be read, or is empty.
bool EachMount(const std::string& table, const std::function<void(uint64_t id, uint32_t dev)>& take) {
  std::ifstream file(table);
  std::string line;
  bool any = false;
  while (std::getline(file, line)) {
    std::istringstream fields(line);  // 36 35 98:0 ...
    uint64_t id = 0, parent = 0;
    uint32_t major = 0, minor = 0;
    char colon = 0;
    if (fields >> id >> parent >> major >> colon >> minor && colon == ':') {
      take(id, KernelDevice(major, minor));
      any = true;
    }
  }
  return any;
}

class Walker {
 public:
  Walker(const MountDevices& mounts, const ResolveLimits& limits) : mounts_(mounts), limits_(limits) {}

  ResolvedAsset Resolve(uint32_t id, const config::Asset& config) {
    ResolvedAsset asset{
        .id = id, .name = config.name, .asset_class = config.asset_class, .bytes = 0, .problems = {}, .files = {}};
    seen_.clear();
    problems_ = 0;
    for (const std::string& path : config.paths) {
      Found found;
      if (!FindFile(mounts_, AT_FDCWD, path.c_str(), /*follow=*/true, found)) {
        Problem(asset, path + ": " + std::strerror(errno));
      } else if (found.directory) {
        Directory(asset, AT_FDCWD, path.c_str(), path, found, /*depth=*/0, /*named=*/true);
      } else if (found.regular) {
        Add(asset, path, found);
      } else {
        Problem(asset, path + ": neither a file nor a directory");
      }
    }
    if (problems_ > kMaxProblems) {
      asset.problems.push_back(std::to_string(problems_ - kMaxProblems) + " more problems");
    }
    return asset;
  }

 private:
  void Problem(ResolvedAsset& asset, std::string text) {
    if (++problems_ <= kMaxProblems) {
      asset.problems.push_back(std::move(text));
    }
  }

  // False: it is there already, or belongs to another asset, or there is no room.
  bool Add(ResolvedAsset& asset, const std::string& path, const Found& found) {
    if (!seen_.insert(found.id).second) {
      return false;
    }
    const auto [owner, fresh] = owners_.emplace(found.id, asset.id);
    if (!fresh && owner->second != asset.id) {
      Problem(asset, path + ": belongs to an asset named earlier, to which it stays");
      return false;
    }
    if (owners_.size() > limits_.files) {
      if (!full_told_) {
        Problem(asset, path + ": more than " + std::to_string(limits_.files) +
                           " files and directories in all assets: those that follow are found only when they are opened below an "
                           "asset's directory; name fewer or deeper directories");
      }
      full_told_ = true;
      return false;
    }
    if (!found.directory) {
      asset.bytes += found.bytes;
    }
    asset.files.push_back({.path = path, .dev = found.id.first, .inode = found.id.second, .directory = found.directory});
    return true;
  }

  void Directory(ResolvedAsset& asset, int parent, const char* name, const std::string& path, const Found& found, int depth,
                 bool named) {
    if (!Add(asset, path, found)) {
      return;
    }
    if (depth >= limits_.depth) {
      Problem(asset, path + ": deeper than " + std::to_string(limits_.depth) + " directories, not entered");
      return;
    }
    // A name that was given may be a symlink; one that was found is opened as what it was when we looked.
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (named ? 0 : O_NOFOLLOW));
    std::unique_ptr<DIR, CloseDir> dir(fd >= 0 ? fdopendir(fd) : nullptr);
    if (!dir) {
      Problem(asset, path + ": " + std::strerror(errno));
      return;
    }
    while (const dirent* entry = readdir(dir.get())) {
      if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
        Entry(asset, fd, entry->d_name, path + (path.ends_with('/') ? "" : "/") + entry->d_name, depth);
      }
    }
  }

  void Entry(ResolvedAsset& asset, int dirfd, const char* name, const std::string& path, int depth) {
    Found found;
    if (!FindFile(mounts_, dirfd, name, /*follow=*/false, found)) {
      return;  // gone since the directory was read
    }
    if (found.symlink) {
      if (!FindFile(mounts_, dirfd, name, /*follow=*/true, found)) {
        Problem(asset, path + ": a symbolic link that leads nowhere");
      } else if (found.directory) {
        Problem(asset, path + ": a symbolic link to a directory is not followed; name the directory as a path of the asset");
      } else if (found.regular) {
        Add(asset, path, found);
      }
    } else if (found.directory) {
      Directory(asset, dirfd, name, path, found, depth + 1, /*named=*/false);
    } else if (found.regular) {
      Add(asset, path, found);
    }
  }

  const MountDevices& mounts_;
  const ResolveLimits limits_;
  std::set<InodeId> seen_;              // of this asset
  std::map<InodeId, uint32_t> owners_;  // of all
  size_t problems_ = 0;
  bool full_told_ = false;
};

}  // namespace

MountDevices::MountDevices() {
  EachMount("/proc/self/mountinfo", [this](uint64_t id, uint32_t dev) { devices_[id] = dev; });
}

std::set<uint32_t> MountedDevices() {
  const std::unique_ptr<DIR, CloseDir> proc(opendir("/proc"));
  std::set<uint32_t> devices;
  std::set<std::string> seen;  // namespaces
  while (const dirent* entry = proc ? readdir(proc.get()) : nullptr) {
    const std::string process = std::string("/proc/") + entry->d_name;
    std::array<char, 64> name{};
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') {
      continue;
    }
    // Which namespace it is, the kernel may refuse to tell where it tells what is mounted there.
    const bool told = readlink((process + "/ns/mnt").c_str(), name.data(), name.size() - 1) > 0;
    if (told && !seen.insert(name.data()).second) {
      continue;
    }
    if (!EachMount(process + "/mountinfo", [&](uint64_t, uint32_t dev) { devices.insert(dev); }) && told) {
      seen.erase(name.data());  // it has ended: by another process of that namespace
    }
  }
  return devices;
}

uint32_t MountDevices::Of(uint64_t mount_id, uint32_t stat_major, uint32_t stat_minor) const {
  const auto found = devices_.find(mount_id);
  return found != devices_.end() ? found->second : KernelDevice(stat_major, stat_minor);
}

bool FindFile(const MountDevices& mounts, int dirfd, const char* path, bool follow, Found& out) {
  struct statx info{};
  const int flags = AT_NO_AUTOMOUNT | (follow ? 0 : AT_SYMLINK_NOFOLLOW) | (*path == '\0' ? AT_EMPTY_PATH : 0);
  if (statx(dirfd, path, flags, STATX_TYPE | STATX_INO | STATX_SIZE | STATX_NLINK | STATX_MNT_ID, &info) != 0) {
    return false;
  }
  out.id = {mounts.Of(info.stx_mask & STATX_MNT_ID ? info.stx_mnt_id : 0, info.stx_dev_major, info.stx_dev_minor), info.stx_ino};
  out.bytes = info.stx_size;
  out.links = info.stx_nlink;
  out.directory = S_ISDIR(info.stx_mode);
  out.regular = S_ISREG(info.stx_mode);
  out.symlink = S_ISLNK(info.stx_mode);
  return true;
}

std::vector<NamedPlace> NamesOf(const ResolvedAsset& asset) {
  RealPaths paths;
  std::set<std::string> directories;
  std::map<std::pair<std::string, std::string>, NamedPlace> places;
  const MountDevices mounts;
  for (const auto& file : asset.files) {
    if (file.left) {
      continue;
    }
    const std::string real = paths.Of(file.path);
    for (const std::string& path : {real, file.path}) {
      if (path.empty() || directories.contains(ParentOf(path))) {
        continue;
      }
      const std::string directory = path == real ? ParentOf(real) : paths.Of(ParentOf(path));
      Found found;
      if (!directory.empty() && !directories.contains(directory) &&
          FindFile(mounts, AT_FDCWD, directory.c_str(), /*follow=*/false, found)) {
        places[{directory, NameOf(path)}] = {.directory = directory, .directory_id = found.id, .name = NameOf(path)};
      }
    }
    if (file.directory) {
      directories.insert({real, file.path});  // listed before what it holds
    }
  }
  std::vector<NamedPlace> out;
  out.reserve(places.size());
  for (auto& [key, place] : places) {
    out.push_back(std::move(place));
  }
  return out;
}

std::vector<ResolvedAsset> ResolveAssets(const std::vector<config::Asset>& assets, const ResolveLimits& limits) {
  const MountDevices mounts;
  Walker walker(mounts, limits);
  std::vector<ResolvedAsset> out;
  for (const config::Asset& asset : assets) {
    if (out.size() == MOAT_MAX_ASSETS) {  // configuration refuses more; a caller without it is not believed
      out.back().problems.push_back("asset " + asset.name + " and those after it: more than " + std::to_string(MOAT_MAX_ASSETS) +
                                    " assets, ignored");
      break;
    }
    out.push_back(walker.Resolve(static_cast<uint32_t>(out.size()), asset));
  }
  return out;
}

}  // namespace moat::probe
