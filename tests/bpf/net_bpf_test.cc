// SPDX-License-Identifier: Apache-2.0
// Connects, unconnected sends, listening, accepts and closes: exact counts, and both ends as they were.
#include <fcntl.h>
#include <gmock/gmock.h>

#include <map>
#include <set>
#include <thread>

#include "tests/bpf/net_kit.h"

namespace moat::test {
namespace {

using ::testing::IsEmpty;

constexpr int kTimes = 23;
constexpr uint32_t kAccepted = MOAT_NET_PASSIVE | MOAT_NET_ESTABLISHED;

struct Ports {
  uint16_t listener = 0, client = 0;
};

struct Family {
  const char* name;
  const char* listen_on;
  const char* connect_to;
  const char* shown;   // the address that both ends show
  uint32_t client, server;  // MOAT_NET_MAPPED where that end is an IPv6 socket that speaks IPv4
};

class NetFamilyBpfTest : public NetBpfTest, public ::testing::WithParamInterface<Family> {};

INSTANTIATE_TEST_SUITE_P(Families, NetFamilyBpfTest,
                         ::testing::Values(Family{"v4", "127.0.0.1", "127.0.0.1", "127.0.0.1", 0, 0},
                                           Family{"v6", "::1", "::1", "::1", 0, 0},
                                           Family{"mapped", "127.0.0.1", "::ffff:127.0.0.1", "127.0.0.1", MOAT_NET_MAPPED, 0},
                                           Family{"dual", "::", "127.0.0.1", "127.0.0.1", 0, MOAT_NET_MAPPED}),
                         [](const auto& family) { return family.param.name; });

TEST_P(NetFamilyBpfTest, EachTcpConnectionFromBothEnds) {
  const Family& family = GetParam();
  Start();
  Shared<Ports> ports;
  RunInside([&] {
    const int listener = Listening(family.listen_on);
    ports->listener = PortOf(listener);
    for (int i = 0; i < kTimes; ++i) {
      const int client = Connected(family.connect_to, ports->listener, SOCK_STREAM);
      ports->client = PortOf(client);
      close(accept(listener, nullptr, nullptr));
      close(client);
    }
  });
  WaitForCloses(2 * kTimes);
  const auto listens = Events(MOAT_KIND_NET_LISTEN), connects = Events(MOAT_KIND_NET_CONNECT),
             accepts = Events(MOAT_KIND_NET_ACCEPT);
  ASSERT_EQ(listens.size(), 1u) << Summary();
  ASSERT_EQ(connects.size(), size_t{kTimes}) << Summary();
  ASSERT_EQ(accepts.size(), size_t{kTimes}) << Summary();
  EXPECT_EQ(listens[0].ep.local_port, ports->listener);
  EXPECT_EQ(AddressOf(listens[0].ep.local, listens[0].ep.family), family.listen_on);

  const std::string shown = family.shown, listener = ":" + std::to_string(ports->listener),
                    client = ":" + std::to_string(ports->client);
  const std::string ahead = shown + client + " > " + shown + listener + " tcp",
                    back = shown + listener + " > " + shown + client + " tcp";
  for (const moat_net_event& connect : connects) {
    EXPECT_EQ(AddressOf(connect.ep.remote, connect.ep.family) + ":" + std::to_string(connect.ep.remote_port), shown + listener);
    EXPECT_EQ(connect.ep.protocol, IPPROTO_TCP);
    EXPECT_EQ(connect.net_flags, family.client);
    EXPECT_EQ(CloseOf(connect.cookie).flow.net_flags, family.client | MOAT_NET_ESTABLISHED);
  }
  for (const moat_net_event& accept : accepts) {
    EXPECT_EQ(accept.net_flags, kAccepted | family.server);
    EXPECT_EQ(CloseOf(accept.cookie).flow.net_flags, kAccepted | family.server);
    EXPECT_EQ(CloseOf(accept.cookie).hdr.cgroup_id, cgroup_id());
  }
  EXPECT_EQ(ToString(CloseOf(connects.back().cookie).flow.ep), ahead);
  EXPECT_EQ(ToString(accepts.back().ep), back);
  EXPECT_EQ(ToString(CloseOf(accepts.back().cookie).flow.ep), back);
}

TEST_P(NetFamilyBpfTest, EachUdpConnectAndTheBinds) {
  const Family& family = GetParam();
  Start();
  Shared<Ports> ports;
  RunInside([&] {
    const int server = Bound(family.listen_on, SOCK_DGRAM);
    ports->listener = PortOf(server);
    for (int i = 0; i < kTimes; ++i) {
      const int client = Connected(family.connect_to, ports->listener, SOCK_DGRAM);
      ports->client = PortOf(client);
      close(client);
    }
  });
  WaitForCloses(kTimes + 1);
  const auto listens = Events(MOAT_KIND_NET_LISTEN), connects = Events(MOAT_KIND_NET_CONNECT);
  ASSERT_EQ(listens.size(), 1u) << Summary();
  EXPECT_EQ(AddressOf(listens[0].ep.local, listens[0].ep.family) + ":" + std::to_string(listens[0].ep.local_port),
            family.listen_on + (":" + std::to_string(ports->listener)));
  EXPECT_EQ(listens[0].ep.protocol, IPPROTO_UDP);
  ASSERT_EQ(connects.size(), size_t{kTimes}) << Summary();
  for (const moat_net_event& connect : connects) {
    EXPECT_EQ(connect.net_flags, family.client);
    EXPECT_EQ(connect.ep.protocol, IPPROTO_UDP);
    EXPECT_EQ(connect.ep.remote_port, ports->listener);
    EXPECT_EQ(AddressOf(connect.ep.remote, connect.ep.family), family.shown);
  }
  const std::string shown = family.shown;
  EXPECT_EQ(ToString(CloseOf(connects.back().cookie).flow.ep),
            shown + ":" + std::to_string(ports->client) + " > " + shown + ":" + std::to_string(ports->listener) + " udp");
}

TEST_P(NetFamilyBpfTest, AnUnconnectedSendOncePerDestination) {
  const Family& family = GetParam();
  Start();
  constexpr int kDestinations = 5;
  Shared<std::array<uint16_t, kDestinations>> ports;
  RunInside([&] {
    const int sender = socket(Name(family.connect_to, 0).family(), SOCK_DGRAM, 0);
    int receivers[kDestinations];
    for (int i = 0; i < kDestinations; ++i) {
      receivers[i] = Bound(family.listen_on, SOCK_DGRAM);
      (*ports)[i] = PortOf(receivers[i]);
    }
    for (int i = 0; i < kTimes * kDestinations; ++i) {
      const Name to(family.connect_to, (*ports)[i % kDestinations]);
      MOAT_CHILD_CHECK(sendto(sender, "12345678901", 11, 0, to.get(), to.length) == 11);
    }
  });
  WaitForCloses(kDestinations + 1);
  const auto sends = Events(MOAT_KIND_NET_SEND);
  ASSERT_EQ(sends.size(), size_t{kDestinations}) << Summary();
  for (int i = 0; i < kDestinations; ++i) {
    EXPECT_EQ(sends[i].ep.remote_port, (*ports)[i]);
    EXPECT_EQ(AddressOf(sends[i].ep.remote, sends[i].ep.family), family.shown);
    EXPECT_EQ(sends[i].net_flags, family.client);
    EXPECT_EQ(sends[i].cookie, sends[0].cookie);
  }
  const moat_flow flow = CloseOf(sends[0].cookie).flow;
  EXPECT_EQ(flow.sends, uint64_t{kTimes * kDestinations});
  EXPECT_EQ(flow.bytes_out, 11u * kTimes * kDestinations);
  EXPECT_EQ(flow.ep.remote_port, (*ports)[0]) << "the first destination stands for the flow";
  EXPECT_NE(flow.ep.local_port, 0) << "chosen at the first send";
}

TEST_F(NetBpfTest, ANeighbourOutsideTheScopeIsNotSeen) {
  Start();
  const auto work = [] {
    for (int i = 0; i < kTimes; ++i) {
      Pair pair;
      SendAll(pair.client, 100);
      TakeAll(pair.server, 100);
      const int receiver = Bound("127.0.0.1", SOCK_DGRAM);
      const Name to("127.0.0.1", PortOf(receiver));
      MOAT_CHILD_CHECK(sendto(receiver, "x", 1, 0, to.get(), to.length) == 1);
      close(receiver);
    }
  };
  RunOutside(work);
  EXPECT_THAT(records(), IsEmpty()) << Summary();
  EXPECT_THAT((MapRows<uint64_t, moat_flow>("moat_flows")), IsEmpty());
  RunInside(work);
  WaitForCloses(3 * kTimes);
}

TEST_F(NetBpfTest, AConnectionAcrossTheBorderIsToldByTheEndInside) {
  Start();
  Signal done;
  const int listener = Listening("127.0.0.1");  // by this test, outside
  const uint16_t port = PortOf(listener);
  const pid_t pid = Spawn([&] {
    close(listener);
    const int client = Connected("127.0.0.1", port, SOCK_STREAM);
    SendAll(client, 1000);
    done.Take();
    close(client);
  });
  const int server = accept(listener, nullptr, nullptr);
  TakeAll(server, 1000);
  done.Give();
  Finish(pid);
  close(server);
  close(listener);
  WaitForCloses(1);
  EXPECT_EQ(Count(MOAT_KIND_NET_CONNECT, pid), 1u);
  EXPECT_EQ(Count(MOAT_KIND_NET_ACCEPT), 0u);
  EXPECT_EQ(Closes().at(0).flow.bytes_out, 1000u);
}

TEST_F(NetBpfTest, ARefusedConnectIsToldAndSaysSoAtItsEnd) {
  Start();
  RunInside([] {
    const int other = Bound("127.0.0.1", SOCK_STREAM);  // bound, not listening: nobody else gets the port meanwhile
    const Name name("127.0.0.1", PortOf(other));
    for (int i = 0; i < kTimes; ++i) {
      const int fd = socket(AF_INET, SOCK_STREAM, 0);
      MOAT_CHILD_CHECK(connect(fd, name.get(), name.length) == -1 && errno == ECONNREFUSED);
      close(fd);
    }
    // A second attempt on the same socket is a second connection.
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    for (int i = 0; i < 2; ++i) {
      MOAT_CHILD_CHECK(connect(fd, name.get(), name.length) == -1 && errno == ECONNREFUSED);
    }
  });
  WaitForCloses(kTimes + 2);
  EXPECT_EQ(Count(MOAT_KIND_NET_CONNECT), size_t{kTimes + 2});
  EXPECT_EQ(Count(MOAT_KIND_NET_LISTEN), 0u) << "a bound TCP socket is not listening";
  for (const moat_net_close& close : Closes()) {
    EXPECT_EQ(close.flow.net_flags & MOAT_NET_ESTABLISHED, 0u);
    EXPECT_EQ(close.flow.bytes_out + close.flow.bytes_in, 0u);
  }
}

TEST_F(NetBpfTest, ADatagramSocketThatChangesItsPeerIsOneFlow) {
  Start();
  RunInside([] {
    const int one = Bound("127.0.0.1", SOCK_DGRAM), two = Bound("127.0.0.1", SOCK_DGRAM);
    const Name first("127.0.0.1", PortOf(one)), second("127.0.0.1", PortOf(two));
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    MOAT_CHILD_CHECK(connect(fd, first.get(), first.length) == 0 && send(fd, "abc", 3, 0) == 3);
    MOAT_CHILD_CHECK(connect(fd, second.get(), second.length) == 0 && send(fd, "abcd", 4, 0) == 4);
  });
  WaitForCloses(3);
  const auto connects = Events(MOAT_KIND_NET_CONNECT);
  ASSERT_EQ(connects.size(), 2u) << Summary();
  EXPECT_EQ(connects[0].cookie, connects[1].cookie);
  EXPECT_NE(connects[0].ep.remote_port, connects[1].ep.remote_port);
  const moat_flow flow = CloseOf(connects[0].cookie).flow;
  EXPECT_EQ(flow.bytes_out, 7u);
  EXPECT_EQ(flow.ep.remote_port, connects[1].ep.remote_port);
}

TEST_F(NetBpfTest, AnEndInSoftIrqBearsTheOwnersName) {
  Start();
  const int listener = Listening("127.0.0.1");
  const uint16_t port = PortOf(listener);
  const pid_t pid = RunInside([&] {
    const int client = Connected("127.0.0.1", port, SOCK_STREAM);
    const std::string block(1 << 16, 's');
    while (send(client, block.data(), block.size(), MSG_DONTWAIT) > 0) {
    }
    close(client);  // with more in its buffer than the peer has room for: only the peer's reading lets it end
  });
  DrainAll();
  EXPECT_EQ(Closes().size(), 0u) << "its process is gone, the connection not yet";
  const int server = accept(listener, nullptr, nullptr);
  std::string block(1 << 16, 0);
  uint64_t taken = 0;
  for (ssize_t bytes; (bytes = recv(server, block.data(), block.size(), 0)) > 0; taken += static_cast<uint64_t>(bytes)) {
  }
  close(server);
  close(listener);
  WaitForCloses(1);
  const moat_net_close end = Closes().at(0);
  EXPECT_EQ(end.hdr.pid, static_cast<uint32_t>(pid));
  EXPECT_EQ(end.hdr.flags, 0u);
  EXPECT_EQ(end.hdr.cgroup_id, cgroup_id());
  EXPECT_EQ(end.hdr.start_ns, Events(MOAT_KIND_NET_CONNECT).at(0).hdr.start_ns);
  EXPECT_STREQ(end.hdr.comm, Events(MOAT_KIND_NET_CONNECT).at(0).hdr.comm);
  EXPECT_GE(end.hdr.time_ns, end.flow.last_ns);
  EXPECT_EQ(end.flow.pid, static_cast<uint32_t>(pid));
  EXPECT_EQ(end.flow.bytes_out, taken);
  EXPECT_GT(taken, 0u);
}

TEST_F(NetBpfTest, ManyConnectionsAtOnceEndOnceEach) {
  Start();
  constexpr int kThreads = 4, kEach = 250;
  RunInside([] {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([i] {
        for (int n = 0; n < kEach; ++n) {
          const Pair pair;
          if (n % 3 == 0) {  // ends by a reset
            const linger hard{.l_onoff = 1, .l_linger = 0};
            setsockopt(n % 2 == 0 ? pair.client : pair.server, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
          }
          SendAll(pair.client, 10);
          TakeAll(pair.server, 10);
          if (n % 3 == 1) {
            shutdown(i % 2 == 0 ? pair.client : pair.server, SHUT_RDWR);
          }
        }
      });
    }
  });
  if (Missed() > 0) {  // then no number is exact, but none is lost without a word
    for (int i = 0; i < 2000 && Closes().size() + Missed(MOAT_KIND_NET_CLOSE) < 2 * kThreads * kEach; ++i) {
      usleep(5000);
      DrainAll();
    }
    ExpectCounted(Closes().size(), 2 * kThreads * kEach, MOAT_KIND_NET_CLOSE);
    return;
  }
  WaitForCloses(2 * kThreads * kEach);
  std::set<uint64_t> cookies;
  uint64_t out = 0, in = 0;
  for (const moat_net_close& close : Closes()) {
    EXPECT_TRUE(cookies.insert(close.cookie).second) << "told twice";
    out += close.flow.bytes_out;
    in += close.flow.bytes_in;
  }
  EXPECT_EQ(out, 10u * kThreads * kEach);
  EXPECT_EQ(in, 10u * kThreads * kEach);
}

}  // namespace
}  // namespace moat::test
