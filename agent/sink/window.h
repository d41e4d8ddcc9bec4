// SPDX-License-Identifier: Apache-2.0
// Messages that were delivered and that a receiver may lose all the same, because its protocol has no acknowledgements: the newest ones, in two
// files sent.0 and sent.1 (0600, records as in record.h) beside a spool's segments, so that they outlive this process. One thread; whoever
// opens it must hold the spool. Written without a flush: after power loss the spool's cursor is as old as this.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"
#include "agent/sink/sink.h"

namespace moat::sink {

struct WindowOptions {
  size_t bytes = 32u << 20;  // of both files; half of it is always kept: above what a receiver's socket and its queue hold
  std::chrono::milliseconds keep_for{
      60'000};  // by then a receiver that lives has written all but the newest 8 MiB, or a quarter of bytes
};

class Window {
 public:
  Window(std::string directory, const WindowOptions& options) : directory_(std::move(directory)), options_(options) {}

  Status Open();  // with what another run left; again is free
  bool empty() const { return files_[0].bytes + files_[1].bytes == 0; }
  // What was just delivered. What cannot be written is counted.
  void Add(std::span<const Message> messages);
  // The receiver's host lives: of what it got long ago, what is more than a receiver can hold unread is forgotten. Not all of it: that the host
  // has it does not say that the receiver has read it.
  void SeenAlive();
  void Clear();

  // All of it, the oldest first, in portions: Rewind(), then Next() until it is empty. Nothing may be added in between.
  void Rewind();
  std::vector<Message> Next(size_t max_bytes);

  uint64_t unkept() const { return unkept_; }  // messages that the disk did not take

 private:
  struct File {
    Fd fd;
    uint64_t bytes = 0;
    std::chrono::steady_clock::time_point first{};
  };
  void Roll();

  const std::string directory_;
  const WindowOptions options_;
  std::array<File, 2> files_;
  size_t newest_ = 0;  // the file that is written to
  uint64_t seq_ = 0;  // of the next message
  size_t reading_ = 2, at_ = 0;  // files done with, bytes of the next one
  std::string text_;  // of the file that is being read
  uint64_t unkept_ = 0;
};

}  // namespace moat::sink
