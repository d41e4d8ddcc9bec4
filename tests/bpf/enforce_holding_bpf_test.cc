// SPDX-License-Identifier: Apache-2.0
// What a process may still do once it holds an asset: from the moment it reads, on sockets that it had before too, and whoever it is
// that the label or the socket is handed to.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>

#include <cerrno>
#include <string>
#include <thread>

#include "tests/bpf/blind/passing.h"
#include "tests/bpf/enforce_kit.h"

namespace moat::test {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::EndsWith;
using ::testing::StartsWith;

constexpr size_t kBytes = 100'000;

class HoldingBpfTest : public EnforceBpfTest {
 protected:
  void SetUp() override {
    EnforceBpfTest::SetUp();
    WriteFile(weights(), std::string(kBytes, 'w'));
    config().process = config().file = true;
    config().assets = {{.name = "model", .paths = {weights()}}};
  }
  void StartEnforced() {
    Start();
    Enforce(
        "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: model}\nspec: {paths: [" + weights() + "]}\n---\n" +
        PolicyOf("  egress:\n    default: allow\n    holding:\n      - asset: model\n        allow: [{cidr: 127.0.0.2/32}]\n"));
  }
  std::string weights() const { return dir_.File("weights"); }

 private:
  TempDir dir_;
};

void ReadAll(const std::string& path) {
  char block[4096];
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  MOAT_CHILD_CHECK(fd >= 0);
  while (read(fd, block, sizeof(block)) > 0) {
  }
  close(fd);
}

// Whether what is written to one end of a connection comes out at the other.
bool Passes(int from, int to) {
  MOAT_CHILD_CHECK(send(from, "1234567890", 10, MSG_NOSIGNAL) == 10);
  pollfd wait{to, POLLIN, 0};
  if (poll(&wait, 1, 400) != 1) {
    return false;
  }
  TakeAll(to, 10);
  return true;
}

TEST_F(HoldingBpfTest, AHolderConnectsToTheAllowedOnly) {
  StartEnforced();
  const pid_t pid = RunInside([this] {
    const int listener = Listening("0.0.0.0");
    const uint16_t port = PortOf(listener);
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", port) == 0 && TrySend("127.0.0.1", port) == 0);
    ReadAll(weights());
    MOAT_CHILD_CHECK(TryConnect("127.0.0.1", port) == EPERM && TrySend("127.0.0.1", port) == EPERM);
    MOAT_CHILD_CHECK(TryConnect("127.0.0.2", port) == 0 && TrySend("127.0.0.2", port) == 0);
  });
  const std::string rule = " by p: egress.holding model: not among the allowed";
  const auto told = AllTold(pid);
  ASSERT_EQ(told.size(), 2u) << "what no rule says anything of is no verdict";
  EXPECT_THAT(told[0], testing::AllOf(StartsWith("deny connect 127.0.0.1:"), EndsWith(rule)));
  EXPECT_THAT(told[1], testing::AllOf(StartsWith("deny send 127.0.0.1:"), EndsWith(rule)));
}

// A raw socket of TCP's protocol is no connection that somebody used before: who sends is who holds.
TEST_F(HoldingBpfTest, RawSocketsOfTcpGoByWhoSends) {
  StartEnforced();
  RunInside([this] {
    const int raw = socket(AF_INET, SOCK_RAW, IPPROTO_TCP);
    MOAT_CHILD_CHECK(raw >= 0);
    const Name one("127.0.0.1", 0), two("127.0.0.2", 0);
    const std::string packet = std::string(12, '\0') + '\x50' + std::string(67, '\0');
    const auto send = [&](const Name& to) {
      return sendto(raw, packet.data(), packet.size(), 0, to.get(), to.length) == -1 ? errno : 0;
    };
    MOAT_CHILD_CHECK(send(one) == 0 && send(two) == 0);
    ReadAll(weights());
    MOAT_CHILD_CHECK(send(one) == EPERM && send(two) == 0);
  });
}

// Who sends on the socket that was opened before anybody read, and by which way that one came to hold the asset.
struct Way {
  const char* name;
  void (*send)(const std::string& weights, int from, const std::function<void()>& check);
};

void ByItself(const std::string& weights, int, const std::function<void()>& check) {
  ReadAll(weights);
  check();
}
void ByAThread(const std::string& weights, int, const std::function<void()>& check) {
  std::thread([&] { ReadAll(weights); }).join();
  check();
}
void ByAChildOfTheReader(const std::string& weights, int, const std::function<void()>& check) {
  ReadAll(weights);
  MOAT_CHILD_CHECK(InChild(check) == 0);
}
void ByAGrandchild(const std::string& weights, int, const std::function<void()>& check) {
  ReadAll(weights);
  MOAT_CHILD_CHECK(InChild([&] {
                     MOAT_CHILD_CHECK(setsid() > 0);
                     MOAT_CHILD_CHECK(InChild(check) == 0);
                   }) == 0);
}
// The reader is a child; the socket goes to it in a message, the parent has read nothing.
void ByAPassedSocket(const std::string& weights, int from, const std::function<void()>& check) {
  int ends[2];
  MOAT_CHILD_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  MOAT_CHILD_CHECK(InChild([&] {
                     const pid_t child = fork();
                     if (child == 0) {
                       close(from);
                       ReadAll(weights);
                       MOAT_CHILD_CHECK(dup2(ReceiveFd(ends[1]), from) == from);
                       check();
                       _exit(0);
                     }
                     SendFd(ends[0], dup(from));
                     int status = -1;
                     MOAT_CHILD_CHECK(waitpid(child, &status, 0) == child && status == 0);
                   }) == 0);
}
// After an exec the program is another, the label stays: sh itself writes to the descriptor.
void ByAnExec(const std::string& weights, int from, const std::function<void()>& check) {
  MOAT_CHILD_CHECK(InChild([&] {
                     ReadAll(weights);
                     MOAT_CHILD_CHECK(dup2(from, 9) == 9);  // a plain sh knows descriptors of one digit
                     execl("/bin/sh", "sh", "-c", "printf 0123456789 >&9", nullptr);
                     _exit(98);
                   }) == 0);
  check();
}

class HoldingWayBpfTest : public HoldingBpfTest, public testing::WithParamInterface<Way> {};
INSTANTIATE_TEST_SUITE_P(Ways, HoldingWayBpfTest,
                         testing::Values(Way{"itself", ByItself}, Way{"thread", ByAThread}, Way{"fork", ByAChildOfTheReader},
                                         Way{"double_fork_setsid", ByAGrandchild}, Way{"passed_socket", ByAPassedSocket},
                                         Way{"exec", ByAnExec}),
                         [](const auto& way) { return way.param.name; });

TEST_P(HoldingWayBpfTest, ALabelClosesASocketThatWasOpenBefore) {
  StartEnforced();
  RunInside([this] {
    const Pair denied("0.0.0.0", "127.0.0.1"), allowed("0.0.0.0", "127.0.0.2");
    MOAT_CHILD_CHECK(Passes(denied.client, denied.server) && Passes(allowed.client, allowed.server));
    GetParam().send(weights(), denied.client, [&] {
      MOAT_CHILD_CHECK(!Passes(denied.client, denied.server));
      MOAT_CHILD_CHECK(!Passes(denied.client, denied.server));  // nor later
      MOAT_CHILD_CHECK(Passes(allowed.client, allowed.server));
    });
  });
  const std::string rule = " by p: egress.holding model: not among the allowed";
  EXPECT_THAT(AllTold(), Contains(testing::AllOf(StartsWith("deny packet 127.0.0.1:"), EndsWith(rule))));
  EXPECT_THAT(AllTold(), Each(StartsWith("deny packet 127.0.0.1:")));
}

// An accepted connection: the caller's port says nothing, so the address decides, and of rules that are not of holders none.
TEST_F(HoldingBpfTest, AHolderAnswersTheAllowedOnly) {
  StartEnforced();
  RunInside([this] {
    const int listener = Listening("0.0.0.0"), client = Bound("127.0.0.2", SOCK_STREAM);
    const Name name("127.0.0.1", PortOf(listener));
    MOAT_CHILD_CHECK(connect(client, name.get(), name.length) == 0);
    const int server = accept(listener, nullptr, nullptr);
    const Pair denied("127.0.0.1");
    MOAT_CHILD_CHECK(Passes(denied.server, denied.client) && Passes(server, client));
    ReadAll(weights());
    MOAT_CHILD_CHECK(Passes(server, client) && !Passes(denied.server, denied.client));
  });
}

}  // namespace
}  // namespace moat::test
