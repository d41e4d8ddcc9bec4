// SPDX-License-Identifier: Apache-2.0
// Recorded ring bytes give the expected events, without a kernel; hostile files give an error, never a wrong event.
//
// After a change of bpf/abi, record anew (as root):
//   MOAT_RECORD=tests/replay/data/all_domains.moatrec build/bin/moat_bpf_tests --gtest_filter=RecordTest.*
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "agent/decode/decode.h"
#include "agent/probe/record.h"
#include "bpf/abi/event.h"
#include "bpf/abi/file.h"

namespace moat {
namespace {

using event::Event;
using event::Kind;

const std::string kRecording = MOAT_SOURCE_DIR "/tests/replay/data/all_domains.moatrec";

struct Collect final : probe::RecordSink {
  std::vector<Event> events;
  std::map<decode::Outcome, int> refused;
  std::vector<std::vector<std::byte>> raw;
  void OnRecord(std::span<const std::byte> record) override {
    raw.emplace_back(record.begin(), record.end());
    Event event;
    if (const decode::Outcome outcome = decode::Decode(record, event); outcome == decode::Outcome::kOk) {
      events.push_back(event);
    } else {
      ++refused[outcome];
    }
  }
  std::vector<Event> Of(Kind kind) const {
    std::vector<Event> out;
    for (const Event& event : events) {
      if (event.header.kind == kind) {
        out.push_back(event);
      }
    }
    return out;
  }
};

class ReplayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto count = probe::Replay(kRecording, all_);
    ASSERT_TRUE(count) << count.error().message;
    ASSERT_TRUE(all_.refused.empty()) << all_.refused.size()
                                      << " records refused, first reason: " << decode::OutcomeName(all_.refused.begin()->first)
                                      << "; see the head of this file";
    ASSERT_EQ(all_.events.size(), *count);
  }
  Collect all_;
};

// What the workload of tests/bpf/probe_record_bpf_test.cc did, number by number.
TEST_F(ReplayTest, Process) {
  const auto forks = all_.Of(Kind::kFork), execs = all_.Of(Kind::kExec), exits = all_.Of(Kind::kExit);
  ASSERT_EQ(forks.size(), 1u);
  ASSERT_EQ(execs.size(), 1u);
  ASSERT_EQ(exits.size(), 2u);
  const event::ProcessKey child = std::get<event::Fork>(forks[0].body).child;
  EXPECT_EQ(execs[0].header.process, child);
  EXPECT_EQ(exits[0].header.process, child);
  EXPECT_EQ(exits[1].header.process, forks[0].header.process);
  const auto& image = *std::get<event::Exec>(execs[0].body).image;
  EXPECT_EQ(image.filename, "/bin/sh");
  EXPECT_EQ(image.args, (std::vector<std::string>{"sh", "-c", "exit 7"}));
  EXPECT_EQ(image.parent, forks[0].header.process);
  EXPECT_EQ(std::get<event::Exit>(exits[0].body).code, 7u);
  EXPECT_EQ(std::get<event::Exit>(exits[1].body).code, 0u);
  EXPECT_EQ(execs[0].header.labels, 1u) << "inherited from the parent that read the asset";
}

TEST_F(ReplayTest, File) {
  const auto opens = all_.Of(Kind::kFileOpen), maps = all_.Of(Kind::kFileMap), tampers = all_.Of(Kind::kFileTamper),
             sums = all_.Of(Kind::kFileIo);
  ASSERT_EQ(opens.size(), 1u);
  const auto& open = std::get<event::FileOpen>(opens[0].body);
  EXPECT_EQ(open.name.view(), "model.bin");
  EXPECT_EQ(open.size, 10000u);
  EXPECT_EQ(open.asset, 0u);
  ASSERT_EQ(maps.size(), 1u);
  EXPECT_EQ(std::get<event::FileMap>(maps[0].body).length, 8192u);
  EXPECT_EQ(std::get<event::FileMap>(maps[0].body).inode, open.inode);
  ASSERT_EQ(tampers.size(), 2u);
  EXPECT_EQ(std::get<event::FileTamper>(tampers[0].body).op, event::TamperOp::kWrite);
  EXPECT_EQ(std::get<event::FileTamper>(tampers[0].body).bytes, 5u);
  EXPECT_EQ(std::get<event::FileTamper>(tampers[1].body).op, event::TamperOp::kRename);
  EXPECT_EQ(std::get<event::FileTamper>(tampers[1].body).inode, open.inode);
  ASSERT_EQ(sums.size(), 1u);
  const auto& io = std::get<event::FileIo>(sums[0].body);
  EXPECT_TRUE(io.last);
  EXPECT_EQ(io.bytes_read, 7000u);
  EXPECT_EQ(io.reads, 2u);
  EXPECT_EQ(io.bytes_written, 5u);
  EXPECT_EQ(io.writes, 1u);
}

TEST_F(ReplayTest, Gpu) {
  const auto opens = all_.Of(Kind::kGpuOpen), calls = all_.Of(Kind::kGpuIoctl);
  ASSERT_EQ(opens.size(), 1u);
  EXPECT_EQ(std::get<event::GpuOpen>(opens[0].body).rdev, 1u << 20 | 3u) << "/dev/null";
  ASSERT_EQ(calls.size(), 4u) << "three of the watched command, the first of the other";
  int watched = 0, first = 0;
  for (const Event& call : calls) {
    const auto& ioctl = std::get<event::GpuCall>(call.body);
    EXPECT_EQ(ioctl.size, 16u);
    EXPECT_LT(ioctl.result, 0) << "/dev/null knows no command";
    const uint32_t expected[] = {1, 2, 3, 4};
    EXPECT_EQ(std::memcmp(ioctl.params.data(), expected, sizeof(expected)), 0);
    watched += ioctl.watched;
    first += ioctl.first;
  }
  EXPECT_EQ(watched, 3);
  EXPECT_EQ(first, 2);
}

