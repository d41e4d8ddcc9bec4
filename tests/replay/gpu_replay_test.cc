// SPDX-License-Identifier: Apache-2.0
// What a real driver was asked by a real program: the records of tests/gpu/run.sh on an NVIDIA H200 (driver 580.159.04, open modules, kernel
// 6.18 by tracepoints, CUDA 13 and PyTorch 2.11: tests/gpu/cuda.py), without those of other domains, and with another number of the GPU.
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent/decode/decode.h"
#include "agent/probe/record.h"

namespace moat {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

struct Decoded final : probe::RecordSink {
  std::vector<event::GpuCall> calls;
  size_t opens = 0, others = 0;
  void OnRecord(std::span<const std::byte> record) override {
    event::Event event;
    if (decode::Decode(record, event) != decode::Outcome::kOk) {
      ++others;
    } else if (const auto* call = std::get_if<event::GpuCall>(&event.body)) {
      calls.push_back(*call);
    } else {
      ++opens;
    }
  }
};

class GpuReplayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = testing::TempDir() + "/moat-gpu-replay-" + std::to_string(getpid());
    const std::string command = "gzip -dc " MOAT_SOURCE_DIR "/tests/gpu/recordings/h200-580.159.04.moatrec.gz >" + path;
    ASSERT_EQ(std::system(command.c_str()), 0);
    const auto count = probe::Replay(path, all_);
    unlink(path.c_str());
    ASSERT_TRUE(count) << count.error().message;
    ASSERT_EQ(*count, 925u);
  }
  Decoded all_;
};

TEST_F(GpuReplayTest, EveryCallIsKnownButOneControl) {
  EXPECT_EQ(all_.others, 0u);
  EXPECT_EQ(all_.opens, 89u);
  ASSERT_EQ(all_.calls.size(), 836u);
  std::set<uint32_t> unnamed, unpublished;
  for (const event::GpuCall& call : all_.calls) {
    EXPECT_STRNE(call.verb, "") << call.number;
    EXPECT_EQ(call.driver_version, 580'159'004u);
    if (call.completeness != event::GpuCompleteness::kFull) {
      (std::string_view(call.name) == "NV_ESC_RM_CONTROL" ? unnamed : unpublished).insert(call.detail);
    }
  }
  EXPECT_THAT(unnamed, ElementsAre(0x20810108u)) << "of class 0x2081, whose controls nobody publishes";
  for (const uint32_t control : unpublished) {
    EXPECT_NE(control & 0x8000, 0u) << "a control that the firmware alone knows: " << control;
  }
  EXPECT_EQ(unpublished.size(), 8u);
}

// A training step is no attack.
TEST_F(GpuReplayTest, NothingOfItIsSuspicious) {
  for (const event::GpuCall& call : all_.calls) {
    EXPECT_EQ(call.categories, 0u) << call.name;
    EXPECT_EQ(call.result, 0) << call.name;
    EXPECT_TRUE(!call.status_known || call.status == 0) << call.name;
  }
}

TEST_F(GpuReplayTest, MemoryIsWhatTheProgramAskedFor) {
  std::map<std::string, uint64_t> most;  // by object: the largest piece
  uint64_t known = 0, pinned = 0;
  for (const event::GpuCall& call : all_.calls) {
    if (std::string_view(call.verb) == "ALLOC") {
      most[call.object] = std::max(most[call.object], call.bytes);
      pinned += call.location == event::GpuLocation::kUser ? call.bytes : 0;
    }
    known += call.status_known ? 1 : 0;
  }
  EXPECT_EQ(most["memory.local"], uint64_t{512} << 20) << "cuMemAlloc";
  EXPECT_EQ(most["memory.user"], uint64_t{64} << 20) << "cuMemHostAlloc";
  EXPECT_GE(pinned, uint64_t{80} << 20) << "and what was registered";
  EXPECT_EQ(known, 830u) << "the driver's own answer; six calls have none";
}

}  // namespace
}  // namespace moat
