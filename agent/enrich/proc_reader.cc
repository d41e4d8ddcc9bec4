// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/proc_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <charconv>
#include <climits>

#include "agent/base/fd.h"

namespace moat::enrich {

namespace {

constexpr size_t kMaxArgs = 1024;  // bytes of arguments, as the kernel's exec record has (MOAT_ARGV_LEN)

std::string ReadAt(int dir, const char* name, size_t limit) {
  Fd fd(::openat(dir, name, O_RDONLY | O_CLOEXEC));
  std::string text(limit, '\0');
  size_t size = 0;
  while (fd && size < limit) {
    ssize_t got = ::read(fd.get(), text.data() + size, limit - size);
    if (got <= 0) {
      break;
    }
    size += static_cast<size_t>(got);
  }
  text.resize(size);
  return text;
}

// The n-th blank-separated word, from 0, as a number.
template <typename T>
std::optional<T> Number(std::string_view text, size_t n, int base = 10) {
  size_t at = text.find_first_not_of(" \t");
  for (; n > 0 && at != std::string_view::npos; --n) {
    at = text.find_first_of(" \t\n", at);
    at = at == std::string_view::npos ? at : text.find_first_not_of(" \t", at);
  }
  if (at == std::string_view::npos) {
    return std::nullopt;
  }
  T value{};
  auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), value, base);
  return error == std::errc() ? std::optional<T>(value) : std::nullopt;
}

// What follows "\nname:" in /proc/PID/status. The first line is Name:, whose value cannot hold a newline (the kernel escapes it).
std::string_view StatusLine(std::string_view status, std::string_view name) {
  std::string key = "\n" + std::string(name) + ":";
  size_t at = status.find(key);
  if (at == std::string_view::npos) {
    return {};
  }
  std::string_view line = status.substr(at + key.size());
  return line.substr(0, line.find('\n'));
}

bool SameStart(uint64_t ticks, uint64_t start_ns) {
  static const auto kTickNs = 1'000'000'000 / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
  uint64_t asked = start_ns / kTickNs;
  return ticks + 1 >= asked && ticks <= asked + 1;
}

}  // namespace

// All files are opened below one descriptor of /proc/PID, which stays that process: once it is gone they fail, they never show a
// successor. So one check of the start time is enough.
std::optional<event::Process> ReadProcess(const std::string& root, const event::ProcessKey& key) {
  Fd dir(::open((root + "/" + std::to_string(key.pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir) {
    return std::nullopt;
  }
  // "pid (comm) S ppid ...": comm may hold anything, ')' too; the last one ends it. ppid is field 4, the start time field 22.
  std::string stat = ReadAt(dir.get(), "stat", 4096);
  size_t comm_end = stat.rfind(')');
  if (comm_end == std::string::npos) {
    return std::nullopt;
  }
  std::string_view rest = std::string_view(stat).substr(comm_end + 1);
  auto ppid = Number<uint32_t>(rest, 1);
  auto ticks = Number<uint64_t>(rest, 19);
  if (!ppid || !ticks || !SameStart(*ticks, key.start_ns)) {
    return std::nullopt;
  }
  event::Process process;
  process.key = key;
  process.parent = {*ppid, 0};
  process.from_scan = true;

  std::string status = ReadAt(dir.get(), "status", 8192);
  process.uid = Number<uint32_t>(StatusLine(status, "Uid"), 0).value_or(0);
  process.euid = Number<uint32_t>(StatusLine(status, "Uid"), 1).value_or(0);
  process.gid = Number<uint32_t>(StatusLine(status, "Gid"), 0).value_or(0);
  process.cap_permitted = Number<uint64_t>(StatusLine(status, "CapPrm"), 0, 16).value_or(0);
  process.cap_effective = Number<uint64_t>(StatusLine(status, "CapEff"), 0, 16).value_or(0);
  if (process.uid != process.euid) {
    process.exec_flags |= event::kExecSetuid;
  }

  // The link says "name (deleted)" of a file without a name, and also of a file that bears that name: the link count decides. Both
  // fail for kernel threads, whose exe stays unknown.
  struct stat st{};
  char target[PATH_MAX];
  ssize_t length = ::readlinkat(dir.get(), "exe", target, sizeof(target));
  if (length > 0 && ::fstatat(dir.get(), "exe", &st, 0) == 0) {
    process.exe.assign(target, static_cast<size_t>(length));
    process.exe_inode = st.st_ino;
    process.exe_dev = gnu_dev_major(st.st_dev) << 20 | gnu_dev_minor(st.st_dev);
    constexpr std::string_view kDeleted = " (deleted)";
    if (st.st_nlink == 0) {
      process.exec_flags |= event::kExecDeleted;
      if (process.exe.starts_with("/memfd:")) {
        process.exec_flags |= event::kExecMemfd;
      } else if (process.exe.ends_with(kDeleted)) {
        process.exe.resize(process.exe.size() - kDeleted.size());
      }
    }
  }

  std::string cmdline = ReadAt(dir.get(), "cmdline", kMaxArgs + 1);
  if (cmdline.size() > kMaxArgs) {
    cmdline.resize(kMaxArgs);
    process.exec_flags |= event::kExecArgvTruncated;
  }
  for (std::string_view left = cmdline; !left.empty();) {
    size_t nul = left.find('\0');
    process.args.emplace_back(left.substr(0, nul));
    left.remove_prefix(nul == std::string_view::npos ? left.size() : nul + 1);
  }
  return process;
}

}  // namespace moat::enrich
