// SPDX-License-Identifier: Apache-2.0
// Budgets: what those who hold an asset may send in a time, whoever of them sends it and over which socket.
#include <fcntl.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "agent/base/clock.h"
#include "agent/probe/features.h"
#include "tests/bpf/enforce_kit.h"

namespace moat::test {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class EnforceBudgetBpfTest : public EnforceBpfTest {
 protected:
  void SetUp() override {
    EnforceBpfTest::SetUp();
    WriteFile(weights(), "weights");
    config().process = config().file = true;
    config().assets = {{.name = "model", .paths = {weights()}}};
  }

  std::string Budgeted(const std::string& budget, const std::string& mode = "enforce", const std::string& name = "p") const {
    std::string text = PolicyOf("  egress: {default: allow, holding: [{asset: model, budget: {" + budget + "}}]}\n", mode);
    return text.replace(text.find("name: p"), 7, "name: " + name);
  }
  void EnforceBudgets(const std::string& policies, uint64_t per_seconds = 0) {
    Enforce("apiVersion: moat/v1\nkind: Asset\nmetadata: {name: model}\nspec: {paths: [" + weights() + "]}\n---\n" + policies,
            [per_seconds](policy::Set& set) {
              for (policy::Policy& policy : set.policies) {
                uint64_t& per = policy.egress->holding[0].budget->per_seconds;
                per = per_seconds != 0 ? per_seconds : per;
              }
            });
  }

  std::vector<uint64_t> Sent(bool dry_run = false) {
    std::vector<uint64_t> bytes;
    for (const probe::PolicyMaps::Sent& sent : probe().Policies()->SentBytes(MonotonicNs())) {
      if (sent.dry_run == dry_run) {
        bytes.push_back(sent.bytes);
      }
    }
    return bytes;
  }

  void TearDown() override {
    if (started()) {
      probe().Policies()->ForgetSent(UINT64_MAX / 2);  // a probe that tests share remembers it
    }
    EnforceBpfTest::TearDown();
  }

  std::string weights() const { return dir_.File("weights"); }
  void Hold() const {
    const int fd = open(weights().c_str(), O_RDONLY | O_CLOEXEC);
    char byte;
    MOAT_CHILD_CHECK(fd >= 0 && read(fd, &byte, 1) == 1);
    close(fd);
  }

 private:
  TempDir dir_;
};

// A socket for datagrams to one of its own.
struct Datagrams {
  int to = Bound("127.0.0.1", SOCK_DGRAM), from = socket(AF_INET, SOCK_DGRAM, 0);
  Name name{"127.0.0.1", PortOf(to)};

