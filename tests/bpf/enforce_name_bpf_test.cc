// SPDX-License-Identifier: Apache-2.0
// Peers by name: learnt from DNS answers, held against the name in the ClientHello.
#include <gmock/gmock.h>

#include <netinet/tcp.h>

#include <algorithm>
#include <random>
#include <string>

#include "bpf/abi/stats.h"
#include "tests/bpf/enforce_kit.h"
#include "tests/bpf/name_kit.h"

namespace moat::test {
namespace {

using ::testing::ElementsAre;

constexpr const char* kResolver = "127.0.0.77";

class EnforceNameBpfTest : public EnforceBpfTest {
 protected:
  void Trust() {
    policy::Resolver resolver{.address = {127, 0, 0, 77}, .v6 = false, .local = true};
    ASSERT_TRUE(probe().Policies()->SetResolvers({resolver}));
    probe().Policies()->ForgetExpired(UINT64_MAX);  // a probe that tests share remembers those before
  }

  // Everything denied but what a test of names needs, and these peers.
  void EnforceNames(const std::string& peers, const std::string& more = "") {
    Enforce(
        PolicyOf("  egress:\n    default: deny\n    allow:\n      - {cidr: 127.0.0.77/32}\n      - {cidr: 127.0.0.78/32}\n"
                 "      - {cidr: 127.0.0.1/32, ports: [1-65535/udp]}\n" +
                 peers + more));
  }

  size_t Learnt() { return MapRows<moat_pol_learnt_key, moat_pol_learnt>("moat_pol_learnt").size(); }

