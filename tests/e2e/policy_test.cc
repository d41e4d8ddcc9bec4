// SPDX-License-Identifier: Apache-2.0
// Policies from file to verdict, through the real agent: in force when it is ready, changed with the file, and still in force when the
// agent is gone.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "agent/base/cgroup.h"
#include "agent/base/fd.h"
#include "tests/e2e/agent.h"

namespace moat::e2e {
namespace {

using ::testing::HasSubstr;

int Listen(uint16_t& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in name{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t length = sizeof(name);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&name), length), 0);
  EXPECT_EQ(::listen(fd, 512), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length), 0);
  port = ntohs(name.sin_port);
  return fd;
}

// errno of a connect, 0: it worked.
int Connect(uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in name{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  const int error = ::connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0 ? 0 : errno;
  // At once, without a TIME_WAIT: thousands of these would use up the ports.
  const linger none{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
  ::close(fd);
  return error;
}

// Only what enforces, so that an agent starts in a moment.
constexpr const char* kOnlyPolicies = "domains: {process: false, file: false, gpu: false, net: false}\n";

class PolicyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::mkdir(place_.File("policies").c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(place_.File("bpf").c_str(), 0755), 0);
    ASSERT_EQ(::mount("bpf", place_.File("bpf").c_str(), "bpf", 0, nullptr), 0) << std::strerror(errno);
    for (int* fd : {&allowed_fd_, &denied_fd_}) {
      *fd = Listen(fd == &allowed_fd_ ? allowed_ : denied_);
    }
  }
  void TearDown() override {
    ::close(allowed_fd_);
    ::close(denied_fd_);
    std::filesystem::remove_all(pins());
    EXPECT_EQ(::umount(place_.File("bpf").c_str()), 0) << std::strerror(errno);
  }

  std::string pins() const { return place_.File("bpf/moat"); }
  std::string Settings() const {
    return "policies: {files: [" + place_.File("policies") + "], pins: " + pins() + "}\n" + kOnlyPolicies;
  }
  std::string Policy(uint16_t port) const {
    return "apiVersion: moat/v1\nkind: Policy\nmetadata: {name: closed}\nspec:\n  mode: enforce\n  subjects: [{cgroup: " +
           place_.scope() + "}]\n  egress:\n    default: deny\n    allow: [{cidr: 127.0.0.0/8, ports: [" + std::to_string(port) +
           "/tcp]}]\n";
  }
  // What a process in the cgroup gets, as an exit status.
  int Inside(uint16_t port) const {
    return WaitFor(place_.Spawn([port] { ::_exit(Connect(port)); }));
  }
  int Unload() const {
    return WaitFor(place_.Spawn(
        [this] {
          ::execl(MOAT_BINARY_DIR "/bin/moatd", "moatd", "--unload", "--config", place_.File("moatd.yaml").c_str(), nullptr);
        },
        false));
  }

  Place place_;
  uint16_t allowed_ = 0, denied_ = 0;
  int allowed_fd_ = -1, denied_fd_ = -1;
};

TEST_F(PolicyTest, VerdictsNameTheRuleAndItsPlaceInTheFile) {
  place_.Write("policies/closed.yaml", Policy(allowed_));
  Agent agent(place_, Settings());
  ASSERT_TRUE(agent.WaitReady());
  v1::Filter filter;
  filter.add_kinds("policy");
  Watcher watcher(agent, filter);
  ASSERT_TRUE(watcher.WaitConnected());
  EXPECT_EQ(Inside(allowed_), 0);
  EXPECT_EQ(Inside(denied_), EPERM);
  ASSERT_TRUE(Eventually([&] { return watcher.Count(v1::KIND_VERDICT) == 2; }));
  const auto seen = watcher.seen();
  const v1::Verdict& allow = seen[0].event.verdict();
  const v1::Verdict& deny = seen[1].event.verdict();
  EXPECT_EQ(allow.action(), v1::VERDICT_ACTION_ALLOW);
  EXPECT_EQ(allow.endpoints().remote_port(), allowed_);
  EXPECT_THAT(allow.rule_at(), HasSubstr("closed.yaml:9:13"));
  EXPECT_EQ(deny.action(), v1::VERDICT_ACTION_DENY);
  EXPECT_EQ(deny.operation(), v1::VERDICT_OPERATION_CONNECT);
  EXPECT_EQ(deny.policy(), "closed");
  EXPECT_EQ(deny.rule(), "egress.default: deny");
  EXPECT_THAT(deny.rule_at(), HasSubstr("closed.yaml:1:1"));
}

