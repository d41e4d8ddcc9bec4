// SPDX-License-Identifier: Apache-2.0
#include "agent/app/mount_watch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

namespace moat::app {
namespace {

bool IsAtOrBelow(std::string_view path, std::string_view top) {
  return path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/' || top == "/");
}

// The kernel writes space, tab, line feed, backslash and '#' as \ooo.
std::string Unescaped(std::string_view text) {
  const auto digit = [](char c) { return c >= '0' && c <= '7'; };
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && digit(text[i + 1]) && digit(text[i + 2]) && digit(text[i + 3])) {
      plain += static_cast<char>((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0'));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

std::string ReadTable(int fd) {
  std::string table;
  char chunk[16384];
  ::lseek(fd, 0, SEEK_SET);
  for (ssize_t got; (got = ::read(fd, chunk, sizeof chunk)) > 0 || (got < 0 && errno == EINTR);) {
    table.append(chunk, static_cast<size_t>(std::max<ssize_t>(got, 0)));
  }
  return table;
}

std::vector<std::string_view> FieldsOf(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t at = 0; at <= line.size();) {
    const size_t stop = std::min(line.find(' ', at), line.size());
    fields.push_back(line.substr(at, stop - at));
    at = stop + 1;
  }
  return fields;
}

// By which a mount is told from another that came in its place: inode and birth of its root. mount: one of MountsAt().
std::string RootOf(const std::string& mount) {
  struct statx root{};
  if (::statx(AT_FDCWD, Unescaped(FieldsOf(mount).at(3)).c_str(), AT_NO_AUTOMOUNT, STATX_INO | STATX_BTIME, &root) != 0) {
    return "";
  }
  return std::to_string(root.stx_ino) + " " + std::to_string(root.stx_btime.tv_sec) + " " +
         std::to_string(root.stx_btime.tv_nsec);
}

}  // namespace

std::set<std::string> MountsAt(std::string_view mountinfo, const std::vector<std::string>& paths) {
  std::set<std::string> mounts;
  while (!mountinfo.empty()) {
    const size_t end = std::min(mountinfo.find('\n'), mountinfo.size());
    const std::string_view line = mountinfo.substr(0, end);
    mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
    // 36 35 98:0 /in/it /mount/point rw,noatime shared:1 - ext3 /dev/root rw
    const std::vector<std::string_view> fields = FieldsOf(line);
    const auto dash = std::ranges::find(fields, "-");
    if (fields.size() < 6 || fields.end() - dash < 3) {
      continue;
    }
    const std::string point = Unescaped(fields[4]);
    if (point != "/" && std::ranges::any_of(paths, [&](const std::string& path) {
          return IsAtOrBelow(path, point) || IsAtOrBelow(point, path);
        })) {
      std::string what;  // options may change without another mount
      for (const std::string_view field : {fields[0], fields[2], fields[3], fields[4], dash[1], dash[2]}) {
        what.append(what.empty() ? "" : " ").append(field);
      }
      mounts.insert(std::move(what));
    }
  }
  return mounts;
}

MountWatch::MountWatch(Fd fd) : fd_(std::move(fd)), table_(ReadTable(fd_.get())) {}

Result<MountWatch> MountWatch::Open() {
  Fd fd(::open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return FailErrno(errno, "/proc/self/mountinfo");
  }
  return MountWatch(std::move(fd));
}

bool MountWatch::Take(const std::vector<std::string>& paths) {
  std::vector<std::string> real = paths;
  for (const std::string& path : paths) {
    std::error_code error;
    if (const auto followed = std::filesystem::weakly_canonical(path, error); !error && followed != path) {
      real.push_back(followed);
    }
  }
  const std::string before = std::exchange(table_, ReadTable(fd_.get()));
  const std::set<std::string> mounts = MountsAt(table_, real);
  std::map<std::string, std::string> roots;
  for (const std::string& mount : mounts) {
    roots[mount] = RootOf(mount);
  }
  // Numbers of mounts and of devices are used again at once: one that came in place of another may have its line.
  const bool others = std::ranges::any_of(roots, [this](const auto& root) {
    const auto known = roots_.find(root.first);
    return known != roots_.end() && known->second != root.second;
  });
  roots_ = std::move(roots);
  return others || MountsAt(before, real) != mounts;
}

}  // namespace moat::app
