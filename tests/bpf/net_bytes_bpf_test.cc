// SPDX-License-Identifier: Apache-2.0
// Payload bytes per socket and per process, by every way to send and receive; the labels that the senders held.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <numeric>
#include <thread>

#include "bpf/abi/label.h"
#include "tests/bpf/net_kit.h"

namespace moat::test {
namespace {

using ::testing::IsEmpty;

constexpr int kTimes = 23;

class NetBytesBpfTest : public NetBpfTest {
 protected:
  static moat_net_totals Totals(pid_t pid) {
    moat_net_totals sum{};
    for (const auto& [key, value] : MapRows<moat_proc_key, moat_net_totals>("moat_net_totals")) {
      if (key.pid == static_cast<uint32_t>(pid)) {
        sum = value;
      }
    }
    return sum;
  }
  // The flows of the only connect and the only accept.
  moat_flow Client() { return CloseOf(Events(MOAT_KIND_NET_CONNECT).at(0).cookie).flow; }
  moat_flow Server() { return CloseOf(Events(MOAT_KIND_NET_ACCEPT).at(0).cookie).flow; }
};

TEST_F(NetBytesBpfTest, BothWaysAndBothEnds) {
  Start();
  const pid_t pid = RunInside([] {
    const Pair pair;
    for (int i = 0; i < kTimes; ++i) {
      SendAll(pair.client, 1001);
      TakeAll(pair.server, 1001);
    }
    SendAll(pair.server, 77);
    TakeAll(pair.client, 77);
  });
  WaitForCloses(2);
  EXPECT_EQ(Client().bytes_out, 1001u * kTimes);
  EXPECT_EQ(Client().sends, uint64_t{kTimes});
  EXPECT_EQ(Client().bytes_in, 77u);
  EXPECT_EQ(Client().receives, 1u);
  EXPECT_EQ(Server().bytes_in, 1001u * kTimes);
  EXPECT_EQ(Server().bytes_out, 77u);
  EXPECT_EQ(Totals(pid).bytes_out, 1001u * kTimes + 77);
  EXPECT_EQ(Totals(pid).bytes_in, 1001u * kTimes + 77);
  EXPECT_EQ(Totals(pid).bytes_out_labelled, 0u);
}

TEST_F(NetBytesBpfTest, EveryWayToSend) {
  Start();
  constexpr size_t kChunk = 500;
  RunInside([] {
    const Pair pair;
    std::string block(kChunk, 'b');
    iovec parts[] = {{block.data(), 200}, {block.data() + 200, kChunk - 200}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    mmsghdr messages[3] = {{message, 0}, {message, 0}, {message, 0}};
    char name[] = "/var/tmp/moat-bpf-XXXXXX";
    const int file = mkstemp(name);
    unlink(name);
    off_t offset = 0;
    int pipes[2];
    MOAT_CHILD_CHECK(file >= 0 && write(file, block.data(), kChunk) == kChunk && pipe(pipes) == 0);
    MOAT_CHILD_CHECK(write(pair.client, block.data(), kChunk) == kChunk);
    MOAT_CHILD_CHECK(send(pair.client, block.data(), kChunk, 0) == kChunk);
    MOAT_CHILD_CHECK(writev(pair.client, parts, 2) == kChunk);
    MOAT_CHILD_CHECK(sendmsg(pair.client, &message, 0) == kChunk);
    MOAT_CHILD_CHECK(sendmmsg(pair.client, messages, 3, 0) == 3);
    MOAT_CHILD_CHECK(sendfile(pair.client, file, &offset, kChunk) == kChunk);
    MOAT_CHILD_CHECK(write(pipes[1], block.data(), kChunk) == kChunk);
    MOAT_CHILD_CHECK(splice(pipes[0], nullptr, pair.client, nullptr, kChunk, 0) == kChunk);
    TakeAll(pair.server, 9 * kChunk);
  });
  WaitForCloses(2);
  EXPECT_EQ(Client().bytes_out, 9 * kChunk);
  EXPECT_EQ(Client().sends, 9u);
  EXPECT_EQ(Server().bytes_in, 9 * kChunk);
}

TEST_F(NetBytesBpfTest, EveryWayToReceiveAndNoPeekOrFailure) {
  Start();
  constexpr size_t kChunk = 500;
  RunInside([] {
    const Pair pair;
    std::string block(kChunk, 'b');
    iovec parts[] = {{block.data(), 200}, {block.data() + 200, kChunk - 200}};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    mmsghdr messages[1] = {{message, 0}};
    MOAT_CHILD_CHECK(recv(pair.server, block.data(), kChunk, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    SendAll(pair.client, 5 * kChunk);
    MOAT_CHILD_CHECK(recv(pair.server, block.data(), kChunk, MSG_PEEK | MSG_WAITALL) == kChunk);
    MOAT_CHILD_CHECK(read(pair.server, block.data(), kChunk) == kChunk);
    MOAT_CHILD_CHECK(recv(pair.server, block.data(), kChunk, 0) == kChunk);
    MOAT_CHILD_CHECK(readv(pair.server, parts, 2) == kChunk);
    MOAT_CHILD_CHECK(recvmsg(pair.server, &message, 0) == kChunk);
    MOAT_CHILD_CHECK(recvmmsg(pair.server, messages, 1, 0, nullptr) == 1);
    shutdown(pair.client, SHUT_WR);
    MOAT_CHILD_CHECK(read(pair.server, block.data(), kChunk) == 0);  // the end: no bytes
    MOAT_CHILD_CHECK(send(pair.client, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
  });
  WaitForCloses(2);
  EXPECT_EQ(Server().bytes_in, 5 * kChunk);
  EXPECT_EQ(Server().receives, 5u);
  EXPECT_EQ(Client().bytes_out, 5 * kChunk);
  EXPECT_EQ(Client().sends, 1u);
}

TEST_F(NetBytesBpfTest, BytesReadAfterThePeersEndBelongToTheFlow) {
  Start();
  RunInside([] {
    const Pair pair;
    SendAll(pair.server, 5000);
    shutdown(pair.client, SHUT_WR);
    shutdown(pair.server, SHUT_RDWR);
    usleep(50000);  // both ends have reached CLOSE or TIME_WAIT; the data is still in the client's queue
    TakeAll(pair.client, 5000);
  });
  WaitForCloses(2);
  EXPECT_EQ(Client().bytes_in, 5000u);
  EXPECT_EQ(Server().bytes_out, 5000u);
}

TEST_F(NetBytesBpfTest, UnixSocketsDoNotCount) {
  Start();
  const pid_t pid = RunInside([] {
    int pair[2];
    MOAT_CHILD_CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    SendAll(pair[0], 1000);
    TakeAll(pair[1], 1000);
  });
  EXPECT_EQ(Totals(pid).bytes_out + Totals(pid).bytes_in, 0u);
  EXPECT_THAT(records(), IsEmpty()) << Summary();
}

TEST_F(NetBytesBpfTest, TwoSendersOnOneSocket) {
  Start();
  Shared<pid_t> child;
  const pid_t parent = RunInside([&] {
    const Pair pair;
    SendAll(pair.client, 100);
    InChild([&] {
      *child = getpid();
      SendAll(pair.client, 23);
    });
    TakeAll(pair.server, 123);
  });
  WaitForCloses(2);
  EXPECT_EQ(Client().bytes_out, 123u);
  EXPECT_EQ(Client().pid, static_cast<uint32_t>(parent));
  EXPECT_EQ(Client().net_flags, MOAT_NET_ESTABLISHED | MOAT_NET_SHARED);
  EXPECT_EQ(Server().net_flags, MOAT_NET_ESTABLISHED | MOAT_NET_PASSIVE);
  EXPECT_EQ(Totals(parent).bytes_out, 100u);
  EXPECT_EQ(Totals(*child).bytes_out, 23u);
}

TEST_F(NetBytesBpfTest, ASocketFromOutsideBelongsToItsFirstUser) {
  Start();
  if (Unseen("net.sent", "old_sockets")) {
    GTEST_SKIP() << "this kernel has no bpf_get_socket_cookie() for tracing programs that see bytes: such a socket has no flow";
  }
  Pair pair;  // by this test, outside
  const pid_t pid = RunInside([&] {
    SendAll(pair.client, 100);
    SendAll(pair.client, 11);
  });
  TakeAll(pair.server, 111);
  DrainAll();
  const auto flows = MapRows<uint64_t, moat_flow>("moat_flows");
  ASSERT_EQ(flows.size(), 1u);
  EXPECT_EQ(flows[0].second.pid, static_cast<uint32_t>(pid));
  EXPECT_EQ(flows[0].second.bytes_out, 111u);
  EXPECT_EQ(flows[0].second.ep.remote_port, PortOf(pair.listener));
  shutdown(pair.client, SHUT_RDWR);
  close(std::exchange(pair.client, -1));
  close(std::exchange(pair.server, -1));
  WaitForCloses(1);
  EXPECT_EQ(Closes().at(0).flow.bytes_out, 111u);
}

TEST_F(NetBytesBpfTest, ManyThreadsOnOneSocketLoseNothing) {
  Start();
  constexpr int kThreads = 4, kEach = 2000;
  const pid_t pid = RunInside([] {
    const int receiver = Bound("127.0.0.1", SOCK_DGRAM), sender = Connected("127.0.0.1", PortOf(receiver), SOCK_DGRAM);
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([sender] {
        for (int n = 0; n < kEach; ++n) {
          SendAll(sender, 3);
        }
      });
    }
  });
  WaitForCloses(2);
  ExpectCounted(Client().sends, kThreads * kEach, MOAT_KIND_NET_FLOW);
  EXPECT_EQ(Client().bytes_out, 3 * Client().sends);
  EXPECT_EQ(Totals(pid).bytes_out, 3 * Client().sends);
}

class NetLabelBpfTest : public NetBytesBpfTest {
 protected:
  void SetUp() override {
    NetBytesBpfTest::SetUp();
    WriteFile(weights(), std::string(10000, 'w'));
    config().process = config().file = true;  // labels come of reads, and are inherited on fork
    config().assets = {{.name = "model", .paths = {weights()}}};
    Start();
  }
  std::string weights() const { return dir_.File("weights"); }
  void ReadWeights() const {
    char byte;
    const int fd = open(weights().c_str(), O_RDONLY);
    MOAT_CHILD_CHECK(fd >= 0 && read(fd, &byte, 1) == 1);
    close(fd);
  }

 private:
  TempDir dir_;
};

TEST_F(NetLabelBpfTest, WhoHasReadAnAssetConnectsWithItsLabel) {
  const pid_t pid = RunInside([&] {
    ReadWeights();
    const Pair pair;
    SendAll(pair.client, 1000);
    TakeAll(pair.server, 1000);
  });
  WaitForCloses(2);
  EXPECT_EQ(Events(MOAT_KIND_NET_CONNECT).at(0).hdr.labels, 1u);
  EXPECT_EQ(Events(MOAT_KIND_NET_ACCEPT).at(0).hdr.labels, 1u);
  EXPECT_EQ(Client().labels, 1u);
  EXPECT_EQ(Server().labels, 0u) << "it has received, not sent";
  EXPECT_EQ(CloseOf(Events(MOAT_KIND_NET_CONNECT).at(0).cookie).hdr.labels, 1u);
  EXPECT_EQ(Totals(pid).bytes_out_labelled, 1000u);
}

TEST_F(NetLabelBpfTest, ASocketOpenedBeforeCarriesTheLabelFromTheNextSend) {
  const pid_t pid = RunInside([&] {
    const Pair pair;
    SendAll(pair.client, 100);
    ReadWeights();
    SendAll(pair.client, 1000);
    TakeAll(pair.server, 1100);
  });
  WaitForCloses(2);
  EXPECT_EQ(Events(MOAT_KIND_NET_CONNECT).at(0).hdr.labels, 0u);
  EXPECT_EQ(Client().labels, 1u);
  EXPECT_EQ(Totals(pid).bytes_out, 1100u);
  EXPECT_EQ(Totals(pid).bytes_out_labelled, 1000u);
}

TEST_F(NetLabelBpfTest, AChildSendsWithWhatItInherited) {
  Shared<pid_t> child;
  RunInside([&] {
    ReadWeights();
    InChild([&] {
      *child = getpid();
      const Pair pair;
      SendAll(pair.client, 1000);
      TakeAll(pair.server, 1000);
    });
  });
  WaitForCloses(2);
  EXPECT_EQ(Events(MOAT_KIND_NET_CONNECT).at(0).hdr.pid, static_cast<uint32_t>(*child));
  EXPECT_EQ(Events(MOAT_KIND_NET_CONNECT).at(0).hdr.labels, 1u);
  EXPECT_EQ(Client().labels, 1u);
  EXPECT_EQ(Totals(*child).bytes_out_labelled, 1000u);
}

TEST_F(NetLabelBpfTest, OneLabelledSenderIsEnoughAndAnUnlabelledProcessStaysSo) {
  RunInside([&] {
    const Pair pair;
    SendAll(pair.client, 100);
    InChild([&] {  // after this fork: the parent does not get the child's label
      ReadWeights();
      SendAll(pair.client, 10);
    });
    SendAll(pair.client, 100);
    TakeAll(pair.server, 210);
    const Pair other;
    SendAll(other.client, 1);
    TakeAll(other.server, 1);
  });
  WaitForCloses(4);
  EXPECT_EQ(Client().labels, 1u);
  EXPECT_EQ(Client().net_flags, MOAT_NET_ESTABLISHED | MOAT_NET_SHARED);
  EXPECT_EQ(CloseOf(Events(MOAT_KIND_NET_CONNECT).at(1).cookie).flow.labels, 0u);
}

}  // namespace
}  // namespace moat::test