TEST_F(PolicyTest, AFileThatChangesComesIntoForceAndABadOneDoesNot) {
  place_.Write("policies/closed.yaml", Policy(allowed_));
  Agent agent(place_, Settings());
  ASSERT_TRUE(agent.WaitReady());
  EXPECT_EQ(Inside(denied_), EPERM);
  place_.Write("policies/closed.yaml", Policy(denied_));
  ASSERT_TRUE(Eventually([&] { return Inside(denied_) == 0; }));
  EXPECT_EQ(Inside(allowed_), EPERM);
  place_.Write("policies/closed.yaml", Policy(allowed_) + "    holding: [{asset: no-such-asset}]\n");
  ASSERT_TRUE(Eventually([&] { return agent.Log().find("nothing changed") != std::string::npos; })) << agent.Log();
  EXPECT_THAT(agent.Log(), HasSubstr("closed.yaml:10:"));
  EXPECT_EQ(Inside(allowed_), EPERM);
  EXPECT_EQ(Inside(denied_), 0);
  // A file more in the directory, moved there as editors do.
  place_.Write("next", Policy(allowed_));
  std::filesystem::rename(place_.File("next"), place_.File("policies/closed.yaml"));
  EXPECT_TRUE(Eventually([&] { return Inside(allowed_) == 0; }));
}

TEST_F(PolicyTest, AnAgentDoesNotStartWithABadPolicy) {
  place_.Write("policies/closed.yaml", "apiVersion: moat/v1\nkind: Policy\nmetadata: {name: p}\nspec: {mode: enfroce}\n");
  Agent agent(place_, Settings());
  EXPECT_EQ(agent.End(0), 1);
  EXPECT_THAT(agent.Log(), HasSubstr("closed.yaml:4:14"));
  EXPECT_EQ(Inside(denied_), 0);
}

TEST_F(PolicyTest, EnforcementOutlivesTheAgentUntilItIsUnloaded) {
  place_.Write("policies/closed.yaml", Policy(allowed_));
  {
    Agent agent(place_, Settings());
    ASSERT_TRUE(agent.WaitReady());
    EXPECT_EQ(Inside(denied_), EPERM);
    EXPECT_EQ(agent.End(SIGTERM), 0);
  }
  EXPECT_EQ(Inside(denied_), EPERM);
  EXPECT_EQ(Inside(allowed_), 0);
  // The next one does not understand its files: what the first had put into force stays so.
  place_.Write("policies/closed.yaml", "kind: Policy\n");
  {
    Agent agent(place_, Settings());
    ASSERT_TRUE(agent.WaitReady());
    EXPECT_EQ(Inside(denied_), EPERM);
    place_.Write("policies/closed.yaml", Policy(denied_));
    EXPECT_TRUE(Eventually([&] { return Inside(denied_) == 0 && Inside(allowed_) == EPERM; }));
    EXPECT_EQ(agent.End(SIGTERM), 0);
  }
  EXPECT_EQ(Inside(allowed_), EPERM);
  EXPECT_EQ(Unload(), 0);
  EXPECT_TRUE(Eventually([&] { return Inside(allowed_) == 0 && Inside(denied_) == 0; })) << "programs are freed a moment later";
  EXPECT_FALSE(std::filesystem::exists(pins()));
}