  // What verdicts say of denials: why, and the name.
  std::vector<std::string> Whys(pid_t pid) {
    std::vector<std::string> out;
    for (const moat_verdict& verdict : Verdicts(pid)) {
      if (verdict.action == MOAT_VERDICT_DENY) {
        std::string name(verdict.name);
        std::ranges::reverse(name);
        out.push_back(std::to_string(verdict.why) + " " + name);
      }
    }
    return out;
  }
};

// A socket of this process gets the bytes from a server at an address, port 53. The server is a socket beside it.
void Receive(const std::string& bytes, const char* server = kResolver) {
  const Name at(server, 53);
  const int answers = socket(AF_INET, SOCK_DGRAM, 0), asks = Bound("127.0.0.1", SOCK_DGRAM);
  const int one = 1;
  MOAT_CHILD_CHECK(setsockopt(answers, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
  MOAT_CHILD_CHECK(bind(answers, at.get(), at.length) == 0);
  const Name to("127.0.0.1", PortOf(asks));
  MOAT_CHILD_CHECK(sendto(answers, bytes.data(), bytes.size(), 0, to.get(), to.length) == static_cast<ssize_t>(bytes.size()));
  char block[8192];
  MOAT_CHILD_CHECK(recv(asks, block, sizeof(block), 0) == static_cast<ssize_t>(bytes.size()));
  close(answers);
  close(asks);
}

void Learn(const DnsAnswer& answer, const char* server = kResolver) { Receive(answer.Bytes(), server); }

// A connection to a listener of its own; the first bytes are sent in pieces. Whether they all arrive.
bool Arrives(const char* address, const std::string& bytes, size_t piece = SIZE_MAX) {
  const Pair pair(address);
  const int one = 1;
  MOAT_CHILD_CHECK(setsockopt(pair.client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
  for (size_t at = 0; at < bytes.size(); at += std::min(piece, bytes.size() - at)) {
    const size_t n = std::min(piece, bytes.size() - at);
    MOAT_CHILD_CHECK(send(pair.client, bytes.data() + at, n, 0) == static_cast<ssize_t>(n));
  }
  // After it something that everybody may send who may send at all
  MOAT_CHILD_CHECK(send(pair.client, "!", 1, 0) == 1);
  std::string got;
  char block[16384];
  pollfd wait{pair.server, POLLIN, 0};
  while (got.size() < bytes.size() + 1 && poll(&wait, 1, 150) == 1) {
    const ssize_t n = recv(pair.server, block, sizeof(block), 0);
    MOAT_CHILD_CHECK(n > 0);
    got.append(block, static_cast<size_t>(n));
  }
  return got == bytes + "!";
}

TEST_F(EnforceNameBpfTest, AnAddressIsKnownByTheNameThatItWasLearntFrom) {
  Start();
  Trust();
  EnforceNames("      - {fqdn: good.example, ports: [1-65535/tcp]}\n      - {fqdn: \"*.wild.example\"}\n");
  const pid_t pid = RunInside([] {
    const int listener = Listening("0.0.0.0");
    const uint16_t port = PortOf(listener);
    MOAT_CHILD_CHECK(TryConnect("127.0.1.1", port) == EPERM);
    Learn({.name = "Good.EXAMPLE", .addresses = {"127.0.1.1", "127.0.1.2"}});
    MOAT_CHILD_CHECK(TryConnect("127.0.1.1", port) == 0);
    MOAT_CHILD_CHECK(TryConnect("127.0.1.2", port) == 0);
    MOAT_CHILD_CHECK(TrySend("127.0.1.1", port) == EPERM);  // not by UDP
    Learn({.name = "other.example", .addresses = {"127.0.1.3"}});
    Learn({.name = "not-good.example", .addresses = {"127.0.1.3"}});
    Learn({.name = "good.example.evil", .addresses = {"127.0.1.3"}});
    MOAT_CHILD_CHECK(TryConnect("127.0.1.3", port) == EPERM);
    Learn({.name = "a.b.wild.example", .addresses = {"127.0.1.4"}, .alias = "cdn.elsewhere"});
    MOAT_CHILD_CHECK(TryConnect("127.0.1.4", port) == 0);
    MOAT_CHILD_CHECK(TrySend("127.0.1.4", port) == 0);
    Learn({.name = "wild.example", .addresses = {"127.0.1.5"}});
    MOAT_CHILD_CHECK(TryConnect("127.0.1.5", port) == EPERM);
  });
  EXPECT_THAT(AllTold(pid), testing::Contains(testing::HasSubstr("allow connect 127.0.1.4")));
  EXPECT_EQ(Learnt(), 3u);
}

TEST_F(EnforceNameBpfTest, OnlyResolversAreBelieved) {
  Start();
  Trust();
  EnforceNames("      - {fqdn: good.example}\n");
  const uint64_t untrusted = probe().KernelLedger().table_full[MOAT_TABLE_DNS_UNTRUSTED];
  RunInside([] {
    const uint16_t port = PortOf(Listening("0.0.0.0"));
    Learn({.name = "good.example", .addresses = {"127.0.2.1"}}, "127.0.0.78");
    MOAT_CHILD_CHECK(TryConnect("127.0.2.1", port) == EPERM);
    Learn({.name = "good.example", .addresses = {"127.0.2.1"}});
    MOAT_CHILD_CHECK(TryConnect("127.0.2.1", port) == 0);
  });
  EXPECT_EQ(probe().KernelLedger().table_full[MOAT_TABLE_DNS_UNTRUSTED], untrusted + 1);
  // One of another host does not answer over the loopback device.
  ASSERT_TRUE(probe().Policies()->SetResolvers({{.address = {127, 0, 0, 77}, .v6 = false, .local = false}}));
  RunInside([] {
    const uint16_t port = PortOf(Listening("0.0.0.0"));
    Learn({.name = "good.example", .addresses = {"127.0.2.2"}});
    MOAT_CHILD_CHECK(TryConnect("127.0.2.2", port) == EPERM);
  });
}

TEST_F(EnforceNameBpfTest, WhatOthersHaveLearntIsNotOnesOwn) {
  Start();
  Trust();
  EnforceNames("      - {fqdn: good.example}\n");
  const std::string child = cgroup_directory() + "/other";
  ASSERT_EQ(mkdir(child.c_str(), 0755), 0);
  RunInside([] { Learn({.name = "good.example", .addresses = {"127.0.3.1"}}); });
  RunInside([&] {
    const uint16_t port = PortOf(Listening("0.0.0.0"));
    MOAT_CHILD_CHECK(TryConnect("127.0.3.1", port) == 0);
    WriteFile(child + "/cgroup.procs", "0");
    MOAT_CHILD_CHECK(TryConnect("127.0.3.1", port) == EPERM);
  });
  EXPECT_EQ(rmdir(child.c_str()), 0);
}

TEST_F(EnforceNameBpfTest, AnExpiredNameClosesToNewConnectionsOnly) {
  Start();
  Trust();
  EnforceNames("      - {fqdn: good.example}\n");
  const uint32_t generation = probe().Policies()->generation();
  Signal expired, go;
  const pid_t pid = Spawn([&] {
    Learn({.name = "good.example", .addresses = {"127.0.4.1"}, .ttl = 0});
    const Pair pair("127.0.4.1");
    SendAll(pair.client, 100);
    TakeAll(pair.server, 100);
    usleep(2'200'000);
    MOAT_CHILD_CHECK(TryConnect("127.0.4.1", PortOf(pair.listener)) == EPERM);
    SendAll(pair.client, 100);
    TakeAll(pair.server, 100);
    expired.Give();
    go.Take();  // the same policy anew: asked again, the connection is still as good as when it was made
    SendAll(pair.client, 100);
    TakeAll(pair.server, 100);
    MOAT_CHILD_CHECK(TryConnect("127.0.4.1", PortOf(pair.listener)) == EPERM);
  });
  expired.Take();
  EnforceNames("      - {fqdn: good.example}\n");
  EXPECT_NE(probe().Policies()->generation(), generation);
  go.Give();
  Finish(pid);
  EXPECT_EQ(probe().Policies()->ForgetExpired(1), 0u);
  EXPECT_EQ(probe().Policies()->ForgetExpired(UINT64_MAX), 1u);
  EXPECT_EQ(Learnt(), 0u);
}

// The shortest time of a chain counts.
TEST_F(EnforceNameBpfTest, AnAliasExpiresToo) {
  Start();
  Trust();
  EnforceNames("      - {fqdn: good.example}\n");
  RunInside([] {
    const uint16_t port = PortOf(Listening("0.0.0.0"));
    Learn({.name = "good.example", .addresses = {"127.0.5.1"}, .ttl = 600, .alias = "cdn.example", .alias_ttl = 1});
    MOAT_CHILD_CHECK(TryConnect("127.0.5.1", port) == 0);
    usleep(2'200'000);
    MOAT_CHILD_CHECK(TryConnect("127.0.5.1", port) == EPERM);
  });
}

// Two names on one address, one of them allowed.
TEST_F(EnforceNameBpfTest, ANeighbourOnTheSameAddressIsNotLetIn) {
  Start();
  Trust();
  EnforceNames("      - {fqdn: ok.example, ports: [1-65535/tcp]}\n");
  const pid_t pid = RunInside([] {
    Learn({.name = "ok.example", .addresses = {"127.0.6.1"}});
    Learn({.name = "bad.example", .addresses = {"127.0.6.1"}});
    MOAT_CHILD_CHECK(Arrives("127.0.6.1", OpenSslHello()));
    MOAT_CHILD_CHECK(Arrives("127.0.6.1", Hello{.name = "OK.example"}.Bytes()));
    MOAT_CHILD_CHECK(Arrives("127.0.6.1", "GET / HTTP/1.1\r\n\r\n"));
    MOAT_CHILD_CHECK(!Arrives("127.0.6.1", Hello{.name = "bad.example"}.Bytes()));
  });
  EXPECT_THAT(Whys(pid), ElementsAre(std::to_string(MOAT_WHY_OTHER_NAME) + " bad.example"));
}

TEST_F(EnforceNameBpfTest, ANameThatCannotBeReadMatchesNoRule) {
  Start();
  Trust();
  EnforceNames("      - {fqdn: ok.example}\n");
  const pid_t pid = RunInside([] {
    Learn({.name = "ok.example", .addresses = {"127.0.7.1"}});
    MOAT_CHILD_CHECK(!Arrives("127.0.7.1", Hello{}.Bytes()));
    MOAT_CHILD_CHECK(!Arrives("127.0.7.1", Hello{.name = "ok.example", .ech = true}.Bytes()));
    MOAT_CHILD_CHECK(!Arrives("127.0.7.1", Hello{.name = "ok.example", .twice = true}.Bytes()));
    MOAT_CHILD_CHECK(!Arrives("127.0.7.1", Hello{.name = std::string("evil\0ok.example", 15)}.Bytes()));
    MOAT_CHILD_CHECK(!Arrives("127.0.7.1", Hello{.name = "ok.example", .padding = 4500}.Bytes()));
    MOAT_CHILD_CHECK(!Arrives("127.0.7.1", Hello{.name = "ok.example", .record = 1}.Bytes()));  // crumbs
    MOAT_CHILD_CHECK(!Arrives("127.0.7.1", std::string("\x80\x2e\x01\x03\x01", 5) + std::string(43, 'v')));
    // QUIC, DTLS, and what else goes by UDP
    const Name to("127.0.7.1", 4433), quic("127.0.7.1", 443);
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    MOAT_CHILD_CHECK(sendto(fd, "hello", 5, 0, to.get(), to.length) == 5);
    MOAT_CHILD_CHECK(sendto(fd, "\xc3\0\0\0\1abcdef", 11, 0, to.get(), to.length) == -1 && errno == EPERM);
    MOAT_CHILD_CHECK(sendto(fd, "\x16\xfe\xfd\0\0", 5, 0, to.get(), to.length) == -1 && errno == EPERM);
    MOAT_CHILD_CHECK(sendto(fd, "hello", 5, 0, quic.get(), quic.length) == -1 && errno == EPERM);
  });
  const std::string none = std::to_string(MOAT_WHY_NO_SNI) + " ", udp = std::to_string(MOAT_WHY_NOT_TCP) + " ";
  EXPECT_THAT(Whys(pid), ElementsAre(none, std::to_string(MOAT_WHY_ECH) + " ", none, none, none, none, none, udp, udp, udp));
}

TEST_F(EnforceNameBpfTest, AHelloInPiecesIsFollowed) {
  Start();
  Trust();
  EnforceNames("      - {fqdn: ok.example}\n");
  const pid_t pid = RunInside([] {
    Learn({.name = "ok.example", .addresses = {"127.0.8.1"}});
    for (const char* name : {"ok.example", "bad.example"}) {
      const bool good = std::string_view(name) == "ok.example";
      MOAT_CHILD_CHECK(Arrives("127.0.8.1", Hello{.name = name}.Bytes(), 1) == good);
      MOAT_CHILD_CHECK(Arrives("127.0.8.1", Hello{.name = name}.Bytes(), 7) == good);
      MOAT_CHILD_CHECK(Arrives("127.0.8.1", Hello{.name = name, .padding = 3500}.Bytes(), 1400) == good);
      MOAT_CHILD_CHECK(Arrives("127.0.8.1", Hello{.name = name, .padding = 3500}.Bytes()) == good);
      MOAT_CHILD_CHECK(Arrives("127.0.8.1", Hello{.name = name, .record = 40}.Bytes()) == good);
      MOAT_CHILD_CHECK(Arrives("127.0.8.1", Hello{.name = name, .record = 3}.Bytes(), 11) == good);
    }
  });
  EXPECT_EQ(Whys(pid), std::vector<std::string>(6, std::to_string(MOAT_WHY_OTHER_NAME) + " bad.example"));
}

// A policy that comes later knows no name of a connection that it has not seen begin.
TEST_F(EnforceNameBpfTest, AConnectionFromBeforeHasNoName) {
  Start();
  Trust();
  Signal connected, go;
  const pid_t pid = Spawn([&] {
    const Pair pair("127.0.9.1");
    connected.Give();
    go.Take();
    Learn({.name = "ok.example", .addresses = {"127.0.9.1"}});
    SendAll(pair.client, 10);
    pollfd wait{pair.server, POLLIN, 0};
    MOAT_CHILD_CHECK(poll(&wait, 1, 200) == 0);
    MOAT_CHILD_CHECK(TryConnect("127.0.9.1", PortOf(pair.listener)) == 0);
  });
  connected.Take();
  EnforceNames("      - {fqdn: ok.example}\n");
  go.Give();
  Finish(pid);
  EXPECT_THAT(Whys(pid), ElementsAre(std::to_string(MOAT_WHY_NO_SNI) + " "));
}

// Names say what holders may do, too; and a denial by name beats a permission by address.
TEST_F(EnforceNameBpfTest, DenialsByName) {
  Start();
  Trust();
  EnforceNames("      - {cidr: 127.0.10.0/24}\n", "    deny:\n      - {fqdn: \"*.bad.example\", ports: [1-65535/tcp]}\n");
  const pid_t pid = RunInside([] {
    MOAT_CHILD_CHECK(Arrives("127.0.10.1", Hello{.name = "a.good.example"}.Bytes()));
    MOAT_CHILD_CHECK(!Arrives("127.0.10.1", Hello{.name = "a.bad.example"}.Bytes()));  // by SNI alone
    Learn({.name = "x.bad.example", .addresses = {"127.0.10.2"}});
    MOAT_CHILD_CHECK(TryConnect("127.0.10.2", 9) == EPERM);
  });
  EXPECT_EQ(Whys(pid).size(), 2u);
}

// Whatever comes from a resolver: nothing is learnt of what is no answer, and the kernel stays whole.
TEST_F(EnforceNameBpfTest, BrokenAnswersTeachNothing) {
  Start();
  Trust();
  EnforceNames("      - {fqdn: good.example}\n");
  RunInside([] {
    const std::string good = DnsAnswer{.name = "good.example", .addresses = {"127.0.11.1"}}.Bytes();
    std::mt19937 random(1);
    for (size_t n = 1; n < good.size(); ++n) {
      Receive(good.substr(0, n));  // cut short
    }
    MOAT_CHILD_CHECK(TryConnect("127.0.11.1", PortOf(Listening("0.0.0.0"))) == EPERM);
    for (int i = 0; i < 2000; ++i) {
      std::string bytes = good;
      for (int k = 0; k < 3; ++k) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      bytes[bytes.size() - 1] = 99;  // another address than that of the test
      Receive(bytes);
    }
    std::string refused = good, query = good, dotted = good;
    refused[3] = static_cast<char>(0x83);
    query[2] = 0x01;
    dotted[12] = 12;  // one label "good.example"
    for (const std::string& bytes : {refused, query, dotted}) {
      Receive(bytes);
    }
    MOAT_CHILD_CHECK(TryConnect("127.0.11.1", PortOf(Listening("0.0.0.0"))) == EPERM);
    Receive(good);
    MOAT_CHILD_CHECK(TryConnect("127.0.11.1", PortOf(Listening("0.0.0.0"))) == 0);
  });
}

TEST_F(EnforceNameBpfTest, ManyNamesOfOneAddress) {
  Start();
  Trust();
  EnforceNames("      - {fqdn: ok.example}\n      - {fqdn: \"*.many.example\", ports: [9/udp]}\n");
  RunInside([] {
    Learn({.name = "ok.example", .addresses = {"127.0.12.1"}, .ttl = 3600});
    for (int i = 0; i < 3; ++i) {
      Learn({.name = "n" + std::to_string(i) + ".many.example", .addresses = {"127.0.12.1"}});
    }
    MOAT_CHILD_CHECK(TryConnect("127.0.12.1", PortOf(Listening("0.0.0.0"))) == 0);
    Learn({.name = "ok.example", .addresses = {"127.0.12.1"}, .ttl = 3600});
    MOAT_CHILD_CHECK(TrySend("127.0.12.1", 9) == 0);
  });
}

}  // namespace
}  // namespace moat::test
