// SPDX-License-Identifier: Apache-2.0
// Policies of egress, decided in the kernel: who is let through, who gets EPERM, and which rule said so.
#include <gmock/gmock.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/bpf/enforce_kit.h"

namespace moat::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Ports {
  uint16_t open = 0, other = 0;
};

TEST_F(EnforceBpfTest, WithoutAPolicyEverythingPasses) {
  Start();
  RunInside([] {
    const int listener = Listening("127.0.0.1");
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(listener)) == 0);
  });
  EXPECT_THAT(Verdicts(), IsEmpty());
}

TEST_F(EnforceBpfTest, AllowedConnectsWorkAndDeniedGetEperm) {
  Start();
  Enforce(
      PolicyOf("  egress:\n    default: deny\n    allow:\n      - {cidr: 127.0.0.0/8, ports: [20000-65535/tcp]}\n"
               "    deny:\n      - {cidr: 127.0.0.9/32}\n"));
  Shared<Ports> ports;
  const pid_t pid = RunInside([&] {
    const int listener = Listening("127.0.0.1");
    ports->open = PortOf(listener);
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", ports->open) == 0);
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", 19999) == EPERM);
    MOAT_CHILD_CHECK(TryConnect("127.0.0.9", ports->open) == EPERM);
    MOAT_CHILD_CHECK(TryConnect("::1", ports->open) == EPERM);
    MOAT_CHILD_CHECK(TryConnect("::ffff:127.0.0.1", ports->open) == 0);
    MOAT_CHILD_CHECK(TrySend("127.0.0.1", ports->open) == EPERM);
  });
  const std::string open = std::to_string(ports->open);
  EXPECT_THAT(AllTold(pid), ElementsAre("allow connect 127.0.0.1:" + open + " by p: egress.allow 127.0.0.0/8 20000-65535/tcp",
                                        "deny connect 127.0.0.1:19999 by p: egress.default: deny",
                                        "deny connect 127.0.0.9:" + open + " by p: egress.deny 127.0.0.9/32",
                                        "deny connect ::1:" + open + " by p: egress.default: deny",
                                        "allow connect 127.0.0.1:" + open + " by p: egress.allow 127.0.0.0/8 20000-65535/tcp",
                                        "deny send 127.0.0.1:" + open + " by p: egress.default: deny"));
}

TEST_F(EnforceBpfTest, DryRunOnlyCounts) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny}\n", "dry-run"));
  const pid_t pid = RunInside([] {
    const int listener = Listening("127.0.0.1");
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(listener)) == 0);
  });
  ASSERT_EQ(Verdicts(pid).size(), 1u);
  const moat_verdict verdict = Verdicts(pid).front();
  EXPECT_EQ(verdict.action, MOAT_VERDICT_WOULD_DENY);
  const moat_pol_count count = probe().Policies()->Counts(verdict.rule, 1).front();
  EXPECT_EQ(count.would_deny, 1u);
  EXPECT_EQ(count.denied, 0u);
}

// The "port" of a raw socket is its protocol's number. That somebody listens on port 6 does not make it one that was accepted.
TEST_F(EnforceBpfTest, ARawSocketOfTcpDoesNotAnswerAnybody) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny, allow: [{cidr: 127.0.0.2/32}]}\n"));
  const pid_t pid = RunInside([] {
    const Name six("127.0.0.1", 6), one("127.0.0.1", 0), two("127.0.0.2", 0);
    const int listener = socket(AF_INET, SOCK_STREAM, 0), raw = socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
    MOAT_CHILD_CHECK(bind(listener, six.get(), six.length) == 0 && listen(listener, 1) == 0);
    const std::string packet = std::string(12, '\0') + '\x50' + std::string(67, '\0');
    MOAT_CHILD_CHECK(bind(raw, one.get(), one.length) == 0);
    MOAT_CHILD_CHECK(sendto(raw, packet.data(), packet.size(), 0, two.get(), two.length) == 80);
    MOAT_CHILD_CHECK(sendto(raw, packet.data(), packet.size(), 0, one.get(), one.length) == -1 && errno == EPERM);
  });
  EXPECT_THAT(AllTold(pid), testing::Contains("deny packet 127.0.0.1:0 by p: egress.default: deny"));
}

