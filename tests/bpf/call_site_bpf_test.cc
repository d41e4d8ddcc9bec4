// SPDX-License-Identifier: Apache-2.0
// The kernel's machine code, read, and a call found in it: NVIDIA's own driver where there is one, else the stand-in of the guests.
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>

#include "agent/probe/call_site.h"
#include "agent/probe/domains.h"
#include "tests/bpf/fixture.h"

namespace moat::test {
namespace {

using ::testing::HasSubstr;

class CallSiteBpfTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    config().file = config().net = false;
    domains_ = std::make_unique<probe::Domains>(config());
    auto maps = domains_->MakeMaps(config());
    ASSERT_TRUE(maps) << maps.error().message;
    maps_ = std::move(*maps);
    maps_->control()->agent_pid = static_cast<uint32_t>(getpid());
    domains_->Load(*maps_);
  }
  void TearDown() override {
    domains_.reset();
    maps_.reset();
    BpfTest::TearDown();
  }
  probe::ReadText Reader() {
    probe::Domain& gpu = (*domains_)["gpu"];
    return probe::TextReader(gpu.Program("moat_gpu_text"), gpu.MapFd("moat_gpu_text_map"));
  }

  std::unique_ptr<probe::SharedMaps> maps_;
  std::unique_ptr<probe::Domains> domains_;
};

TEST_F(CallSiteBpfTest, ReadsTheKernelsOwnAndWhatIsNoMachineCodeIsAnError) {
  uint64_t start = 0;
  std::ifstream symbols("/proc/kallsyms");
  for (std::string line; std::getline(symbols, line);) {
    if (line.ends_with(" T _stext")) {
      start = std::stoull(line, nullptr, 16);
    }
  }
  ASSERT_NE(start, 0u) << "the kernel does not tell where its code lies";
  const auto code = Reader()(start, 4096);
  ASSERT_TRUE(code) << code.error().message;
  EXPECT_EQ(code->size(), 4096u);
  EXPECT_TRUE(std::ranges::any_of(*code, [](uint8_t byte) { return byte != 0; }));
  const auto nothing = Reader()(0x1000, 16);
  ASSERT_FALSE(nothing);
  EXPECT_THAT(nothing.error().message, HasSubstr("cannot be read: "));
}

TEST_F(CallSiteBpfTest, TheResourceManagerIsCalledByWhomItIsKnownToBe) {
  constexpr std::array<std::string_view, 2> kCallers = {"nvidia_ioctl", "nvidia_unlocked_ioctl"};
  std::ifstream symbols("/proc/kallsyms");
  const auto sites = probe::FindCalls(symbols, "rm_ioctl", kCallers, Reader());
  if (!sites && sites.error().code == Code::kNotFound && sites.error().message.starts_with("no module has")) {
    GTEST_SKIP() << sites.error().message;
  }
  ASSERT_TRUE(sites) << sites.error().message;
  for (const probe::CallSite& site : *sites) {
    std::printf("  %s+0x%llx calls rm_ioctl\n", site.function.c_str(), static_cast<unsigned long long>(site.call));
  }
  const auto again = Reader()(0x1000, 16);
  EXPECT_FALSE(again) << "what was read before is not told for what cannot be read";
}

}  // namespace
}  // namespace moat::test
