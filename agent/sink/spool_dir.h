// SPDX-License-Identifier: Apache-2.0
// The files of a spool's directory (spool.h). One owner; its methods may be called by both threads of a sink, each for files of its own.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"

namespace moat::sink {

class SpoolDir {
 public:
  // Creates it where it is not there, and locks it.
  static Result<SpoolDir> Open(const std::string& path);

  Result<std::vector<uint64_t>> Segments() const;  // by number, in order
  Result<Fd> Create(uint64_t segment) const;  // to be written, its name flushed
  // The file from `at` on, up to `size` bytes in all; fewer when it ends before. kNotFound: it is gone.
  Result<std::string> Read(uint64_t segment, uint64_t at, uint64_t size) const;
  Result<uint64_t> Size(uint64_t segment) const;  // 0: it is no file
  bool Cut(uint64_t segment, uint64_t size) const;
  void Remove(uint64_t segment) const;

  std::optional<uint64_t> Cursor() const;  // nullopt: there is none, or it is damaged
  bool SetCursor(uint64_t seq) const;

  // Appends a line to dead.json, unless it is larger than max_bytes then.
  bool AddDead(std::string_view line, uint64_t max_bytes) const;

 private:
  Fd dir_, lock_;
};

// All of it. False: errno says why.
bool WriteAll(int fd, std::string_view bytes);

}  // namespace moat::sink
