// SPDX-License-Identifier: Apache-2.0
// A kernel that has not all that the programs were written for: a field that is absent takes away the rows that need it, no more.
// (What an absent function does is shown by the kernels of tests/vm: each lacks some.)
#include <algorithm>

#include "agent/probe/domain.h"
#include "agent/probe/log.h"
#include "process_drift.skel.h"
#include "process_drift_legacy.skel.h"
#include "tests/bpf/fixture.h"

namespace moat::test {
namespace {

std::span<const std::byte> Bytes(const void* (*skeleton)(size_t*)) {
  size_t size = 0;
  const void* data = skeleton(&size);
  return {static_cast<const std::byte*>(data), size};
}

class DriftTest : public BpfTest {
 protected:
  // What becomes of domain process in this image.
  DomainStatus Run(const probe::Image& image) {
    probe::CatchLibbpfLog();
    const auto features = probe::Features::Ask();
    EXPECT_TRUE(features) << features.error().message;
    const std::vector<std::string> avoid;
    probe::Domain domain(image, &*features, avoid);
    domain.Open();
    config().file = config().gpu = config().net = false;
    auto maps = probe::SharedMaps::Create({domain.object()}, config());
    EXPECT_TRUE(maps) << maps.error().message;
    domain.Load(**maps);
    domain.Attach(nullptr, -1);
    return domain.Describe();
  }
};

TEST_F(DriftTest, AnAbsentFieldTakesAwayItsRowsAndNoMore) {
  const DomainStatus status = Run({"process", Bytes(process_drift_bpf__elf_bytes), Bytes(process_drift_legacy_bpf__elf_bytes)});
  EXPECT_TRUE(status.loaded) << status.error;
  for (const HookStatus& hook : status.hooks) {
    if (hook.event == "process.exec" || hook.event == "process.scan") {  // those that look at the link count
      EXPECT_FALSE(hook.attached) << hook.event;
      EXPECT_FALSE(hook.exposure) << hook.event << ": a program that was to run and cannot is a fault";
      EXPECT_NE(hook.why.find("the kernel refuses to load it"), std::string::npos) << hook.event << ": " << hook.why;
      EXPECT_EQ(hook.unseen, (std::vector<std::string>{"all of it"})) << hook.event;
    } else if (hook.backend != "sys_exit") {  // which takes another domain
      EXPECT_TRUE(hook.attached || hook.exposure) << hook.event << ": " << hook.why;
    }
  }
}

TEST_F(DriftTest, NothingIsTakenAwayWhereNothingIsAbsent) {
  const auto images = probe::Images();
  const auto process = std::ranges::find(images, std::string_view("process"), &probe::Image::name);
  ASSERT_NE(process, images.end());
  for (const HookStatus& hook : Run(*process).hooks) {
    EXPECT_TRUE(hook.attached || hook.exposure || hook.backend == "sys_exit") << hook.event << ": " << hook.why;
  }
}

}  // namespace
}  // namespace moat::test
