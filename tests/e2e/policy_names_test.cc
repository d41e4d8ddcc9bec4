// SPDX-License-Identifier: Apache-2.0
// Peers by name, with real parts: a DNS server that the workload asks, a TLS server with two names on one address, OpenSSL's client.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <thread>

#include "tests/bpf/name_kit.h"
#include "tests/e2e/agent.h"

namespace moat::e2e {
namespace {

constexpr const char* kResolver = "127.0.0.79";
constexpr const char* kServer = "127.0.30.1";
constexpr uint16_t kPort = 30443;

sockaddr_in Name(const char* address, uint16_t port) {
  sockaddr_in name{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {}, .sin_zero = {}};
  inet_pton(AF_INET, address, &name.sin_addr);
  return name;
}

// Every name lives on one address.
class Resolver {
 public:
  Resolver() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    const sockaddr_in name = Name(kResolver, 53);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0) << std::strerror(errno);
    thread_ = std::jthread([this](const std::stop_token& stop) { Serve(stop); });
  }
  ~Resolver() {
    thread_.request_stop();
    thread_.join();
    ::close(fd_);
  }

 private:
  void Serve(const std::stop_token& stop) const {
    while (!stop.stop_requested()) {
      pollfd ready{fd_, POLLIN, 0};
      sockaddr_in from{};
      socklen_t length = sizeof(from);
      char query[512];
      ssize_t n = 0;
      if (::poll(&ready, 1, 50) != 1 ||
          (n = ::recvfrom(fd_, query, sizeof(query), 0, reinterpret_cast<sockaddr*>(&from), &length)) < 17) {
        continue;
      }
      std::string name;
      for (ssize_t at = 12; at < n && query[at] != 0; at += 1 + query[at]) {
        name += (name.empty() ? "" : ".") + std::string(query + at + 1, static_cast<size_t>(query[at]));
      }
      std::string answer = test::DnsAnswer{.name = name, .addresses = {kServer}}.Bytes();
      answer[0] = query[0];
      answer[1] = query[1];
      (void)!::sendto(fd_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), length);
    }
  }

  int fd_;
  std::jthread thread_;
};

// Asks the resolver, as a workload does.
void Resolve(const std::string& host) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const sockaddr_in to = Name(kResolver, 53);
  const std::string query =
      test::U16(7) + test::U16(0x0100) + test::U16(1) + std::string(6, '\0') + test::Labels(host) + test::U16(1) + test::U16(1);
  char answer[512];
  pollfd ready{fd, POLLIN, 0};
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0 ||
      ::send(fd, query.data(), query.size(), 0) != static_cast<ssize_t>(query.size()) || ::poll(&ready, 1, 5000) != 1 ||
      ::recv(fd, answer, sizeof(answer), 0) <= 0) {
    ::_exit(99);
  }
  ::close(fd);
}

class PolicyNamesTest : public ::testing::Test {
 protected:
  int Shell(const std::string& command, bool inside) const {
    return WaitFor(place_.Spawn([&] { ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr); }, inside));
  }
  // Exit status of a client that shakes hands under a name, having resolved it; 124: nobody answered.
  int ShakeHands(const std::string& host) const {
    const std::string at = std::string(kServer) + ":" + std::to_string(kPort);
    return WaitFor(place_.Spawn([&] {
      Resolve(host);
      ::execlp("timeout", "timeout", "3", "openssl", "s_client", "-connect", at.c_str(), "-servername", host.c_str(), "-brief",
               nullptr);
    }));
  }
  Place place_;
};

TEST_F(PolicyNamesTest, TwoNamesOnOneAddressOneAllowed) {
  ASSERT_EQ(::mkdir(place_.File("policies").c_str(), 0755), 0);
  place_.Write("policies/names.yaml",
               "apiVersion: moat/v1\nkind: Policy\nmetadata: {name: names}\nspec:\n  mode: enforce\n  subjects: [{cgroup: " +
                   place_.scope() + "}]\n  egress:\n    default: deny\n    allow:\n      - {cidr: " + kResolver +
                   "/32, ports: [53/udp]}\n      - {fqdn: ok.example, ports: [" + std::to_string(kPort) + "/tcp]}\n");
  const std::string key = place_.File("key.pem"), certificate = place_.File("cert.pem");
  ASSERT_EQ(
      Shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ok.example -keyout " +
                key + " -out " + certificate + " 2>/dev/null",
            /*inside=*/false),
      0);
  const Resolver resolver;
  const pid_t server = place_.Spawn(
      [&] {
        ::execlp("openssl", "openssl", "s_server", "-accept", (std::string(kServer) + ":" + std::to_string(kPort)).c_str(),
                 "-key", key.c_str(), "-cert", certificate.c_str(), "-quiet", "-www", nullptr);
      },
      /*inside=*/false);
  Agent agent(place_, "policies: {files: [" + place_.File("policies") + "], pins: \"\", resolvers: [" + kResolver +
                          "]}\ndomains: {process: false, file: false, gpu: false, net: false}\n");
  ASSERT_TRUE(agent.WaitReady());
  v1::Filter filter;
  filter.add_kinds("policy");
  Watcher watcher(agent, filter);
  ASSERT_TRUE(watcher.WaitConnected());

  EXPECT_EQ(ShakeHands("ok.example"), 0);
  EXPECT_EQ(ShakeHands("bad.example"), 124);
  ASSERT_TRUE(Eventually([&] {
    const auto seen = watcher.seen();
    return std::ranges::any_of(seen, [](const auto& one) {
      const v1::Verdict& verdict = one.event.verdict();
      return verdict.action() == v1::VERDICT_ACTION_DENY && verdict.why() == v1::VERDICT_WHY_OTHER_NAME &&
             verdict.name() == "bad.example" && verdict.policy() == "names";
    });
  }));
  ::kill(server, SIGTERM);
  WaitFor(server);
  EXPECT_EQ(agent.End(SIGTERM), 0);
}

}  // namespace
}  // namespace moat::e2e
