// SPDX-License-Identifier: Apache-2.0
// Every way to an asset of the blind-spot table, tried by a process that no policy selects: it must not get there. That each of them works
// without a policy shows the same case in blind_bpf_test.cc; with one that allows it, enforce_asset_bpf_test.cc.
#include <algorithm>
#include <cctype>

#include "tests/bpf/blind/case.h"
#include "tests/bpf/enforce_kit.h"

namespace moat::test {
namespace {

class DeniedTest : public EnforceBpfTest {
 public:
  explicit DeniedTest(const BlindSpot& spot) : spot_(spot) {}

 protected:
  void SetUp() override {
    EnforceBpfTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) {
      return;
    }
    std::string cannot = spot_.unavailable ? spot_.unavailable() : "";
    if (cannot.empty()) {
      SetStage();
      cannot = stage_.cannot;
    }
    if (!cannot.empty()) {
      GTEST_SKIP() << cannot;
    }
  }
  void TearDown() override {
    EnforceBpfTest::TearDown();
    if (spot_.cleanup) {
      spot_.cleanup(stage_);
    }
  }

  void TestBody() override {
    config().process = config().file = true;
    config().assets = {{.name = "model", .paths = {stage_.asset}}};
    config().devices = {{.path = "/dev/null", .device_class = "other"}};
    config().ring_bulk_bytes = 16 << 20;
    ASSERT_NO_FATAL_FAILURE(Start(/*expect_all=*/false, Share::kAlways));
    if (const std::string why = Exposed("enforce.file_open"); !why.empty()) {
      GTEST_SKIP() << why;
    }
    const std::string asset =
        "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: model}\nspec: {paths: [" + stage_.asset + "]}\n---\n";
    std::string others = PolicyOf("  assets: [{asset: model, read: allow, map: allow, write: allow, exec: allow}]\n");
    others.replace(others.find("CGROUP"), 6, "/somebody/else");
    Enforce(asset + others);
    EXPECT_NE(Act(), 0) << "it got there";
    uint64_t bytes = 0, labelled = 0;
    for (const auto& io : Of<moat_file_io>(MOAT_KIND_FILE_IO)) {
      bytes += io.asset == 0 ? io.sum.bytes_read + io.sum.bytes_written : 0;
    }
    for (const auto& exit : Of<moat_exit>(MOAT_KIND_EXIT)) {
      labelled += exit.hdr.labels & 1;
    }
    EXPECT_EQ(bytes, 0u) << Summary();
    EXPECT_EQ(labelled, 0u);
    const auto denied = std::ranges::count(Verdicts(), uint8_t{MOAT_VERDICT_DENY}, &moat_verdict::action);
    EXPECT_GT(denied, 0) << Summary();
  }

 private:
  void SetStage() {
    stage_.dir = dir_.path();
    stage_.asset = stage_.Path("model");
    stage_.weights = stage_.Path("model/weights");
    stage_.other = stage_.Path("other");
    ASSERT_EQ(mkdir(stage_.asset.c_str(), 0755), 0) << std::strerror(errno);
    WriteFile(stage_.weights, std::string(kModelBytes, 'w'));
    WriteFile(stage_.other, std::string(kModelBytes, 'o'));
    if (spot_.setup) {
      spot_.setup(stage_);
    }
  }

  // Wait status of the case's act, which ends at the first step that fails.
  int Act() {
    Shared<int> status;
    RunInside([&] {
      const pid_t child = fork();
      if (child == 0) {
        std::freopen("/dev/null", "w", stderr);  // the step that failed was to fail
        alarm(3);  // or somebody waits for one who could not do his part
        spot_.act(stage_);
        _exit(0);
      }
      MOAT_CHILD_CHECK(waitpid(child, &*status, 0) == child);
    });
    return *status;
  }

  const BlindSpot& spot_;
  TempDir dir_;
  Stage stage_;
};

const bool kRegistered = [] {
  for (const BlindSpot& spot : Cases()) {
    const Truth& truth = spot.truth;
    const bool reaches = std::ranges::any_of(
        std::initializer_list<Truth::Number>{truth.labelled, truth.bytes_read, truth.bytes_written, truth.maps, truth.tampers},
        [](const Truth::Number& number) { return number.value_or(0) > 0; });
    if ((spot.group != Group::kFile && spot.group != Group::kLabel) || !reaches) {
      continue;
    }
    std::string name = spot.name;
    std::ranges::replace_if(name, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
    ::testing::RegisterTest("Denied", name.c_str(), nullptr, nullptr, __FILE__, __LINE__,
                            [&spot]() -> DeniedTest* { return new DeniedTest(spot); });
  }
  return true;
}();

TEST(DeniedCases, AreThere) { EXPECT_TRUE(kRegistered); }

}  // namespace
}  // namespace moat::test
