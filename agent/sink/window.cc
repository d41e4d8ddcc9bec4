// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/window.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "agent/sink/record.h"
#include "agent/sink/spool_dir.h"

namespace moat::sink {
namespace {

using std::chrono::steady_clock;

// More than a receiver has that it has not written: in its socket, of which alone the sender hears, and in its queue.
constexpr uint64_t kUnread = 8u << 20;

std::string ReadFd(int fd, uint64_t bytes) {
  std::string text(bytes, '\0');
  size_t got = 0;
  while (got < text.size()) {
    const ssize_t more = ::pread(fd, text.data() + got, text.size() - got, static_cast<off_t>(got));
    if (more <= 0) {
      break;
    }
    got += static_cast<size_t>(more);
  }
  text.resize(got);
  return text;
}

// Calls `take` with each good record from `at` on until it says no; where it ended.
template <typename Take>
size_t Walk(std::string_view text, size_t at, Take take) {
  while (at < text.size()) {
    Record record = ReadRecord(text.substr(at), true);
    if (record.is != Record::Is::kGood) {  // damaged, or cut when its writer was killed
      at = NextRecord(text, at + 1);
      continue;
    }
    at += record.bytes;
    if (!take(std::move(record))) {
      break;
    }
  }
  return at;
}

}  // namespace

Status Window::Open() {
  if (files_[0].fd && files_[1].fd) {
    return {};
  }
  std::array<uint64_t, 2> next{};  // behind the last record
  for (size_t i = 0; i < files_.size(); ++i) {
    const std::string path = directory_ + "/sent." + std::to_string(i);
    File& file = files_[i];
    file.fd = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
    struct stat stat{};
    if (!file.fd || ::fstat(file.fd.get(), &stat) != 0) {
      auto failed = FailErrno(errno, path + " cannot be opened");
      file.fd.Reset();
      return failed;
    }
    file.bytes = static_cast<uint64_t>(std::max<off_t>(stat.st_size, 0));
    file.first = steady_clock::now();
    if (file.bytes > options_.bytes + kMaxBody) {  // none of ours
      file.bytes = ::ftruncate(file.fd.get(), 0) == 0 ? 0 : file.bytes;
    }
    Walk(ReadFd(file.fd.get(), file.bytes), 0, [&](const Record& record) {
      next[i] = record.seq + 1;
      return true;
    });
  }
  newest_ = next[1] > next[0] ? 1 : 0;
  seq_ = next[newest_];
  return {};
}

void Window::Roll() {
  newest_ = 1 - newest_;
  File& file = files_[newest_];
  if (::ftruncate(file.fd.get(), 0) == 0) {
    file.bytes = 0;
  }
}

void Window::Add(std::span<const Message> messages) {
  std::string records;
  for (const Message& message : messages) {
    AppendRecord(records, seq_++, message);
  }
  if (files_[newest_].bytes > 0 && files_[newest_].bytes + records.size() > options_.bytes / 2) {
    Roll();
  }
  File& file = files_[newest_];
  if (file.bytes == 0) {
    file.first = steady_clock::now();
  }
  if (WriteAll(file.fd.get(), records)) {
    file.bytes += records.size();
  } else {
    unkept_ += messages.size();  // a part may be there: readers skip what is not whole
    struct stat stat{};
    file.bytes = ::fstat(file.fd.get(), &stat) == 0 ? static_cast<uint64_t>(stat.st_size) : file.bytes;
  }
}

void Window::SeenAlive() {
  const File& file = files_[newest_];
  if (file.bytes > std::min<uint64_t>(kUnread, options_.bytes / 4) && steady_clock::now() - file.first > options_.keep_for) {
    Roll();
  }
}

void Window::Clear() {
  for (File& file : files_) {
    if (file.fd && ::ftruncate(file.fd.get(), 0) == 0) {
      file.bytes = 0;
    }
  }
}

void Window::Rewind() {
  reading_ = 0;
  at_ = 0;
  text_.clear();
}

std::vector<Message> Window::Next(size_t max_bytes) {
  std::vector<Message> messages;
  while (messages.empty() && reading_ < files_.size()) {
    if (at_ == 0) {
      const File& file = files_[reading_ == 0 ? 1 - newest_ : newest_];
      text_ = ReadFd(file.fd.get(), file.bytes);
    }
    size_t bytes = 0;
    at_ = Walk(text_, at_, [&](Record record) {
      bytes += record.bytes;
      messages.push_back(std::move(record.message));
      return bytes < max_bytes;
    });
    if (at_ >= text_.size()) {
      ++reading_;
      at_ = 0;
      text_ = {};
    }
  }
  return messages;
}

}  // namespace moat::sink
