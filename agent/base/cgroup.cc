// SPDX-License-Identifier: Apache-2.0
#include "agent/base/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "agent/base/fd.h"

namespace moat {

namespace {

// mountinfo writes space, tab, newline and backslash as \ooo (octal).
std::string Unescape(std::string_view field) {
  std::string text;
  for (size_t i = 0; i < field.size(); ++i) {
    auto octal = [&](size_t at) { return at < field.size() && field[at] >= '0' && field[at] <= '7'; };
    if (field[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      text += static_cast<char>((field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0'));
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

// How much of the tree a mount's root shows: the more it climbs above this process's cgroup namespace, the more.
int Reach(std::string_view root) {
  if (root == "/") {
    return 1;
  }
  int climbs = 0;
  while (root.starts_with("/..")) {
    root.remove_prefix(3);
    ++climbs;
  }
  return root.empty() ? 1 + climbs : 0;
}

// Where this process is listed below the mount; empty: nowhere.
std::string OwnCgroup(const Cgroup2Mount& mount) {
  constexpr size_t kMost = 100'000;
  std::string own;
  WalkCgroups(mount, kMost, [&](uint64_t, const std::string& path) {
    std::ifstream procs(mount.path + path + "/cgroup.procs");
    for (pid_t pid = 0; procs >> pid;) {
      if (pid == ::getpid()) {
        own = path;
      }
    }
    return own.empty();
  });
  return own;
}

std::string Join(const Cgroup2Mount& mount, std::string_view path) {
  std::string full = mount.path;
  if (!path.empty() && path != "/") {
    full += path.front() == '/' ? "" : "/";
    full += path;
  }
  return full;
}

}  // namespace

// "36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw": after the sixth field come optional ones up to "-".
Result<Cgroup2Mount> ParseCgroup2Mount(std::string_view mountinfo) {
  Cgroup2Mount found;
  int reach = 0;
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, point, options, field, type;
    if (!(fields >> id >> parent >> device >> root >> point >> options)) {
      continue;
    }
    while (fields >> field && field != "-") {
    }
    if (!(fields >> type) || type != "cgroup2") {
      continue;
    }
    if (found.path.empty() || Reach(root) > reach) {
      found = {Unescape(point), Unescape(root)};
      reach = Reach(root);
    }
  }
  if (found.path.empty()) {
    return Fail(Code::kNotFound,
                "no cgroup2 file system is mounted: mount one (mount -t cgroup2 none /sys/fs/cgroup/unified), or give moatd's "
                "container the host's /sys/fs/cgroup");
  }
  return found;
}

Result<Cgroup2Mount> FindCgroup2Mount() {
  std::ifstream file("/proc/self/mountinfo");
  if (!file) {
    return FailErrno(errno, "open /proc/self/mountinfo");
  }
  std::ostringstream text;
  text << file.rdbuf();
  return ParseCgroup2Mount(text.str());
}

bool ShowsWholeTree(const Cgroup2Mount& mount) {
  constexpr ino_t kRootCgroup = 1;  // the number of kernfs' root, of whatever namespace one looks from
  struct stat st{};
  return ::stat(mount.path.c_str(), &st) == 0 && st.st_ino == kRootCgroup;
}

Result<uint64_t> CgroupId(const Cgroup2Mount& mount, std::string_view path) {
  std::string full = Join(mount, path);
  struct stat st{};
  if (::stat(full.c_str(), &st) != 0) {
    return FailErrno(errno, "cgroup " + full);
  }
  if (!S_ISDIR(st.st_mode)) {
    return Fail(Code::kInvalidArgument, "cgroup " + full + ": not a directory");
  }
  return st.st_ino;
}

// kernfs takes a file handle of type FILEID_KERNFS holding the 64-bit id (since Linux 5.5).
Result<std::string> CgroupPath(const Cgroup2Mount& mount, uint64_t id) {
  constexpr int kFileidKernfs = 0xfe;
  Fd root(::open(mount.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) {
    return FailErrno(errno, "open " + mount.path);
  }
  alignas(file_handle) char buffer[sizeof(file_handle) + sizeof(id)] = {};
  auto* handle = reinterpret_cast<file_handle*>(buffer);
  handle->handle_bytes = sizeof(id);
  handle->handle_type = kFileidKernfs;
  std::memcpy(buffer + offsetof(file_handle, f_handle), &id, sizeof(id));
  Fd dir(::open_by_handle_at(root.get(), handle, O_PATH | O_CLOEXEC));
  if (!dir) {
    if (errno == ESTALE) {
      return Fail(Code::kNotFound, "no cgroup has the id " + std::to_string(id));
    }
    return FailErrno(errno, "cgroup by id " + std::to_string(id));
  }
  char target[PATH_MAX];
  ssize_t length = ::readlink(("/proc/self/fd/" + std::to_string(dir.get())).c_str(), target, sizeof(target));
  if (length < 0) {
    return FailErrno(errno, "path of cgroup " + std::to_string(id));
  }
  std::string_view path(target, static_cast<size_t>(length));
  bool below = path.starts_with(mount.path) && (path.size() == mount.path.size() || path[mount.path.size()] == '/');
  if (!below || path.ends_with(" (deleted)")) {
    return Fail(Code::kNotFound, "cgroup " + std::to_string(id) + " is not below " + mount.path);
  }
  path.remove_prefix(mount.path.size());
  return path.empty() ? std::string("/") : std::string(path);
}

void WalkCgroups(const Cgroup2Mount& mount, size_t limit, const std::function<bool(uint64_t, const std::string&)>& visit) {
  std::deque<std::string> todo{"/"};
  for (size_t visits = 0; !todo.empty() && visits < limit; ++visits) {
    std::string path = std::move(todo.front());
    todo.pop_front();
    std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(Join(mount, path).c_str()), ::closedir);
    int fd = dir ? ::dirfd(dir.get()) : -1;
    struct stat st{};
    if (fd < 0 || ::fstat(fd, &st) != 0) {
      continue;
    }
    if (!visit(st.st_ino, path)) {
      return;
    }
    while (const dirent* entry = ::readdir(dir.get())) {
      if (entry->d_type == DT_DIR && std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) {
        todo.push_back((path == "/" ? "/" : path + "/") + entry->d_name);
      }
    }
  }
}

// /proc/PID/cgroup is written as seen from the reader's cgroup namespace, whose own place in the tree the kernel does not tell: it is looked
// for where this process is listed.
Result<std::string> CgroupOfProcess(uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cgroup");
  std::string path;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::")) {
      path = line.substr(3);
    }
  }
  if (path.empty()) {
    return Fail(Code::kNotFound, "there is no process " + std::to_string(pid) + ", or it has no cgroup");
  }
  MOAT_ASSIGN(const Cgroup2Mount mount, FindCgroup2Mount());
  if (Reach(mount.root) <= 1) {
    return path;
  }
  static const std::string own = OwnCgroup(mount);
  if (own.empty()) {
    return Fail(Code::kNotFound, "this process is in no cgroup below " + mount.path);
  }
  std::string whole = std::filesystem::path(own + path).lexically_normal().string();
  if (whole.size() > 1 && whole.ends_with('/')) {
    whole.pop_back();
  }
  return whole;
}

}  // namespace moat
