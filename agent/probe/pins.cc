// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/pins.h"

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

namespace moat::probe {
namespace {

namespace fs = std::filesystem;

bool InBpffs(const std::string& path) {
  struct statfs info{};
  return statfs(path.c_str(), &info) == 0 && static_cast<uint64_t>(info.f_type) == BPF_FS_MAGIC;
}

bool IsLink(const fs::directory_entry& entry) { return entry.path().filename().string().starts_with("link_"); }

// bpffs takes no dot in a name (kernel/bpf/inode.c bpf_lookup).
std::string Plain(std::string name) {
  std::ranges::replace(name, '.', '_');
  return name;
}

}  // namespace

Result<Pins> Pins::Open(const std::string& directory, const std::string& scope) {
  const fs::path parent = fs::path(directory).parent_path();
  if (!InBpffs(directory) && !InBpffs(parent.string())) {
    return Fail(Code::kFailedPrecondition, directory + " does not lie in a bpffs: mount one (mount -t bpf bpf /sys/fs/bpf)");
  }
  const std::string own = directory + "/" + scope;
  MOAT_TRY(Make(directory));
  MOAT_TRY(Make(own));
  return Pins(own);
}

Status Pins::Make(const std::string& path) {
  return mkdir(path.c_str(), 0700) == 0 || errno == EEXIST ? Status() : FailErrno(errno, "make " + path);
}

Status Pins::MakeAgain() const {
  MOAT_TRY(Make(fs::path(path_).parent_path()));
  return Make(path_);
}

Fd Pins::Map(const std::string& name) const { return Fd(bpf_obj_get((path_ + "/map_" + Plain(name)).c_str())); }

// Under another name first: what is there already gives way in one step.
Status Pins::Put(const std::string& name, int fd) const {
  const std::string to = path_ + "/" + name, fresh = to + "_new";
  unlink(fresh.c_str());
  if (bpf_obj_pin(fd, fresh.c_str()) != 0) {
    return FailErrno(errno, "pin " + fresh);
  }
  if (rename(fresh.c_str(), to.c_str()) != 0) {
    const int err = errno;
    unlink(fresh.c_str());
    return FailErrno(err, "pin " + to);
  }
  return {};
}

Status Pins::PutMap(const std::string& name, int fd) const { return Put("map_" + Plain(name), fd); }

Status Pins::PutLink(const std::string& name, int fd) {
  const std::string plain = "link_" + Plain(name);
  MOAT_TRY(Put(plain, fd));
  put_.insert(plain);
  return {};
}

void Pins::RemoveOtherLinks() const {
  std::error_code error;
  std::vector<fs::path> others;
  for (const fs::directory_entry& entry : fs::directory_iterator(path_, error)) {
    if (IsLink(entry) && !put_.contains(entry.path().filename().string())) {
      others.push_back(entry.path());
    }
  }
  for (const fs::path& other : others) {
    unlink(other.c_str());
  }
}

Status Pins::RemoveAll() {
  put_.clear();
  std::error_code error;
  fs::remove_all(path_, error);
  rmdir(fs::path(path_).parent_path().c_str());  // unless there are other scopes
  return error ? Fail(Code::kInternal, "remove " + path_ + ": " + error.message()) : Status();
}

std::vector<std::string> Pins::Held(const std::string& directory) {
  std::error_code error;
  std::vector<std::string> scopes;
  for (const fs::directory_entry& scope : fs::directory_iterator(directory, error)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(scope.path(), error)) {
      if (IsLink(entry)) {
        scopes.push_back(scope.path().filename().string());
        break;
      }
    }
  }
  return scopes;
}

Result<size_t> Pins::Unload(const std::string& directory) {
  std::error_code error;
  if (!fs::exists(directory, error)) {
    return size_t{0};
  }
  if (!InBpffs(directory)) {
    return Fail(Code::kFailedPrecondition, directory + " is no directory of a bpffs: nothing is removed");
  }
  size_t links = 0;
  for (const fs::directory_entry& scope : fs::directory_iterator(directory, error)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(scope.path(), error)) {
      links += IsLink(entry) ? 1 : 0;
    }
  }
  fs::remove_all(directory, error);
  if (error) {
    return Fail(Code::kInternal, "remove " + directory + ": " + error.message());
  }
  return links;
}

}  // namespace moat::probe
