// SPDX-License-Identifier: Apache-2.0
// Questions to DNS servers: each that a process sends is one event, and nothing else is.
#include <netinet/tcp.h>

#include <string>

#include "tests/bpf/name_kit.h"
#include "tests/bpf/net_kit.h"

namespace moat::test {
namespace {

constexpr const char* kServer = "127.0.0.78";
constexpr int kTimes = 23;

void SendTo(int fd, const std::string& bytes, const char* address = kServer, uint16_t port = 53) {
  const Name to(address, port);
  MOAT_CHILD_CHECK(sendto(fd, bytes.data(), bytes.size(), 0, to.get(), to.length) == static_cast<ssize_t>(bytes.size()));
}

// Takes what comes to the server, so that the network answers nothing.
int Server(int type) {
  const Name at(kServer, 53);
  const int fd = socket(AF_INET, type, 0), one = 1;
  MOAT_CHILD_CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
  MOAT_CHILD_CHECK(bind(fd, at.get(), at.length) == 0);
  return fd;
}

class DnsBpfTest : public NetBpfTest {
 protected:
  std::vector<moat_dns> Questions(pid_t pid = 0) { return Of<moat_dns>(MOAT_KIND_NET_DNS, pid); }
};

std::string Wire(const moat_dns& dns) { return {reinterpret_cast<const char*>(dns.question), dns.question_len}; }
std::string Behind(const std::string& message) { return message.substr(12); }  // the header

TEST_F(DnsBpfTest, EachQuestionOverUdp) {
  Start();
  const uint64_t before = Ledger(MOAT_KIND_NET_DNS).attempted;  // of tests that share the probe
  const pid_t pid = RunInside([] {
    const int server = Server(SOCK_DGRAM), fd = Bound("127.0.0.1", SOCK_DGRAM), other = Bound("127.0.0.1", SOCK_DGRAM);
    for (size_t i = 0; i < kTimes; ++i) {
      SendTo(fd, DnsQuestion{.name = std::to_string(i) + ".tunnel.example", .type = 16, .id = i}.Bytes());
    }
    const Name to(kServer, 53);
    MOAT_CHILD_CHECK(connect(other, to.get(), to.length) == 0);
    const std::string bytes = DnsQuestion{.name = "connected.example"}.Bytes();
    MOAT_CHILD_CHECK(send(other, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    close(server);
  });
  const auto questions = Questions(pid);
  ASSERT_EQ(questions.size(), size_t{kTimes + 1}) << Summary();
  for (size_t i = 0; i < kTimes; ++i) {
    const moat_dns& question = questions[i];
    const std::string bytes = DnsQuestion{.name = std::to_string(i) + ".tunnel.example", .type = 16, .id = i}.Bytes();
    EXPECT_EQ(Wire(question), Behind(bytes));
    EXPECT_EQ(question.id, i);
    EXPECT_EQ(question.dns_flags, 0x0100);
    EXPECT_EQ(question.questions, 1);
    EXPECT_EQ(question.payload, bytes.size());
    EXPECT_EQ(question.hdr.cgroup_id, cgroup_id());
    EXPECT_EQ(question.hdr.flags, 0u);
    EXPECT_EQ(question.net_flags, 0u);
    EXPECT_EQ(question.cookie, questions[0].cookie);
    EXPECT_EQ(ToString(question.ep), "127.0.0.1:" + std::to_string(questions[0].ep.local_port) + " > 127.0.0.78:53 udp");
  }
  EXPECT_NE(questions.back().cookie, questions[0].cookie);
  EXPECT_EQ(Wire(questions.back()), Behind(DnsQuestion{.name = "connected.example"}.Bytes()));
  EXPECT_EQ(Ledger(MOAT_KIND_NET_DNS).attempted - before, uint64_t{kTimes + 1});
}

TEST_F(DnsBpfTest, OnlyQuestions) {
  Start();
  const uint64_t before = Ledger(MOAT_KIND_NET_DNS).attempted;  // of tests that share the probe
  RunInside([] {
    const int server = Server(SOCK_DGRAM), fd = Bound("127.0.0.1", SOCK_DGRAM);
    const std::string question = DnsQuestion{.name = "a.example"}.Bytes();
    SendTo(fd, question, "127.0.0.78", 5353);  // elsewhere
    SendTo(fd, DnsQuestion{.name = "a.example", .flags = 0x8180}.Bytes());  // an answer
    SendTo(fd, DnsQuestion{.name = "a.example", .count = 0}.Bytes());
    SendTo(fd, question.substr(0, 12));  // a header alone
    SendTo(fd, question.substr(0, 5));
    SendTo(fd, "");
    close(server);
  });
  RunOutside([] { SendTo(Bound("127.0.0.1", SOCK_DGRAM), DnsQuestion{.name = "a.example"}.Bytes()); });
  EXPECT_EQ(Count(MOAT_KIND_NET_DNS), 0u) << Summary();
  EXPECT_EQ(Ledger(MOAT_KIND_NET_DNS).attempted, before);
}

TEST_F(DnsBpfTest, WhatIsTooLongIsCut) {
  Start();
  const pid_t pid = RunInside([] {
    const int server = Server(SOCK_DGRAM), fd = Bound("127.0.0.1", SOCK_DGRAM);
    const std::string header = DnsQuestion{.name = "a"}.Bytes().substr(0, 12);
    for (const size_t size : {1, 263, 264, 265, 4000, 60000}) {
      SendTo(fd, header + std::string(size, 'x'));
    }
    close(server);
  });
  std::vector<std::pair<uint32_t, std::string>> got;
  for (const moat_dns& question : Questions(pid)) {
    got.emplace_back(question.payload, Wire(question));
  }
  const std::string most(MOAT_DNS_QUESTION_LEN, 'x');
  EXPECT_EQ(got, (std::vector<std::pair<uint32_t, std::string>>{
                     {13, "x"}, {275, std::string(263, 'x')}, {276, most}, {277, most}, {4012, most}, {60012, most}}));
}

TEST_F(DnsBpfTest, BothFamiliesAndMapped) {
  Start();
  const pid_t pid = RunInside([] {
    const int server = Server(SOCK_DGRAM);
    const std::string question = DnsQuestion{.name = "six.example", .type = 28}.Bytes();
    SendTo(socket(AF_INET6, SOCK_DGRAM, 0), question, "::1");
    SendTo(socket(AF_INET6, SOCK_DGRAM, 0), question, "::ffff:127.0.0.78");
    close(server);
  });
  const auto questions = Questions(pid);
  ASSERT_EQ(questions.size(), 2u) << Summary();
  EXPECT_EQ(AddressOf(questions[0].ep.remote, questions[0].ep.family), "::1");
  EXPECT_EQ(questions[0].ep.family, AF_INET6);
  EXPECT_EQ(questions[0].net_flags, 0u);
  EXPECT_EQ(AddressOf(questions[1].ep.remote, questions[1].ep.family), kServer);
  EXPECT_EQ(questions[1].net_flags, MOAT_NET_MAPPED);
  for (const moat_dns& question : questions) {
    EXPECT_EQ(question.ep.remote_port, 53);
    EXPECT_EQ(Wire(question), Behind(DnsQuestion{.name = "six.example", .type = 28}.Bytes()));
  }
}

TEST_F(DnsBpfTest, OverTcpWhereTheMessageBeginsASegment) {
  Start();
  const pid_t pid = RunInside([] {
    const int listener = Server(SOCK_STREAM), one = 1;
    MOAT_CHILD_CHECK(listen(listener, 8) == 0);
    const int client = Connected(kServer, 53, SOCK_STREAM), server = accept(listener, nullptr, nullptr);
    MOAT_CHILD_CHECK(setsockopt(client, SOL_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
    for (size_t i = 0; i < kTimes; ++i) {
      const std::string question = DnsQuestion{.name = "tcp.example", .type = 16, .id = i}.Bytes();
      const std::string bytes = U16(question.size()) + question;
      MOAT_CHILD_CHECK(send(client, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
      TakeAll(server, bytes.size());
      MOAT_CHILD_CHECK(send(server, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));  // from port 53
      TakeAll(client, bytes.size());
    }
    for (const int fd : {client, server, listener}) {
      close(fd);
    }
  });
  const auto questions = Questions(pid);
  ASSERT_EQ(questions.size(), size_t{kTimes}) << Summary();
  for (size_t i = 0; i < kTimes; ++i) {
    const std::string bytes = DnsQuestion{.name = "tcp.example", .type = 16, .id = i}.Bytes();
    EXPECT_EQ(questions[i].id, i);
    EXPECT_EQ(Wire(questions[i]), Behind(bytes));
    EXPECT_EQ(questions[i].payload, bytes.size());
    EXPECT_EQ(questions[i].ep.protocol, IPPROTO_TCP);
    EXPECT_EQ(questions[i].hdr.flags, 0u);
  }
  EXPECT_EQ(Count(MOAT_KIND_NET_DNS), size_t{kTimes}) << "none by nobody";
}

// The peer's window is full, so that the question waits; when the peer reads, it leaves in whatever context the acknowledgement comes.
TEST_F(DnsBpfTest, WhatLeavesLaterIsOfWhoeverConnected) {
  Start();
  const Signal sent;
  constexpr size_t kBefore = 100'000;
  const std::string question = DnsQuestion{.name = "later.example"}.Bytes(), bytes = U16(question.size()) + question;
  const pid_t pid = RunInside([&] {
    const int listener = Server(SOCK_STREAM), small = 4096, large = 1 << 20, one = 1;
    MOAT_CHILD_CHECK(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0 && listen(listener, 8) == 0);
    if (fork() == 0) {
      const int server = accept(listener, nullptr, nullptr);
      sent.Take();
      TakeAll(server, kBefore + bytes.size());
      _exit(0);
    }
    const int client = Connected(kServer, 53, SOCK_STREAM);
    MOAT_CHILD_CHECK(setsockopt(client, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)) == 0);
    MOAT_CHILD_CHECK(setsockopt(client, SOL_TCP, TCP_NODELAY, &one, sizeof(one)) == 0);
    const std::string before(kBefore, '\xff');  // no question: these bits are those of an answer
    MOAT_CHILD_CHECK(send(client, before.data(), kBefore, MSG_EOR) == ssize_t{kBefore});  // what comes next begins a segment
    MOAT_CHILD_CHECK(send(client, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    sent.Give();
    int status = 1;
    MOAT_CHILD_CHECK(waitpid(-1, &status, 0) > 0 && status == 0);
  });
  const auto questions = Questions();
  ASSERT_EQ(questions.size(), 1u) << Summary();
  EXPECT_EQ(Wire(questions[0]), Behind(question));
  EXPECT_EQ(questions[0].hdr.pid, static_cast<uint32_t>(pid));
  EXPECT_EQ(questions[0].hdr.tid, 0u) << "it left in its sender's own context: the window was not full";
  EXPECT_EQ(questions[0].hdr.cgroup_id, cgroup_id());
  EXPECT_EQ(questions[0].hdr.flags, 0u);
}

TEST_F(DnsBpfTest, WhoeverSendsAsks) {
  Start();
  Shared<pid_t> child;
  const pid_t pid = RunInside([&] {
    const int server = Server(SOCK_DGRAM), fd = Bound("127.0.0.1", SOCK_DGRAM);
    SendTo(fd, DnsQuestion{.name = "parent.example"}.Bytes());
    const pid_t made = fork();
    if (made == 0) {
      SendTo(fd, DnsQuestion{.name = "child.example"}.Bytes());
      _exit(0);
    }
    *child = made;
    MOAT_CHILD_CHECK(waitpid(-1, nullptr, 0) > 0);
    close(server);
  });
  ASSERT_EQ(Questions().size(), 2u) << Summary();
  ASSERT_EQ(Questions(pid).size(), 1u);
  EXPECT_EQ(Wire(Questions(pid)[0]), Behind(DnsQuestion{.name = "parent.example"}.Bytes()));
  ASSERT_EQ(Questions(*child).size(), 1u);
  EXPECT_EQ(Wire(Questions(*child)[0]), Behind(DnsQuestion{.name = "child.example"}.Bytes()));
}

}  // namespace
}  // namespace moat::test
