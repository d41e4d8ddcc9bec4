// SPDX-License-Identifier: Apache-2.0
// Every case of case.h, twice: with the best hooks of this kernel ("best"), and with all hooks avoided that are better than
// tracepoints ("tracepoint"). What is not seen to the exact number must be told as unseen, and what is seen must not be.
//
// MOAT_BLIND_SPOTS names a file to which each run appends a line, tabs between: kernel release, mode, group, case, verdict, hook as
// event:backend, numbers wanted, numbers got, exposure. tests/vm/table.py makes the table of tests/README.md of them.
#include <sys/utsname.h>

#include <algorithm>
#include <cctype>

#include "bpf/abi/label.h"
#include "tests/bpf/blind/case.h"
#include "tests/bpf/blind/exposures.h"

namespace moat::test {

const std::vector<BlindSpot>& Cases() {
  static const std::vector<BlindSpot>* cases = [] {
    auto* all = new std::vector<BlindSpot>;
    AddOpenCases(*all);
    AddReadCases(*all);
    AddUringCases(*all);
    AddMountCases(*all);
    AddDiskCases(*all);
    AddLabelCases(*all);
    AddNetCases(*all);
    AddSocketCases(*all);
    AddGpuCases(*all);
    return all;
  }();
  return *cases;
}

namespace {

constexpr const char* kGroupNames[] = {"file", "label", "net", "gpu"};

std::string ToString(const Truth& truth) {
  std::string out;
  for (const auto& [name, number] : kTruthFields) {
    if (truth.*number) {
      out += (out.empty() ? "" : " ") + std::string(name) + "=" + std::to_string(*(truth.*number));
    }
  }
  return out.empty() ? "-" : out;
}

class BlindSpotTest : public BpfTest {
 public:
  BlindSpotTest(const BlindSpot& spot, bool best) : spot_(spot), best_(best) {}

 protected:
  void SetUp() override {
    BpfTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) {
      return;
    }
    std::string cannot = spot_.unavailable ? spot_.unavailable() : "";
    if (cannot.empty()) {
      SetStage();
      cannot = stage_.cannot;
    }
    if (!cannot.empty()) {
      Tell("cannot be done here: " + cannot, nullptr, {});
      GTEST_SKIP() << cannot;
    }
  }
  void TearDown() override {
    BpfTest::TearDown();
    if (spot_.cleanup) {
      spot_.cleanup(stage_);
    }
  }
  void TestBody() override;

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
  Truth Got(pid_t actor);
  // Of the case's hooks the first that is attached, else the last that there is.
  const HookStatus* Hook(const std::vector<DomainStatus>& domains) const {
    const HookStatus* found = nullptr;
    for (const char* event : spot_.events) {
      for (const DomainStatus& domain : domains) {
        for (const HookStatus& hook : domain.hooks) {
          if (hook.event == event && (found == nullptr || !found->attached)) {
            found = &hook;
          }
        }
      }
    }
    return found;
  }
  void Tell(const std::string& verdict, const HookStatus* hook, const Truth& got) const;