TEST_F(EnforceBpfTest, ObserveDecidesNothing) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny}\n", "observe"));
  RunInside([] { MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == 0); });
  EXPECT_THAT(Verdicts(), IsEmpty());
}

// A process beside the cgroup is not the policy's business.
TEST_F(EnforceBpfTest, OthersAreLetBe) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  RunOutside([] { MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == 0); });
  EXPECT_THAT(Verdicts(), IsEmpty());
}

TEST_F(EnforceBpfTest, AClearedPolicyLetsEverythingPass) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  RunInside([] { MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == EPERM); });
  ASSERT_TRUE(probe().Policies()->Clear());
  RunInside([] { MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == 0); });
}

// cgroups that the workload makes for itself, however deep, are still its own.
TEST_F(EnforceBpfTest, NobodyEscapesByNesting) {
  Start();
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  constexpr int kDeep = 45;
  std::string deepest = cgroup_directory();
  for (int i = 0; i < kDeep; ++i) {
    deepest += "/n";
    ASSERT_EQ(mkdir(deepest.c_str(), 0755), 0) << deepest;
  }
  RunInside([&] {
    for (std::string at = deepest; at.size() >= cgroup_directory().size(); at.resize(at.rfind('/'))) {
      WriteFile(at + "/cgroup.procs", "0");
      MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == EPERM);
    }
  });
  for (std::string at = deepest; at.size() > cgroup_directory().size(); at.resize(at.rfind('/'))) {
    EXPECT_EQ(rmdir(at.c_str()), 0);
  }
  EXPECT_EQ(Verdicts().size(), size_t{kDeep} + 1);
}

// A socket that was open before the policy came.
TEST_F(EnforceBpfTest, AnOpenSocketIsDecidedToo) {
  Start();
  Signal connected, go;
  const pid_t pid = Spawn([&] {
    const Pair pair;
    SendAll(pair.client, 10);
    TakeAll(pair.server, 10);
    const int datagrams = Bound("127.0.0.1", SOCK_DGRAM), sender = Connected("127.0.0.1", PortOf(datagrams), SOCK_DGRAM);
    SendAll(sender, 3);
    connected.Give();
    go.Take();
    char byte = 0;
    SendAll(pair.client, 10);  // into the socket's buffer
    pollfd wait{pair.server, POLLIN, 0};
    MOAT_CHILD_CHECK(poll(&wait, 1, 300) == 0 && recv(pair.server, &byte, 1, MSG_DONTWAIT) == -1);
    MOAT_CHILD_CHECK(send(sender, "x", 1, 0) == -1 && errno == EPERM);
    // Answers on an accepted connection are not calls.
    SendAll(pair.server, 5);
    TakeAll(pair.client, 5);
  });
  connected.Take();
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  go.Give();
  Finish(pid);
  EXPECT_THAT(AllTold(pid), testing::AllOf(testing::Not(IsEmpty()),
                                           testing::Each(testing::AllOf(testing::StartsWith("deny packet 127.0.0.1:"),
                                                                        testing::EndsWith(" by p: egress.default: deny")))));
  EXPECT_EQ(AllTold(pid).size(), 2u);
}

