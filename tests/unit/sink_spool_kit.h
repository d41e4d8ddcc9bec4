// SPDX-License-Identifier: Apache-2.0
// A spool in a directory that goes, filled with numbered messages and emptied again.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/sink/spool.h"
#include "tests/unit/sink_tools.h"

namespace moat::sink {

class SinkSpoolTest : public ::testing::Test {
 protected:
  std::unique_ptr<Spool> Open(const SpoolOptions& options = {}) { return OpenAt(dir_ / "spool", options); }
  static std::unique_ptr<Spool> OpenAt(const std::string& path, const SpoolOptions& options = {}) {
    auto spool = Spool::Open(path, options);
    EXPECT_TRUE(spool) << spool.error().message;
    return spool ? std::move(*spool) : nullptr;
  }
  static void Append(Spool& spool, uint64_t from, uint64_t to, size_t bytes = 20) {
    for (uint64_t i = from; i < to; ++i) {
      const Message message = test::MakeMessage(i, bytes);
      ASSERT_EQ(spool.Append({&message, 1}).value_or(0), 1u);
    }
  }
  static std::vector<Message> Take(Spool& spool, size_t messages, size_t bytes = 1 << 20) {
    auto taken = spool.Take(messages, bytes);
    EXPECT_TRUE(taken) << taken.error().message;
    return taken.value_or(std::vector<Message>());
  }
  // All that is left, in order, by revision.
  static std::vector<uint64_t> Drain(Spool& spool, size_t batch = 7) {
    std::vector<uint64_t> numbers;
    for (auto some = Take(spool, batch); !some.empty(); some = Take(spool, batch)) {
      for (const Message& message : some) {
        const Message want = test::MakeMessage(message.revision, message.text.size());
        EXPECT_EQ(message.text, want.text);
        EXPECT_EQ(message.id, want.id);
        EXPECT_EQ(message.kind, want.kind);
        EXPECT_EQ(message.severity, want.severity);
        EXPECT_EQ(message.time_unix_ns, want.time_unix_ns);
        numbers.push_back(message.revision);
      }
      spool.Settle(some.size());
    }
    return numbers;
  }
  std::vector<std::string> SegmentFiles() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_ / "spool")) {
      if (entry.path().extension() == ".seg") {
        names.insert(entry.path().string());
      }
    }
    return {names.begin(), names.end()};
  }

  test::TempDir dir_;
};

inline std::vector<uint64_t> Range(uint64_t from, uint64_t to) {
  std::vector<uint64_t> numbers;
  for (; from < to; ++from) {
    numbers.push_back(from);
  }
  return numbers;
}

}  // namespace moat::sink
