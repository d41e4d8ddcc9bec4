// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/record.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

namespace moat::probe {
namespace {

constexpr std::array<char, 8> kMagic = {'m', 'o', 'a', 't', 'r', 'e', 'c', '1'};

uint32_t LoadLittle(const unsigned char* bytes) {
  return bytes[0] | uint32_t{bytes[1]} << 8 | uint32_t{bytes[2]} << 16 | uint32_t{bytes[3]} << 24;
}

}  // namespace

Result<std::unique_ptr<Recorder>> Recorder::Create(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  if (file == nullptr) {
    return FailErrno(errno, "record to " + path);
  }
  std::unique_ptr<Recorder> recorder(new Recorder(file));
  recorder->failed_ = std::fwrite(kMagic.data(), kMagic.size(), 1, file) != 1;
  return recorder;
}

void Recorder::OnRecord(std::span<const std::byte> record) {
  const auto size = static_cast<uint32_t>(record.size());
  const unsigned char length[4] = {static_cast<unsigned char>(size), static_cast<unsigned char>(size >> 8),
                                   static_cast<unsigned char>(size >> 16), static_cast<unsigned char>(size >> 24)};
  failed_ |= size > kMaxRecordBytes || !file_ || std::fwrite(length, sizeof(length), 1, file_.get()) != 1 ||
             (size > 0 && std::fwrite(record.data(), size, 1, file_.get()) != 1);
}

Status Recorder::Close() {
  std::FILE* file = file_.release();
  if (file == nullptr || std::fclose(file) != 0 || failed_) {
    return Fail(Code::kDataLoss, "the recording is not complete (disk full?)");
  }
  return {};
}

Result<size_t> Replay(const std::string& path, RecordSink& sink) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) {
    return FailErrno(errno, "replay " + path);
  }
  std::array<char, kMagic.size()> magic{};
  if (std::fread(magic.data(), magic.size(), 1, file.get()) != 1 || magic != kMagic) {
    return Fail(Code::kInvalidArgument, path + ": not a recording of moat (it begins with \"moatrec1\")");
  }
  std::vector<std::byte> record;
  unsigned char length[4];
  for (size_t count = 0;; ++count) {
    const auto fault = [&](const char* what) {
      return Fail(Code::kDataLoss, path + ": record " + std::to_string(count) + ": " + what);
    };
    const size_t got = std::fread(length, 1, sizeof(length), file.get());
    if (got == 0 && std::feof(file.get())) {
      return count;
    }
    if (got != sizeof(length)) {
      return fault("the file ends inside its length");
    }
    const uint32_t size = LoadLittle(length);
    if (size > kMaxRecordBytes) {
      return fault("longer than any record");
    }
    record.resize(size);
    if (size > 0 && std::fread(record.data(), size, 1, file.get()) != 1) {
      return fault("the file ends inside it");
    }
    sink.OnRecord(record);
  }
}

}  // namespace moat::probe
