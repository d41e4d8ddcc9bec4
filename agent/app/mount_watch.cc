// SPDX-License-Identifier: Apache-2.0
#include "agent/app/mount_watch.h"

#include <fcntl.h>
#include <poll.h>
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

}  // namespace

std::set<std::string> MountsAt(std::string_view mountinfo, const std::vector<std::string>& paths) {
  std::set<std::string> mounts;
  while (!mountinfo.empty()) {
    const size_t end = std::min(mountinfo.find('\n'), mountinfo.size());
    const std::string_view line = mountinfo.substr(0, end);
    mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
    // 36 35 98:0 /in/it /mount/point rw,noatime shared:1 - ext3 /dev/root rw: options may change without another mount.
    size_t at = 0, begin = 0;
    for (int field = 0; field < 4 && at != std::string_view::npos; ++field) {
      at = line.find(' ', begin);
      begin = at + 1;
    }
    const size_t stop = at == std::string_view::npos ? at : line.find(' ', begin);
    if (stop == std::string_view::npos) {
      continue;
    }
    const std::string point = Unescaped(line.substr(begin, stop - begin));
    if (point != "/" && std::ranges::any_of(paths, [&](const std::string& path) {
          return IsAtOrBelow(path, point) || IsAtOrBelow(point, path);
        })) {
      mounts.emplace(line.substr(0, stop));
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

bool MountWatch::Changed(const std::vector<std::string>& paths) {
  // fs/proc_namespace.c: POLLERR and POLLPRI once after each change.
  pollfd stirred{.fd = fd_.get(), .events = POLLPRI, .revents = 0};
  if (::poll(&stirred, 1, 0) <= 0) {
    return false;
  }
  std::vector<std::string> real = paths;
  for (const std::string& path : paths) {
    std::error_code error;
    if (const auto followed = std::filesystem::weakly_canonical(path, error); !error && followed != path) {
      real.push_back(followed);
    }
  }
  const std::string before = std::exchange(table_, ReadTable(fd_.get()));
  return MountsAt(before, real) != MountsAt(table_, real);
}

}  // namespace moat::app