  int Send(size_t bytes) const {
    const std::string block(bytes, 'x');
    return sendto(from, block.data(), bytes, 0, name.get(), name.length) == static_cast<ssize_t>(bytes) ? 0 : errno;
  }
};

bool Arrive(int socket, size_t bytes, int within_ms) {
  char block[4096];
  pollfd wait{socket, POLLIN, 0};
  while (bytes > 0 && poll(&wait, 1, within_ms) == 1) {
    const ssize_t n = recv(socket, block, std::min(bytes, sizeof(block)), 0);
    MOAT_CHILD_CHECK(n > 0);
    bytes -= static_cast<size_t>(n);
  }
  return bytes == 0;
}

TEST_F(EnforceBudgetBpfTest, ItIsCountedToTheByte) {
  Start();
  EnforceBudgets(Budgeted("bytes: 10000, per: 1h"));
  const pid_t pid = RunInside([this] {
    const Pair pair("127.0.0.1");
    SendAll(pair.client, 100'000);  // before anything is held: not counted
    TakeAll(pair.server, 100'000);
    Hold();
    SendAll(pair.client, 4'000);
    TakeAll(pair.server, 4'000);
    const Pair other("::1");
    SendAll(other.client, 5'999);
    TakeAll(other.server, 5'999);
    SendAll(other.client, 2);  // more than is left
    MOAT_CHILD_CHECK(!Arrive(other.server, 1, 300));
    SendAll(pair.client, 1);
    TakeAll(pair.server, 1);
    SendAll(pair.client, 1);
    MOAT_CHILD_CHECK(!Arrive(pair.server, 1, 300));
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", PortOf(pair.listener)) == EPERM);
    MOAT_CHILD_CHECK(TryConnect("::1", PortOf(other.listener)) == EPERM);
    MOAT_CHILD_CHECK(Datagrams().Send(1) == EPERM);
    for (const int fd : {pair.client, other.client}) {
      const linger none{.l_onoff = 1, .l_linger = 0};  // what is left unsent is not to be sent in the tests to come
      MOAT_CHILD_CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)) == 0);
    }
  });
  EXPECT_THAT(Sent(), ElementsAre(10'000));
  const auto told = AllTold(pid);
  EXPECT_THAT(told, SizeIs(5)) << "once of each socket, though TCP tries again";
  EXPECT_THAT(told, testing::Each(EndsWith(" by p: egress.holding model: budget of 10000 bytes per 3600 s")));
  for (const moat_verdict& verdict : Verdicts(pid)) {
    EXPECT_EQ(verdict.why, MOAT_WHY_BUDGET);
    EXPECT_EQ(verdict.action, MOAT_VERDICT_DENY);
    EXPECT_NE(verdict.ep.remote_port, 0);
  }
}

TEST_F(EnforceBudgetBpfTest, AllOfAWorkloadHaveOne) {
  Start();
  EnforceBudgets(Budgeted("bytes: 10000, per: 1h"));
  RunInside([this] {
    Hold();
    const Datagrams own;
    for (int i = 0; i < 5; ++i) {
      MOAT_CHILD_CHECK(InChild([] { MOAT_CHILD_CHECK(Datagrams().Send(1'500) == 0); }) == 0);
    }
    MOAT_CHILD_CHECK(own.Send(1'500) == 0);
    MOAT_CHILD_CHECK(own.Send(1'001) == EPERM);
    MOAT_CHILD_CHECK(InChild([] { MOAT_CHILD_CHECK(Datagrams().Send(1'001) == EPERM); }) == 0);
    MOAT_CHILD_CHECK(own.Send(1'000) == 0);
  });
  RunInside([this] {  // another process, which does not hold it until it reads it
    const Datagrams own;
    MOAT_CHILD_CHECK(own.Send(1'000) == 0);
    Hold();
    MOAT_CHILD_CHECK(own.Send(1) == EPERM);
  });
  EXPECT_THAT(Sent(), ElementsAre(10'000));
}

// What TCP sends again was sent once, and what it was not let send is counted when it goes.
TEST_F(EnforceBudgetBpfTest, BytesThatAreSentAgainCountOnce) {
  Start();
  EnforceBudgets(Budgeted("bytes: 5000, per: 1h"));
  Signal tried, go;
  const pid_t pid = Spawn([&] {
    Hold();
    const Pair pair("127.0.0.1");
    SendAll(pair.client, 4'000);
    TakeAll(pair.server, 4'000);
    SendAll(pair.client, 8'000);
    SendAll(pair.client, 10);  // fits, and comes after what does not
    MOAT_CHILD_CHECK(!Arrive(pair.server, 1, 700));
    tried.Give();
    go.Take();
    MOAT_CHILD_CHECK(Arrive(pair.server, 8'010, 5'000));
  });
  tried.Take();
  EXPECT_THAT(Sent(), ElementsAre(4'000));
  EnforceBudgets(Budgeted("bytes: 20000, per: 1h"));  // the count does not begin anew
  go.Give();
  Finish(pid);
  EXPECT_THAT(Sent(), ElementsAre(12'010));
}

TEST_F(EnforceBudgetBpfTest, TheWindowSlides) {
  Start();
  EnforceBudgets(Budgeted("bytes: 1000, per: 1m"), /*per_seconds=*/2);
  RunInside([this] {
    Hold();
    const Datagrams own;
    MOAT_CHILD_CHECK(own.Send(600) == 0);
    usleep(1'200'000);
    MOAT_CHILD_CHECK(own.Send(600) == EPERM);
    MOAT_CHILD_CHECK(own.Send(400) == 0);
    usleep(1'200'000);  // the first have left the window, the others have not
    MOAT_CHILD_CHECK(own.Send(700) == EPERM);
    MOAT_CHILD_CHECK(own.Send(600) == 0);
  });
}

TEST_F(EnforceBudgetBpfTest, InDryRunItIsCountedAndLetPass) {
  Start();
  EnforceBudgets(Budgeted("bytes: 1000, per: 1h", "dry-run"));
  const pid_t pid = RunInside([this] {
    Hold();
    const Datagrams own;
    for (int i = 0; i < 4; ++i) {
      MOAT_CHILD_CHECK(own.Send(400) == 0);
    }
    const Pair pair("127.0.0.1");
    SendAll(pair.client, 100);
    TakeAll(pair.server, 100);
  });
  EXPECT_THAT(Sent(), IsEmpty());
  EXPECT_THAT(Sent(/*dry_run=*/true), ElementsAre(1'700));
  const auto verdicts = Verdicts(pid);
  ASSERT_THAT(verdicts, SizeIs(3)) << "datagrams, the connection, and its bytes";
  for (const moat_verdict& verdict : verdicts) {
    EXPECT_EQ(verdict.action, MOAT_VERDICT_WOULD_DENY);
  }
  EXPECT_EQ(probe().Policies()->Counts(verdicts[0].rule, 1).front().would_deny, 4u);
}

// Two budgets of two policies: what the one denies is not taken from the other.
TEST_F(EnforceBudgetBpfTest, WhatIsNotSentIsGivenBack) {
  Start();
  EnforceBudgets(Budgeted("bytes: 10000, per: 1h") + "---\n" + Budgeted("bytes: 5000, per: 24h", "enforce", "q"));
  const pid_t pid = RunInside([this] {
    Hold();
    const Datagrams own;
    MOAT_CHILD_CHECK(own.Send(4'000) == 0);
    MOAT_CHILD_CHECK(own.Send(4'000) == EPERM);
    MOAT_CHILD_CHECK(own.Send(4'000) == EPERM);
    MOAT_CHILD_CHECK(own.Send(1'000) == 0);
  });
  EXPECT_THAT(Sent(), ElementsAre(5'000, 5'000));
  EXPECT_THAT(AllTold(pid), ElementsAre(EndsWith(" by q: egress.holding model: budget of 5000 bytes per 86400 s")));
}

// Each asset has its own. Before 6.2 more than four at once are more than can be asked: then nothing is sent.
TEST_F(EnforceBudgetBpfTest, OfSeveralAssetsEachIsAsked) {
  constexpr int kAssets = 6;
  std::string documents, holding;
  config().assets.clear();
  for (int i = 0; i < kAssets; ++i) {
    const std::string name = "m" + std::to_string(i), path = weights() + std::to_string(i);
    WriteFile(path, "weights");
    config().assets.push_back({.name = name, .paths = {path}});
    documents += "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: " + name + "}\nspec: {paths: [" + path + "]}\n---\n";
    holding +=
        (i > 0 ? ", " : "") + ("{asset: " + name) + ", budget: {bytes: " + (i == kAssets - 1 ? "2000" : "9000") + ", per: 1h}}";
  }
  Start();
  const auto features = probe::Features::Ask();
  ASSERT_TRUE(features);
  const bool all = features->cast.yes;
  Enforce(documents + PolicyOf("  egress: {default: allow, holding: [" + holding + "]}\n"));
  const pid_t pid = RunInside([&] {
    const Datagrams own;
    for (int i = 0; i < kAssets; ++i) {
      const int fd = open((weights() + std::to_string(i)).c_str(), O_RDONLY | O_CLOEXEC);
      char byte;
      MOAT_CHILD_CHECK(fd >= 0 && read(fd, &byte, 1) == 1);
      close(fd);
      MOAT_CHILD_CHECK(own.Send(100) == (i < 4 || all ? 0 : EPERM));
    }
    MOAT_CHILD_CHECK(own.Send(1'900) == (all ? 0 : EPERM));
    MOAT_CHILD_CHECK(own.Send(1) == EPERM);
  });
  std::vector<uint64_t> sent = Sent();
  std::ranges::sort(sent);
  EXPECT_EQ(sent,
            all ? (std::vector<uint64_t>{2000, 2100, 2200, 2300, 2400, 2500}) : (std::vector<uint64_t>{100, 200, 300, 400}));
  EXPECT_THAT(AllTold(pid).back(), testing::HasSubstr("by p: egress.holding m"));
}

// A raw socket says the protocol of what it sends itself, and the numbers in it are its own.
TEST_F(EnforceBudgetBpfTest, RawSocketsOfTcpAreNoStreams) {
  Start();
  EnforceBudgets(Budgeted("bytes: 200, per: 1h"));
  RunInside([this] {
    Hold();
    const int raw = socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
    MOAT_CHILD_CHECK(raw >= 0);
    const Name to("127.0.0.1", 0);
    std::string packet(80, '\0');  // always the same sequence number
    packet[12] = 0x50;
    MOAT_CHILD_CHECK(sendto(raw, packet.data(), packet.size(), 0, to.get(), to.length) == 80);
    MOAT_CHILD_CHECK(sendto(raw, packet.data(), packet.size(), 0, to.get(), to.length) == 80);
    MOAT_CHILD_CHECK(sendto(raw, packet.data(), packet.size(), 0, to.get(), to.length) == -1 && errno == EPERM);
  });
  EXPECT_THAT(Sent(), ElementsAre(200));
}

}  // namespace
}  // namespace moat::test