  const BlindSpot& spot_;
  const bool best_;
  TempDir dir_;
  Stage stage_;
};

void BlindSpotTest::TestBody() {
  const bool net = spot_.group == Group::kNet;
  config().process = config().file = !net && spot_.group != Group::kGpu;
  config().net = net;
  config().gpu = spot_.group == Group::kGpu;
  config().assets = {{.name = "model", .paths = {stage_.asset}}};
  config().devices = {{.path = "/dev/null", .device_class = "other"}};
  config().ring_bulk_bytes = 16 << 20;
  if (!best_) {
    config().avoid = {"lsm", "fmod_ret", "fentry", "kprobe"};
  }
  // Not all hooks need attach: on some kernels an event has no tracepoint that would do.
  ASSERT_NO_FATAL_FAILURE(Start(/*expect_all=*/false, Share::kAlways));
  const pid_t pid = RunInside([this] { spot_.act(stage_); });
  // TCP ends in soft-irq, a moment after its process.
  for (int i = 0; i < 400 && net && OwnMap("moat_flows") >= 0 && !MapRows<uint64_t, moat_flow>("moat_flows").empty(); ++i) {
    usleep(5000);
    DrainAll();
  }
  const Truth got = Got(*stage_.actor != 0 ? *stage_.actor : pid);

  bool exact = true, nothing = true;
  for (const auto& [name, number] : kTruthFields) {
    exact = exact && (!(spot_.truth.*number) || spot_.truth.*number == got.*number);
    nothing = nothing && (!(spot_.truth.*number) || got.*number == 0u);
  }
  const std::vector<DomainStatus> domains = probe().Domains();
  const HookStatus* hook = Hook(domains);
  Tell(exact ? "seen" : nothing ? "not seen" : "partly", hook, got);
  const std::string told = ToString(got) + " of " + ToString(spot_.truth);

  // Under its own name, or, of what was sent, that bytes are not counted at all.
  const auto lists = [this](const HookStatus& status) {
    return std::ranges::any_of(status.unseen, [this](const std::string& entry) {
      return Covers(entry, spot_.exposure) || (spot_.truth.bytes_out && Covers(entry, "bytes"));
    });
  };
  if (exact) {
    ASSERT_NE(hook, nullptr) << "seen, but there is no hook " << spot_.events.back() << ": which one saw it?";
    EXPECT_TRUE(hook->attached) << "seen, but " << hook->event << " is not attached: " << hook->why;
    EXPECT_FALSE(lists(*hook)) << hook->event << " (" << hook->backend << ") says that it does not see \"" << spot_.exposure
                               << "\", but it does: a stale exposure";
    return;
  }
  // Or the status says of an event that the case needs that it is not seen at all, and why.
  const auto missing = [this](const HookStatus& status) {
    return std::ranges::find(spot_.events, status.event) != spot_.events.end() && !status.attached && !status.why.empty() &&
           status.unseen == std::vector<std::string>{"all of it"};
  };
  if (std::ranges::any_of(domains, [&](const DomainStatus& domain) { return std::ranges::any_of(domain.hooks, missing); })) {
    return;
  }
  const bool covered =
      std::ranges::any_of(domains, [&](const DomainStatus& domain) { return std::ranges::any_of(domain.hooks, lists); });
  EXPECT_TRUE(covered) << told << ", and no hook says that it does not see \"" << spot_.exposure << "\"; " << Summary();
}

Truth BlindSpotTest::Got(pid_t actor) {
  uint64_t bytes_read = 0, bytes_written = 0, labels = 0, bytes_out = 0, ioctls = 0;
  for (const auto& io : Of<moat_file_io>(MOAT_KIND_FILE_IO, actor)) {
    if (io.asset == 0 && io.last == 1) {
      bytes_read += io.sum.bytes_read;
      bytes_written += io.sum.bytes_written;
    }
  }
  for (const auto& exit : Of<moat_exit>(MOAT_KIND_EXIT, actor)) {
    labels |= exit.hdr.labels;
  }
  if (spot_.group == Group::kNet && OwnMap("moat_net_totals") >= 0) {
    for (const auto& [key, value] : MapRows<moat_proc_key, moat_net_totals>("moat_net_totals")) {
      bytes_out += key.pid == static_cast<uint32_t>(actor) ? value.bytes_out : 0;
    }
  }
  if (spot_.group == Group::kGpu && OwnMap("moat_gpu_calls") >= 0) {
    for (const auto& [key, value] : MapRows<moat_gpu_key, moat_gpu_val>("moat_gpu_calls")) {
      ioctls += key.pid == static_cast<uint32_t>(actor) && key.cmd == kGpuCommand ? value.count : 0;
    }
  }
  const Truth all = {.opens = Count(MOAT_KIND_FILE_OPEN, actor),
                     .bytes_read = bytes_read,
                     .bytes_written = bytes_written,
                     .maps = Count(MOAT_KIND_FILE_MAP, actor),
                     .tampers = Count(MOAT_KIND_FILE_TAMPER, actor),
                     .labelled = labels & 1,
                     .connects = Count(MOAT_KIND_NET_CONNECT, actor),
                     .sends = Count(MOAT_KIND_NET_SEND, actor),
                     .accepts = Count(MOAT_KIND_NET_ACCEPT, actor),
                     .bytes_out = bytes_out,
                     .gpu_opens = Count(MOAT_KIND_GPU_OPEN, actor),
                     .gpu_ioctls = ioctls};
  Truth got;  // what was asked
  for (const auto& [name, number] : kTruthFields) {
    if (spot_.truth.*number) {
      got.*number = all.*number;
    }
  }
  return got;
}

void BlindSpotTest::Tell(const std::string& verdict, const HookStatus* hook, const Truth& got) const {
  utsname kernel{};
  uname(&kernel);
  const std::string event = hook == nullptr ? spot_.events.back() : hook->event;
  const std::string backend = hook == nullptr ? "-" : hook->attached ? hook->backend : "none";
  const std::string line = std::string(kernel.release) + "\t" + (best_ ? "best" : "tracepoint") + "\t" +
                           kGroupNames[static_cast<size_t>(spot_.group)] + "\t" + spot_.name + "\t" + verdict + "\t" + event +
                           ":" + backend + "\t" + ToString(spot_.truth) + "\t" + ToString(got) + "\t" +
                           (*spot_.exposure != '\0' ? spot_.exposure : "-") + "\n";
  RecordProperty("verdict", verdict);
  if (const char* path = std::getenv("MOAT_BLIND_SPOTS")) {
    std::ofstream(path, std::ios::app) << line;  // one write: lines of other runs do not mix in
  }
}

// Names as "BlindSpot.io_uring_read/best": with one macro per case the cases could not be plain data.
const bool kRegistered = [] {
  // In the order of the probes that they share.
  for (const bool best : {true, false}) {
    for (const BlindSpot& spot : Cases()) {
      std::string name = spot.name;
      std::ranges::replace_if(name, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
      ::testing::RegisterTest("BlindSpot", (name + (best ? "/best" : "/tracepoint")).c_str(), nullptr, nullptr, __FILE__,
                              __LINE__, [&spot, best]() -> BlindSpotTest* { return new BlindSpotTest(spot, best); });
    }
  }
  return true;
}();

TEST(BlindSpotCases, EachHasItsOwnNameAndAKnownExposure) {
  std::set<std::string> names;
  for (const BlindSpot& spot : Cases()) {
    EXPECT_TRUE(names.insert(spot.name).second) << spot.name << " twice";
    EXPECT_NE(ToString(spot.truth), "-") << spot.name << " states nothing";
    EXPECT_TRUE(*spot.exposure == '\0' ||
                std::ranges::any_of(kExposures, [&spot](const auto& known) { return known.first == spot.exposure; }))
        << spot.name << ": no exposure " << spot.exposure << " in exposures.h";
  }
  EXPECT_TRUE(kRegistered);
}

}  // namespace
}  // namespace moat::test