// Many threads send datagrams on one socket, to a peer that is allowed and to one that is not: what the socket remembers of one must never
// be taken for the other.
TEST_F(EnforceBpfTest, DatagramsOfManyThreadsOnOneSocketAreNotMixedUp) {
  Start();
  Enforce(PolicyOf("  egress:\n    default: deny\n    allow: [{cidr: 127.0.0.1/32, ports: [1-65535/udp]}]\n"));
  Shared<uint64_t> sent;
  const pid_t pid = RunInside([&] {
    const int receiver = Bound("0.0.0.0", SOCK_DGRAM);
    const uint16_t port = PortOf(receiver);
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    std::vector<std::thread> threads;
    for (const char* address : {"127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.2"}) {
      threads.emplace_back([&, address] {
        const Name name(address, port);
        const bool allowed = std::string_view(address) == "127.0.0.1";
        for (int i = 0; i < 20'000; ++i) {
          const ssize_t got = sendto(fd, "x", 1, MSG_DONTWAIT, name.get(), name.length);
          MOAT_CHILD_CHECK(allowed ? got == 1 || errno != EPERM : got == -1 && errno == EPERM);
          __atomic_fetch_add(&*sent, 1, __ATOMIC_RELAXED);
          if (i % 64 == 0) {
            usleep(1000);  // the records are drained meanwhile
          }
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
  });
  EXPECT_EQ(*sent, 80'000u);
  uint64_t denied = 0;
  for (const moat_pol_count& count : probe().Policies()->Counts(first_rule(), 2)) {
    denied += count.denied;
  }
  // Counted, told or not. A connection that a test before this one left behind may still be trying, where the probe is shared.
  EXPECT_GE(denied, 40'000u);
  EXPECT_LT(denied, 40'100u);
  EXPECT_GT(Verdicts(pid).size(), 1u);
}

// Links of this process to cgroups.
std::vector<int> CgroupLinks() {
  std::vector<int> found;
  for (int fd = 3; fd < 1024; ++fd) {
    bpf_link_info info{};
    uint32_t length = sizeof(info);
    char target[32] = {};
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    if (readlink(path.c_str(), target, sizeof(target) - 1) > 0 && std::strstr(target, "bpf_link") != nullptr &&
        bpf_obj_get_info_by_fd(fd, &info, &length) == 0 && info.type == BPF_LINK_TYPE_CGROUP) {
      found.push_back(fd);
    }
  }
  return found;
}

TEST_F(EnforceBpfTest, WhatSomebodyTakesAwayIsPutBack) {
  Start(/*expect_all=*/true, Share::kNever);
  Enforce(PolicyOf("  egress: {default: deny}\n"));
  const auto connects = [this](int expected) {
    RunInside([expected] { MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(Listening("127.0.0.1"))) == expected); });
  };
  connects(EPERM);
  EXPECT_THAT(probe().Repair(), IsEmpty());
  const std::vector<int> links = CgroupLinks();
  ASSERT_EQ(links.size(), 8u);
  for (const int link : links) {
    EXPECT_EQ(bpf_link_detach(link), 0);
  }
  connects(0);
  EXPECT_EQ(probe().Repair().size(), 8u);
  connects(EPERM);
  EXPECT_THAT(probe().Repair(), IsEmpty());
}

// Whoever has a descriptor of a table can write to it.
template <typename Row>
void ChangeOneAddOneRemoveOne(const char* table, void (*change)(Row&)) {
  const int map = OwnMap(table);
  Row first{}, second{};
  ASSERT_EQ(bpf_map_get_next_key(map, nullptr, &first), 0) << table;
  ASSERT_EQ(bpf_map_get_next_key(map, &first, &second), 0) << table;
  char value[1024] = {};
  ASSERT_EQ(bpf_map_lookup_elem(map, &first, value), 0);
  Row strange = first;
  change(strange);
  EXPECT_EQ(bpf_map_update_elem(map, &strange, value, BPF_NOEXIST), 0) << table;
  value[0] = static_cast<char>(value[0] ^ 1);
  EXPECT_EQ(bpf_map_update_elem(map, &first, value, BPF_EXIST), 0) << table;
  EXPECT_EQ(bpf_map_delete_elem(map, &second), 0) << table;
}

TEST_F(EnforceBpfTest, WhatSomebodyWritesIntoTheTablesIsNoticed) {
  Start();
  const std::string policy = PolicyOf(
      "  egress: {default: deny, allow: [{cidr: 127.0.0.2/32, ports: [443/tcp]}, {cidr: 127.0.0.3/32, ports: [53/udp]}]}\n");
  Enforce(policy);
  EXPECT_THAT(probe().Policies()->Altered(), IsEmpty());
  ChangeOneAddOneRemoveOne<moat_pol_peer_key>("moat_pol_peers", [](moat_pol_peer_key& key) { key.address[0] = 10; });
  ChangeOneAddOneRemoveOne<moat_pol_port_key>("moat_pol_ports", [](moat_pol_port_key& key) { key.protocol = MOAT_POL_ICMP; });
  const moat_pol_cgroup_key other{.cgroup_id = 1, .generation = probe().Policies()->generation(), .pad = 0};
  const moat_pol_cgroup free{};
  EXPECT_EQ(bpf_map_update_elem(OwnMap("moat_pol_cgroups"), &other, &free, BPF_NOEXIST), 0);
  EXPECT_THAT(probe().Policies()->Altered(),
              ElementsAre("1 rows of the table of cgroups", "2 rows of the table of peers", "2 rows of the table of ports"));
  EXPECT_NE(bpf_map_lookup_elem(OwnMap("moat_pol_cgroups"), &other, nullptr), 0) << "what was added is gone";
  Enforce(policy);
  EXPECT_THAT(probe().Policies()->Altered(), IsEmpty());
  EXPECT_TRUE(probe().Policies()->Add({}));
  probe().Policies()->RemoveCgroups({cgroup_id()});
  EXPECT_THAT(probe().Policies()->Altered(), IsEmpty());
  EXPECT_TRUE(probe().Policies()->Clear());
  EXPECT_THAT(probe().Policies()->Altered(), IsEmpty());
}

TEST_F(EnforceBpfTest, WhatSomebodyWritesIntoTheTableOfGpuCallsIsPutBack) {
  config().gpu = true;
  Start();
  EXPECT_THAT(probe().Repair(), IsEmpty());
  ChangeOneAddOneRemoveOne<moat_gpu_row_key>("moat_gpu_rows", [](moat_gpu_row_key& key) { key.number = 4711; });
  EXPECT_THAT(probe().Repair(), ElementsAre("3 rows of the table of GPU calls were changed by somebody, and are put back"));
  EXPECT_THAT(probe().Repair(), IsEmpty());
}

// A thousand swaps between two policies that say the opposite of each other, while connects go on. A verdict names the generation that it
// was made by: what it says must be what that policy says, by that policy's own rule.
TEST_F(EnforceBpfTest, EachDecisionIsOfOnePolicyWhileTheySwap) {
  Start();
  const int kSwaps = std::getenv("MOAT_SHARE_PROBES") != nullptr ? 100 : 1000;  // a guest without hardware help takes its time
  const std::string odd = PolicyOf("  egress:\n    default: deny\n    allow: [{cidr: 127.0.0.1/32, ports: [1-30000/tcp]}]\n");
  const std::string even =
      PolicyOf("  egress:\n    default: deny\n    allow: [{cidr: 127.0.0.1/32, ports: [30001-65535/tcp]}]\n");
  Enforce(odd);
  const uint32_t first = probe().Policies()->generation(), odd_rule = first_rule(),
                 even_rule = probe().Policies()->NextFirstRule();
  Shared<int> stop;
  const pid_t pid = Spawn([&] {
    for (uint16_t port = 20000; *stop == 0; port = port == 20000 ? 40000 : 20000) {
      // Not waiting: the first packet of a connect that one policy allowed may be dropped by the next.
      const Name name("127.0.0.1", port);
      const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      MOAT_CHILD_CHECK(fd >= 0 && connect(fd, name.get(), name.length) == -1);
      MOAT_CHILD_CHECK(errno == EPERM || errno == ECONNREFUSED || errno == EINPROGRESS);
      close(fd);
      usleep(100);  // every record is kept
    }
  });
  for (int i = 1; i <= kSwaps; ++i) {
    Enforce(i % 2 == 0 ? odd : even);
    DrainAll();
  }
  *stop = 1;
  Finish(pid);
  size_t wrong = 0, allowed = 0;
  std::set<uint32_t> generations;
  for (const moat_verdict& verdict : Verdicts(pid)) {
    const bool is_odd = (verdict.generation - first) % 2 == 0;
    const bool low = verdict.ep.remote_port < 30000;
    const bool allow = verdict.action == MOAT_VERDICT_ALLOW;
    // Of each image the rules' numbers are its own half, the default's the second of the two.
    const uint32_t base = is_odd ? odd_rule : even_rule;
    wrong += allow != (low == is_odd) || verdict.rule != base + (allow ? 0 : 1);
    allowed += allow;
    generations.insert(verdict.generation);
  }
  std::printf("%d swaps, %zu decisions, %zu allowed, by %zu generations, %zu wrong\n", kSwaps, Verdicts(pid).size(), allowed,
              generations.size(), wrong);
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(generations.size(), static_cast<size_t>(kSwaps) / 4);
  EXPECT_EQ(Missed(), 0u);
}

}  // namespace
}  // namespace moat::test
