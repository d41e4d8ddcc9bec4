// SPDX-License-Identifier: Apache-2.0
// Records in a file, so that decoding and all that follows can be played without a kernel.
//
// Layout: 8 bytes "moatrec1", then per record a little-endian u32 length and that many bytes.
#pragma once

#include <cstddef>
#include <cstdio>
#include <memory>
#include <span>
#include <string>

#include "agent/base/error.h"
#include "agent/probe/probe.h"

namespace moat::probe {

constexpr size_t kMaxRecordBytes = 65536;  // far above any struct of bpf/abi

// Writes what passes. One thread.
class Recorder final : public RecordSink {
 public:
  static Result<std::unique_ptr<Recorder>> Create(const std::string& path);
  void OnRecord(std::span<const std::byte> record) override;
  // Flushes; an error of any write so far is told here.
  Status Close();

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  explicit Recorder(std::FILE* file) : file_(file) {}
  std::unique_ptr<std::FILE, CloseFile> file_;
  bool failed_ = false;
};

// Gives every record of a file to sink, as it stands: what is in it is the decoder's to doubt. Returns how many. Records before
// a fault in the file have been given when the error returns.
Result<size_t> Replay(const std::string& path, RecordSink& sink);

}  // namespace moat::probe
