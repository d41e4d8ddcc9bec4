// SPDX-License-Identifier: Apache-2.0
#include "agent/api/audit.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string_view>
#include <utility>

#include "agent/base/clock.h"
#include "agent/base/counters.h"
#include "agent/base/fd.h"
#include "agent/base/queue.h"
#include "agent/base/utf8.h"
#include "agent/base/worker.h"

namespace moat::api {
namespace {

constexpr size_t kQueueLines = 8192;
constexpr size_t kMaxText = 512;
constexpr mode_t kFileMode = 0640;
constexpr uint64_t kLookNs = 1'000'000'000;  // whether the file is still there

void AppendText(std::string& to, std::string_view key, std::string_view value) {
  if (value.empty()) {
    return;
  }
  to.append(",\"").append(key).append("\":\"");
  for (const char c : ToUtf8(value.substr(0, kMaxText))) {
    if (c == '"' || c == '\\') {
      to.push_back('\\');
      to.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
      to.append(escape.data());
    } else {
      to.push_back(c);
    }
  }
  to.push_back('"');
}

std::string Time(uint64_t unix_ns) {
  const auto seconds = static_cast<time_t>(unix_ns / 1'000'000'000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 40> text{};
  const size_t used = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text.data() + used, text.size() - used, ".%06uZ", static_cast<unsigned>(unix_ns % 1'000'000'000 / 1000));
  return text.data();
}

// One thread: the writer's.
class File {
 public:
  explicit File(config::AuditLog config) : config_(std::move(config)) {}

  Status Open() {
    fd_ = Fd(open(config_.file.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, kFileMode));
    struct stat info{};
    if (!fd_ || fstat(fd_.get(), &info) != 0) {
      return FailErrno(errno, "cannot write the audit file " + config_.file);
    }
    if (!S_ISREG(info.st_mode)) {
      return Fail(Code::kInvalidArgument, "the audit file " + config_.file + " exists and is no file");
    }
    bytes_ = static_cast<uint64_t>(info.st_size);
    char last = '\n';
    half_ = bytes_ > 0 && pread(fd_.get(), &last, 1, info.st_size - 1) == 1 && last != '\n';
    return {};
  }

  // False: the line is lost, and errno says why.
  bool Write(std::string line) {
    if (const uint64_t now_ns = MonotonicNs(); now_ns - looked_ns_ >= kLookNs) {
      looked_ns_ = now_ns;
      if (!IsStillThere()) {
        fd_.Reset();
      }
    }
    if (fd_ && bytes_ > 0 && bytes_ + line.size() > config_.max_bytes) {
      Rotate();
    }
    if (!fd_ && !Open()) {
      return false;
    }
    if (half_) {  // what a full disk left of another
      line.insert(0, "\n");
    }
    const ssize_t wrote = write(fd_.get(), line.data(), line.size());
    if (std::cmp_equal(wrote, line.size())) {
      bytes_ += line.size();
      half_ = false;
      return true;
    }
    const int error = wrote < 0 ? errno : ENOSPC;
    if (wrote > 0) {  // a part of a line is a lost line
      struct stat info{};
      if (fstat(fd_.get(), &info) != 0 || info.st_size < wrote || ftruncate(fd_.get(), info.st_size - wrote) != 0) {
        fd_.Reset();  // opened again, where a half line is ended
      }
    }
    errno = error;
    return false;
  }

 private:
  bool IsStillThere() const {
    struct stat ours{}, there{};
    return fd_ && fstat(fd_.get(), &ours) == 0 && lstat(config_.file.c_str(), &there) == 0 && ours.st_ino == there.st_ino &&
           ours.st_dev == there.st_dev;
  }

  std::string Numbered(uint32_t number) const { return config_.file + "." + std::to_string(number); }

  void Rotate() {
    for (uint32_t number = config_.keep; number > 1; --number) {
      rename(Numbered(number - 1).c_str(), Numbered(number).c_str());  // one that is not there yet need not move
    }
    if (rename(config_.file.c_str(), Numbered(1).c_str()) != 0) {
      spdlog::error("the audit file {} cannot be rotated and grows on: {}", config_.file, std::generic_category().message(errno));
      return;
    }
    fd_.Reset();
  }

  const config::AuditLog config_;
  Fd fd_;
  uint64_t bytes_ = 0;
  uint64_t looked_ns_ = 0;
  bool half_ = false;  // it ends within a line
};

class AuditImpl final : public Audit {
 public:
  explicit AuditImpl(const config::AuditLog& config) : file_(config), to_file_(!config.file.empty()), queue_(kQueueLines) {}
  ~AuditImpl() override {
    queue_.Close();
    worker_.Stop();
  }

  Status Begin() {
    if (to_file_) {
      MOAT_TRY(file_.Open());
    }
    worker_ = Worker("audit", [this](const std::stop_token&) { Run(); });
    return {};
  }

  void Write(AuditLine line) override {
    if (queue_.Push(std::move(line))) {
      dropped_.Add();
    }
  }

  AuditCounts Counts() const override { return {written_.Get(), dropped_.Get(), failed_.Get()}; }

 private:
  void Run() {
    bool complained = false;
    for (;;) {
      const std::optional<AuditLine> line = queue_.Pop(std::chrono::hours(1));
      if (!line) {
        if (queue_.closed()) {
          return;
        }
        continue;
      }
      const std::string text = ToJson(*line);
      if (!to_file_) {
        spdlog::info("audit: {}", text);
        written_.Add();
      } else if (file_.Write(text + "\n")) {
        written_.Add();
        complained = false;
      } else {
        failed_.Add();
        if (!std::exchange(complained, true)) {
          spdlog::error("the audit file cannot be written: {}", std::generic_category().message(errno));
        }
      }
    }
  }

  File file_;
  const bool to_file_;
  BoundedQueue<AuditLine> queue_;
  Counter written_, dropped_, failed_;
  Worker worker_;
};

}  // namespace

const char* CodeName(int code) {
  static constexpr std::array<const char*, 17> kNames = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return code >= 0 && static_cast<size_t>(code) < kNames.size() ? kNames[static_cast<size_t>(code)] : "UNKNOWN";
}

std::string ToJson(const AuditLine& line) {
  static constexpr std::array<const char*, 3> kDecisions = {"allowed", "denied", "closed"};
  const bool call = line.event == AuditLine::Event::kCall;
  std::string out = "{\"time\":\"" + Time(line.unix_ns) + "\",\"event\":\"" + (call ? "call" : "connection") + "\"";
  AppendText(out, "decision", kDecisions[static_cast<size_t>(line.decision)]);
  AppendText(out, "peer", line.peer);
  AppendText(out, "identity", line.identity);
  AppendText(out, "role", line.role);
  AppendText(out, "method", line.method);
  AppendText(out, "reason", line.reason);
  AppendText(out, "detail", line.detail);
  if (line.times > 1) {
    out += ",\"times\":" + std::to_string(line.times);
  }
  if (call) {
    AppendText(out, "code", CodeName(line.code));
    out += ",\"duration_us\":" + std::to_string(line.duration_ns / 1000);
  }
  return out + "}";
}

Result<std::unique_ptr<Audit>> Audit::Start(const config::AuditLog& config) {
  auto audit = std::make_unique<AuditImpl>(config);
  MOAT_TRY(audit->Begin());
  return audit;
}

}  // namespace moat::api