TEST_F(ReplayTest, Net) {
  const auto connects = all_.Of(Kind::kNetConnect), listens = all_.Of(Kind::kNetListen), accepts = all_.Of(Kind::kNetAccept),
             closes = all_.Of(Kind::kNetClose);
  ASSERT_EQ(connects.size(), 1u);
  ASSERT_EQ(listens.size(), 1u);
  ASSERT_EQ(accepts.size(), 1u);
  const auto& connect = std::get<event::Net>(connects[0].body);
  EXPECT_EQ(connect.ep.protocol, IPPROTO_TCP);
  EXPECT_FALSE(connect.ep.ipv6);
  EXPECT_EQ(connect.ep.remote.bytes[0], 127);
  EXPECT_EQ(connect.ep.remote.port, std::get<event::Net>(listens[0].body).ep.local.port);
  EXPECT_EQ(connects[0].header.labels, 1u) << "the sender had read the asset";
  uint64_t out = 0, in = 0;
  for (const Event& close : closes) {
    out += std::get<event::NetTotals>(close.body).bytes_out;
    in += std::get<event::NetTotals>(close.body).bytes_in;
  }
  EXPECT_EQ(out, 700u);
  EXPECT_EQ(in, 700u);
}

class HostileFile : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("moat-replay-" + std::to_string(getpid()));
    std::ifstream file(kRecording, std::ios::binary);
    good_.assign(std::istreambuf_iterator<char>(file), {});
    ASSERT_GT(good_.size(), 100u);
  }
  void TearDown() override { std::filesystem::remove(path_); }
  Result<size_t> Play(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    got_ = {};
    return probe::Replay(path_, got_);
  }
  std::filesystem::path path_;
  std::string good_;
  Collect got_;
};

TEST_F(HostileFile, TheAllowedCaseWorks) {
  const auto count = Play(good_);
  ASSERT_TRUE(count) << count.error().message;
  EXPECT_EQ(got_.raw.size(), *count);
}

TEST_F(HostileFile, CutAnywhereItGivesWholeRecordsAndAnError) {
  std::vector<size_t> ends = {8};  // where a cut leaves a whole file
  for (size_t at = 8; at + 4 <= good_.size();) {
    uint32_t length = 0;
    std::memcpy(&length, good_.data() + at, 4);  // the tests run on little-endian machines
    at += 4 + length;
    ends.push_back(at);
  }
  ASSERT_EQ(ends.back(), good_.size());
  for (size_t cut = 0; cut < good_.size(); cut += cut < 200 ? 1 : 211) {
    const auto count = Play(good_.substr(0, cut));
    const bool whole = std::ranges::find(ends, cut) != ends.end();
    EXPECT_EQ(count.has_value(), whole) << "cut at " << cut;
    size_t expected = 0;
    while (expected + 1 < ends.size() && ends[expected + 1] <= cut) {
      ++expected;
    }
    EXPECT_EQ(got_.raw.size(), cut < 8 ? 0 : expected) << "cut at " << cut;
  }
}

TEST_F(HostileFile, ALyingLengthIsRefused) {
  for (const uint32_t length : {0xffffffffu, 0x7fffffffu, 65537u}) {
    std::string bytes = good_;
    std::memcpy(bytes.data() + 8, &length, 4);
    const auto count = Play(bytes);
    ASSERT_FALSE(count);
    EXPECT_EQ(count.error().code, Code::kDataLoss) << count.error().message;
    EXPECT_TRUE(got_.raw.empty());
  }
}

TEST_F(HostileFile, AnotherKindOfFileIsRefused) {
  EXPECT_EQ(Play("").error().code, Code::kInvalidArgument);
  EXPECT_EQ(Play("moatrec2").error().code, Code::kInvalidArgument);
  EXPECT_EQ(Play(std::string(1000, '\0')).error().code, Code::kInvalidArgument);
  EXPECT_EQ(probe::Replay("/nonexistent/recording", got_).error().code, Code::kNotFound);
}

// Sizes inside the records that do not agree with the bytes that are there.
TEST_F(HostileFile, RecordsWithLyingHeadersAreRefusedByTheDecoder) {
  ASSERT_TRUE(Play(good_));
  const auto records = got_.raw;
  for (const auto& record : records) {
    for (const uint32_t claimed :
         {0u, 1u, static_cast<uint32_t>(record.size()) - 1, static_cast<uint32_t>(record.size()) + 1, 0xffffffffu}) {
      auto bad = record;
      std::memcpy(bad.data() + offsetof(moat_hdr, size), &claimed, sizeof(claimed));
      Event event;
      EXPECT_EQ(decode::Decode(bad, event), decode::Outcome::kSize);
    }
    auto cut = record;
    cut.resize(record.size() - 8);
    Event event;
    EXPECT_NE(decode::Decode(cut, event), decode::Outcome::kOk);
    auto old = record;
    const uint16_t version = MOAT_ABI_VERSION + 1;
    std::memcpy(old.data() + offsetof(moat_hdr, version), &version, sizeof(version));
    EXPECT_EQ(decode::Decode(old, event), decode::Outcome::kVersion);
  }
}

}  // namespace
}  // namespace moat
