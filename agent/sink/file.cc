// SPDX-License-Identifier: Apache-2.0
// A file with a message a line (JSON lines, with encoding ocsf), mode 0640. When it would outgrow its size it becomes path.1, that path.2, and
// so on; when something else moved it away (logrotate), a new one is made. A line that a crash left half is ended, so that the next one
// is whole.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include "agent/base/fd.h"
#include "agent/sink/spool_dir.h"
#include "agent/sink/transports.h"

namespace moat::sink {
namespace {

constexpr mode_t kMode = 0640;

class File final : public Transport {
 public:
  explicit File(config::FileSink config) : config_(std::move(config)) {}
  const char* name() const override { return "file"; }
  Delivery Send(std::span<const Message> messages) override;

 private:
  Status Open();
  Status Rotate();
  bool IsStillThere() const;
  Status Write(const std::string& lines);
  std::string Older(uint32_t n) const { return config_.path + (n == 0 ? "" : "." + std::to_string(n)); }

  const config::FileSink config_;
  Fd fd_;
  uint64_t size_ = 0;
};

Status File::Open() {
  fd_.Reset();
  std::error_code parents;
  std::filesystem::create_directories(std::filesystem::path(config_.path).parent_path(), parents);
  constexpr int kFlags =
      O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;  // not blocking: it may be a pipe that nobody reads
  Fd fd(::open(config_.path.c_str(), kFlags | O_CREAT | O_EXCL, kMode));
  if (fd) {
    ::fchmod(fd.get(), kMode);  // whatever the umask is
  } else if (errno == EEXIST) {
    fd = Fd(::open(config_.path.c_str(), kFlags));
  }
  struct stat stat{};
  if (!fd || ::fstat(fd.get(), &stat) != 0) {
    return FailErrno(errno, config_.path + " cannot be opened");
  }
  if (!S_ISREG(stat.st_mode)) {
    return Fail(Code::kFailedPrecondition, config_.path + " is not a regular file");
  }
  size_ = static_cast<uint64_t>(stat.st_size);
  fd_ = std::move(fd);
  char last = '\n';
  if (size_ > 0 && ::pread(fd_.get(), &last, 1, stat.st_size - 1) == 1 && last != '\n') {
    if (const Status ended = Write("\n"); !ended) {
      fd_.Reset();  // or the next line would go on where the half one ends
      return ended;
    }
  }
  return {};
}

bool File::IsStillThere() const {
  struct stat ours{}, there{};
  return fd_ && ::fstat(fd_.get(), &ours) == 0 && ::lstat(config_.path.c_str(), &there) == 0 && ours.st_ino == there.st_ino &&
         ours.st_dev == there.st_dev;
}

Status File::Rotate() {
  if (config_.keep == 0) {
    if (::unlink(config_.path.c_str()) != 0) {
      return FailErrno(errno, config_.path + " cannot be removed");
    }
    return Open();
  }
  for (uint32_t n = config_.keep; n > 0; --n) {
    if (::rename(Older(n - 1).c_str(), Older(n).c_str()) != 0 && errno != ENOENT) {
      return FailErrno(errno, Older(n - 1) + " cannot become " + Older(n));
    }
  }
  return Open();
}

Status File::Write(const std::string& lines) {
  if (WriteAll(fd_.get(), lines) && ::fdatasync(fd_.get()) == 0) {
    size_ += lines.size();
    return {};
  }
  auto failed = FailErrno(errno, config_.path + " cannot be written");
  struct stat stat{};
  const bool known =
      ::fstat(fd_.get(), &stat) == 0 && std::cmp_greater_equal(stat.st_size, size_);  // else somebody has cut it: never longer
  if (!known || ::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) {
    fd_.Reset();  // opened again, where a half line is ended
  }
  return failed;
}

Delivery File::Send(std::span<const Message> messages) {
  Delivery delivery;
  const auto retry = [&](const Status& why) {
    delivery.outcome = Outcome::kRetry;
    delivery.why = why.error().message;
    return delivery;
  };
  if (!IsStillThere()) {
    if (const Status opened = Open(); !opened) {
      return retry(opened);
    }
  }
  while (delivery.delivered < messages.size()) {
    std::string lines;
    size_t count = 0;
    for (const Message& message : messages.subspan(delivery.delivered)) {
      if (size_ + lines.size() + message.text.size() + 1 > config_.max_bytes && (size_ > 0 || count > 0)) {
        break;
      }
      lines += message.text;
      lines += '\n';
      ++count;
    }
    const Status done = count > 0 ? Write(lines) : Rotate();
    if (!done) {
      return retry(done);
    }
    delivery.delivered += count;
  }
  return delivery;
}

}  // namespace

Result<std::unique_ptr<Transport>> MakeFile(const config::FileSink& config) { return std::make_unique<File>(config); }

}  // namespace moat::sink