// Rows of the pinned table of cgroups; -1: it cannot be read.
int CgroupRows(const std::string& pins) {
  for (const auto& scope : std::filesystem::directory_iterator(pins)) {
    bpf_attr get{};
    const std::string path = scope.path().string() + "/map_moat_pol_cgroups";
    get.pathname = reinterpret_cast<uint64_t>(path.c_str());
    const Fd map(static_cast<int>(::syscall(SYS_bpf, BPF_OBJ_GET, &get, sizeof(get))));
    uint64_t key[2] = {}, next[2] = {};
    int rows = 0;
    bpf_attr walk{};
    walk.map_fd = static_cast<uint32_t>(map.get());
    walk.next_key = reinterpret_cast<uint64_t>(next);
    while (map && ::syscall(SYS_bpf, BPF_MAP_GET_NEXT_KEY, &walk, sizeof(walk)) == 0) {
      ++rows;
      std::memcpy(key, next, sizeof(key));
      walk.key = reinterpret_cast<uint64_t>(key);
    }
    return map ? rows : -1;
  }
  return -1;
}

// Cgroups that come get their rows, and those that go leave none.
// Reads a file, then sends datagrams of these sizes to itself; as an exit status how many were sent before one was denied.
int Sends(const std::string& weights, std::initializer_list<size_t> sizes) {
  char byte;
  const int file = ::open(weights.c_str(), O_RDONLY | O_CLOEXEC), fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (::read(file, &byte, 1) != 1) {
    return 100;
  }
  sockaddr_in name{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t length = sizeof(name);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&name), length) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) != 0) {
    return 101;
  }
  int sent = 0;
  for (const size_t size : sizes) {
    const std::string block(size, 'x');
    if (::sendto(fd, block.data(), size, 0, reinterpret_cast<sockaddr*>(&name), length) != static_cast<ssize_t>(size)) {
      return errno == EPERM ? sent : 102;
    }
    ++sent;
  }
  return sent;
}

TEST_F(PolicyTest, ABudgetIsShownAndOutlivesTheAgent) {
  const std::string weights = place_.Write("weights", "weights");
  place_.Write(
      "policies/budget.yaml",
      "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: w}\nspec: {paths: [" + weights +
          "]}\n---\napiVersion: moat/v1\nkind: Policy\nmetadata: {name: budget}\nspec:\n  mode: enforce\n  subjects: [{cgroup: " +
          place_.scope() + "}]\n  egress: {default: allow, holding: [{asset: w, budget: {bytes: 10000, per: 1h}}]}\n");
  const std::string settings = "policies: {files: [" + place_.File("policies") + "], pins: " + pins() + "}\n";
  const auto sends = [&](std::initializer_list<size_t> sizes) {
    return WaitFor(place_.Spawn([&] { ::_exit(Sends(weights, sizes)); }));
  };
  const auto shown = [](const Agent& agent) {
    grpc::ClientContext context;
    v1::ListPoliciesResponse list;
    EXPECT_TRUE(v1::Policies::NewStub(agent.Channel())->List(&context, {}, &list).ok());
    EXPECT_EQ(list.set().budgets_size(), 1);
    return list.set().budgets_size() == 1 ? list.set().budgets(0) : v1::PolicyBudget();
  };
  {
    Agent agent(place_, settings);
    ASSERT_TRUE(agent.WaitReady());
    EXPECT_EQ(shown(agent).used_bytes(), 0u);
    EXPECT_EQ(sends({1000, 3000}), 2);
    EXPECT_EQ(shown(agent).used_bytes(), 4000u);
    EXPECT_EQ(agent.End(SIGKILL), 128 + SIGKILL);
  }
  EXPECT_EQ(sends({2000, 4001}), 1);  // without an agent, too
  Agent agent(place_, settings);
  ASSERT_TRUE(agent.WaitReady());
  const v1::PolicyBudget budget = shown(agent);
  EXPECT_EQ(budget.used_bytes(), 6000u);
  EXPECT_EQ(budget.remaining_bytes(), 4000u);
  EXPECT_EQ(budget.limit_bytes(), 10000u);
  EXPECT_EQ(budget.per_seconds(), 3600u);
  EXPECT_EQ(budget.policy(), "budget");
  EXPECT_EQ(budget.asset(), "w");
  EXPECT_EQ(budget.workload(), place_.scope());
  EXPECT_EQ(sends({4000, 1}), 1);
  EXPECT_EQ(shown(agent).remaining_bytes(), 0u);
}

