// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/spool_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

namespace moat::sink {
namespace {

constexpr mode_t kOwnerOnly = 0600;
constexpr std::string_view kSuffix = ".seg";
constexpr size_t kDigits = 16;
constexpr uint64_t kNoNumber = uint64_t{1} << 48;  // no spool lives to have so many messages

std::string Hex(uint64_t number) {
  char text[kDigits + 1];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(number));
  return text;
}

std::optional<uint64_t> FromHex(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  return text.size() == kDigits && error == std::errc() && end == text.data() + text.size() ? std::optional(number)
                                                                                            : std::nullopt;
}

std::string SegmentName(uint64_t segment) { return Hex(segment) + std::string(kSuffix); }

std::string CursorText(uint64_t seq) {
  const std::string text = "moat-cursor 1 " + Hex(seq);
  const uint64_t crc = crc32_z(0, reinterpret_cast<const unsigned char*>(text.data()), text.size());
  return text + " " + Hex(crc) + "\n";
}

// Fewer bytes where it ends before.
Result<std::string> ReadFrom(int fd, uint64_t at, uint64_t size) {
  std::string bytes(size, '\0');
  size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t n = ::pread(fd, bytes.data() + got, bytes.size() - got, static_cast<off_t>(at + got));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      return FailErrno(errno, "the spool cannot be read");
    }
    if (n == 0) {
      break;
    }
    got += static_cast<size_t>(n);
  }
  bytes.resize(got);
  return bytes;
}

}  // namespace

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      errno = n == 0 ? ENOSPC : errno;
      return false;
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

Result<SpoolDir> SpoolDir::Open(const std::string& path) {
  std::error_code parents;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), parents);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return FailErrno(errno, "the spool " + path + " cannot be created");
  }
  SpoolDir dir;
  dir.dir_ = Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat stat{};
  if (!dir.dir_ || ::fstat(dir.dir_.get(), &stat) != 0) {
    return FailErrno(errno, "the spool " + path + " is not a directory that can be opened");
  }
  if (stat.st_uid != ::geteuid()) {
    return Fail(Code::kPermissionDenied, "the spool " + path + " belongs to user " + std::to_string(stat.st_uid) +
                                             " and not to moatd's, " + std::to_string(::geteuid()) +
                                             ": whoever can write there could forge findings");
  }
  if ((stat.st_mode & 07777) != 0700 && ::fchmod(dir.dir_.get(), 0700) != 0) {
    return FailErrno(errno, "the spool " + path + " cannot be closed to others");
  }
  dir.lock_ = Fd(::openat(dir.dir_.get(), "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, kOwnerOnly));
  if (!dir.lock_) {
    return FailErrno(errno, "the spool " + path + " cannot be written to");
  }
  if (::flock(dir.lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    return FailErrno(errno, "the spool " + path + " is used by another moatd or another sink");
  }
  return dir;
}

Result<std::vector<uint64_t>> SpoolDir::Segments() const {
  std::vector<uint64_t> segments;
  Fd copy(::openat(dir_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(copy ? ::fdopendir(copy.get()) : nullptr, &::closedir);
  if (!entries) {
    return FailErrno(errno, "the spool cannot be listed");
  }
  [[maybe_unused]] const int owned = copy.Release();
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(entries.get());
    if (entry == nullptr && errno != 0) {
      return FailErrno(errno, "the spool cannot be listed");
    }
    if (entry == nullptr) {
      break;
    }
    const std::string_view name = entry->d_name;
    if (name.size() == kDigits + kSuffix.size() && name.ends_with(kSuffix)) {
      if (const auto number = FromHex(name.substr(0, kDigits)); number && *number < kNoNumber) {
        segments.push_back(*number);
      }
    }
  }
  std::ranges::sort(segments);
  return segments;
}

Result<Fd> SpoolDir::Create(uint64_t segment) const {
  // Truncated: one of this number is what an earlier attempt to write it left.
  Fd fd(::openat(dir_.get(), SegmentName(segment).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
                 kOwnerOnly));
  if (!fd || ::fsync(dir_.get()) != 0) {
    return FailErrno(errno, "a segment of the spool cannot be created");
  }
  return fd;
}

Result<std::string> SpoolDir::Read(uint64_t segment, uint64_t at, uint64_t size) const {
  const Fd fd(::openat(dir_.get(), SegmentName(segment).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    return FailErrno(errno, SegmentName(segment) + " of the spool cannot be read");
  }
  return ReadFrom(fd.get(), at, size);
}

Result<uint64_t> SpoolDir::Size(uint64_t segment) const {
  struct stat stat{};
  if (::fstatat(dir_.get(), SegmentName(segment).c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0) {
    return FailErrno(errno, SegmentName(segment) + " of the spool cannot be looked at");
  }
  return S_ISREG(stat.st_mode) ? static_cast<uint64_t>(stat.st_size) : 0;
}

bool SpoolDir::Cut(uint64_t segment, uint64_t size) const {
  const Fd fd(::openat(dir_.get(), SegmentName(segment).c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
  return fd && ::ftruncate(fd.get(), static_cast<off_t>(size)) == 0 && ::fdatasync(fd.get()) == 0;
}

void SpoolDir::Remove(uint64_t segment) const { ::unlinkat(dir_.get(), SegmentName(segment).c_str(), 0); }

std::optional<uint64_t> SpoolDir::Cursor() const {
  const Fd fd(::openat(dir_.get(), "cursor", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  const std::string want = CursorText(0);
  const std::string text = fd ? ReadFrom(fd.get(), 0, want.size() + 1).value_or("") : "";  // unread all comes again
  const size_t at = want.find(' ', want.find(' ') + 1) + 1;
  const auto seq = text.size() == want.size() ? FromHex(std::string_view(text).substr(at, kDigits)) : std::nullopt;
  return seq && text == CursorText(*seq) ? seq : std::nullopt;
}

bool SpoolDir::SetCursor(uint64_t seq) const {
  const Fd fd(::openat(dir_.get(), "cursor.new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, kOwnerOnly));
  return fd && WriteAll(fd.get(), CursorText(seq)) && ::renameat(dir_.get(), "cursor.new", dir_.get(), "cursor") == 0;
}

bool SpoolDir::AddDead(std::string_view line, uint64_t max_bytes) const {
  const Fd fd(::openat(dir_.get(), "dead.json", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, kOwnerOnly));
  struct stat stat{};
  if (!fd || ::fstat(fd.get(), &stat) != 0 || static_cast<uint64_t>(stat.st_size) + line.size() + 1 > max_bytes) {
    return false;
  }
  if (!WriteAll(fd.get(), std::string(line) + "\n") || ::fdatasync(fd.get()) != 0) {
    [[maybe_unused]] const int back = ::ftruncate(fd.get(), stat.st_size);
    return false;
  }
  return true;
}

}  // namespace moat::sink