TEST_F(PolicyTest, ABudgetThatIsAPartOfAnAssetGrowsWithIt) {
  const std::string weights = place_.Write("weights", std::string(10'000, 'w'));
  place_.Write(
      "policies/budget.yaml",
      "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: w}\nspec: {paths: [" + weights +
          "]}\n---\napiVersion: moat/v1\nkind: Policy\nmetadata: {name: budget}\nspec:\n  mode: enforce\n  subjects: [{cgroup: " +
          place_.scope() + "}]\n  egress: {default: allow, holding: [{asset: w, budget: {percentOfAsset: 10, per: 1h}}]}\n");
  Agent agent(place_, "policies: {files: [" + place_.File("policies") + "], pins: " + pins() + "}\n");
  ASSERT_TRUE(agent.WaitReady());
  const auto limit = [&agent] {
    grpc::ClientContext context;
    v1::ListPoliciesResponse list;
    EXPECT_TRUE(v1::Policies::NewStub(agent.Channel())->List(&context, {}, &list).ok());
    return list.set().budgets_size() == 1 ? list.set().budgets(0).limit_bytes() : 0;
  };
  EXPECT_EQ(limit(), 1000u);
  EXPECT_EQ(WaitFor(place_.Spawn([&] { ::_exit(Sends(weights, {1000, 1})); })), 1);
  place_.Write("weights", std::string(40'000, 'w'));
  EXPECT_TRUE(Eventually([&] { return limit() == 4000; }, 90s)) << limit();
  EXPECT_EQ(WaitFor(place_.Spawn([&] { ::_exit(Sends(weights, {3000, 1})); })), 1) << "what was sent before still counts";
}

// Another process with the right to use BPF empties the tables by way of their pins.
TEST_F(PolicyTest, TablesThatSomebodyElseChangesAreWrittenAgainWithinFiveSeconds) {
  place_.Write("policies/closed.yaml", Policy(allowed_));
  Agent agent(place_, Settings());
  ASSERT_TRUE(agent.WaitReady());
  EXPECT_EQ(Inside(denied_), EPERM);
  size_t emptied = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(pins())) {
    const std::string name = entry.path().filename();
    if (name == "map_moat_pol_cgroups" || name == "map_moat_pol_profiles") {
      const Fd map(bpf_obj_get(entry.path().c_str()));
      char key[256];
      while (bpf_map_get_next_key(map.get(), nullptr, key) == 0 && bpf_map_delete_elem(map.get(), key) == 0) {
        ++emptied;
      }
    }
  }
  ASSERT_GE(emptied, 2u);
  const auto since = std::chrono::steady_clock::now();
  EXPECT_EQ(Inside(denied_), 0);
  EXPECT_TRUE(Eventually([&] { return Inside(denied_) == EPERM; }));
  EXPECT_LT(std::chrono::steady_clock::now() - since, 5s);
  EXPECT_EQ(Inside(allowed_), 0);
  EXPECT_THAT(agent.Log(), HasSubstr("rows of the table of cgroups were changed by somebody, and are written again"));
}

TEST_F(PolicyTest, TenThousandCgroupsLeaveNothingBehind) {
  place_.Write("policies/closed.yaml", Policy(allowed_));
  Agent agent(place_, Settings());
  ASSERT_TRUE(agent.WaitReady());
  const int before = CgroupRows(pins());
  ASSERT_GE(before, 1);
  const Result<Cgroup2Mount> mount = FindCgroup2Mount();
  ASSERT_TRUE(mount);
  const std::string top = mount->path + place_.scope() + "/c";
  constexpr int kCgroups = 10'000, kAtOnce = 100;
  int most = 0;
  for (int made = 0; made < kCgroups; made += kAtOnce) {
    for (int i = 0; i < kAtOnce; ++i) {
      ASSERT_EQ(::mkdir((top + std::to_string(i)).c_str(), 0755), 0) << std::strerror(errno);
    }
    if (made == 0) {
      EXPECT_TRUE(Eventually([&] { return CgroupRows(pins()) >= before + kAtOnce; })) << CgroupRows(pins());
      most = CgroupRows(pins());
    }
    for (int i = 0; i < kAtOnce; ++i) {
      ASSERT_EQ(::rmdir((top + std::to_string(i)).c_str()), 0) << std::strerror(errno);
    }
  }
  EXPECT_EQ(most, before + kAtOnce);
  EXPECT_TRUE(Eventually([&] { return CgroupRows(pins()) == before; })) << CgroupRows(pins()) << " of " << before;
  EXPECT_EQ(Inside(denied_), EPERM);
  EXPECT_EQ(agent.End(SIGTERM), 0);
  EXPECT_EQ(Unload(), 0);
}

// The agent is killed again and again, at any moment of its start, while the cgroup's processes try and try.
TEST_F(PolicyTest, KilledTwoHundredTimesItLetsNoDeniedConnectThrough) {
  constexpr int kTimes = 200, kWorkers = 2;
  constexpr uint16_t kNobody = 1;  // allowed, and nobody listens: nothing piles up in a queue
  struct Counts {
    std::atomic<uint64_t> tries, wrongly_let, wrongly_denied;
    std::atomic<bool> stop;
  };
  auto* counts = static_cast<Counts*>(::mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  new (counts) Counts{};
  place_.Write("policies/closed.yaml", Policy(kNobody));
  std::vector<pid_t> workers;
  {
    Agent first(place_, Settings());
    ASSERT_TRUE(first.WaitReady());
    for (int i = 0; i < kWorkers; ++i) {
      workers.push_back(place_.Spawn([&] {
        while (!counts->stop) {
          ++counts->tries;
          counts->wrongly_let += Connect(denied_) != EPERM;
          counts->wrongly_denied += Connect(kNobody) != ECONNREFUSED;
        }
      }));
    }
    ASSERT_TRUE(Eventually([&] { return counts->tries > 10; }));
    EXPECT_EQ(first.End(SIGKILL), 128 + SIGKILL);
  }
  unsigned lived_ms = 0;
  for (int i = 1; i < kTimes; ++i) {
    Agent agent(place_, Settings());
    // Every tenth is let come up whole; the others die earlier and earlier in their start.
    if (i % 10 == 0) {
      ASSERT_TRUE(agent.WaitReady()) << "after " << i << " kills";
    } else {
      lived_ms = (lived_ms + 37) % 400;
      std::this_thread::sleep_for(std::chrono::milliseconds(lived_ms));
    }
    EXPECT_EQ(agent.End(SIGKILL), 128 + SIGKILL);
  }
  counts->stop = true;
  for (const pid_t worker : workers) {
    EXPECT_EQ(WaitFor(worker), 0);
  }
  std::printf("%d kills, %llu denied connects tried, %llu let through\n", kTimes, static_cast<unsigned long long>(counts->tries),
              static_cast<unsigned long long>(counts->wrongly_let));
  EXPECT_GT(counts->tries, 1000u);
  EXPECT_EQ(counts->wrongly_let, 0u);
  EXPECT_EQ(counts->wrongly_denied, 0u);
  ::munmap(counts, sizeof(Counts));
  EXPECT_EQ(Unload(), 0);
}

}  // namespace
}  // namespace moat::e2e
