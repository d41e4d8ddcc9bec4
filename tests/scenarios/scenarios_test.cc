// SPDX-License-Identifier: Apache-2.0
// Each scenario against a moatd of its own, and the table of all: every attack found, no look-alike flagged.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <thread>

#include "tests/e2e/agent.h"
#include "tests/scenarios/stage.h"

namespace moat::scenarios {
namespace {

constexpr uint64_t kModelBytes = uint64_t{48} << 20;
constexpr auto kQuiet = std::chrono::milliseconds(2500);  // sums come each 200 ms, findings with the events

constexpr auto kQuietOfAgent = std::chrono::milliseconds(8000);  // it looks at itself every five seconds

struct Row {
  int attacks = 0, found = 0, ordinary = 0, flagged = 0;
};
std::map<std::string, Row>& Confusion() {
  static std::map<std::string, Row> rows;
  return rows;
}

// Of this thread and what it forks: a network without any other host.
bool OwnNetwork() {
  if (::unshare(CLONE_NEWNET) != 0) {
    return false;
  }
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING | IFF_LOOPBACK;
  bool ok = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  int number = 0;
  for (const char* address : {"10.66.0.2", kStore, kOutside}) {
    std::snprintf(request.ifr_name, sizeof(request.ifr_name), "lo:%d", ++number);
    sockaddr_in name{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {}, .sin_zero = {}};
    ok = ok && inet_pton(AF_INET, address, &name.sin_addr) == 1;
    std::memcpy(&request.ifr_addr, &name, sizeof(name));
    ok = ok && ::ioctl(fd, SIOCSIFADDR, &request) == 0;
  }
  ::close(fd);
  return ok;
}

// Takes whatever comes to the peers, in a network of this thread's.
class Peers {
 public:
  Peers() {
    for (const char* address : {kStore, kOutside}) {
      for (const uint16_t port : {443, 8443}) {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in name{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {}, .sin_zero = {}};
        inet_pton(AF_INET, address, &name.sin_addr);
        EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0) << address << ": " << std::strerror(errno);
        EXPECT_EQ(::listen(fd, 64), 0);
        listeners_.push_back(fd);
        threads_.emplace_back([fd] {
          std::vector<char> block(1 << 20);
          for (int peer = 0; (peer = ::accept(fd, nullptr, nullptr)) >= 0; ::close(peer)) {
            const timeval patience{2, 0};  // whose packets are dropped says nothing, not even that it is done
            ::setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
            while (::read(peer, block.data(), block.size()) > 0) {
            }
          }
        });
      }
    }
  }
  ~Peers() {
    for (const int fd : listeners_) {
      ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) {
      thread.join();
    }
    for (const int fd : listeners_) {
      ::close(fd);
    }
  }

 private:
  std::vector<int> listeners_;
  std::vector<std::thread> threads_;
};

std::string With(std::string text, const std::string& scope) {
  for (size_t at = 0; (at = text.find("SCOPE", at)) != std::string::npos; at += scope.size()) {
    text.replace(at, 5, scope);
  }
  return text;
}

class ScenarioTest : public testing::TestWithParam<const Scenario*> {
 protected:
  std::vector<v1::Finding> List(const e2e::Agent& agent) {
    grpc::ClientContext context;
    v1::ListFindingsResponse response;
    const grpc::Status status = v1::Findings::NewStub(agent.Channel())->List(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return {response.findings().begin(), response.findings().end()};
  }
  static bool Has(const std::vector<v1::Finding>& findings, const Scenario& scenario) {
    return std::ranges::any_of(findings, [&](const v1::Finding& one) {
      return one.kind() == event::FindingKindName(scenario.kind) && one.title().find(scenario.says) != std::string::npos;
    });
  }
};

TEST_P(ScenarioTest, IsFoundIfAndOnlyIfItIsAnAttack) {
  const Scenario& scenario = *GetParam();
  if (const std::string why = scenario.why_not != nullptr ? scenario.why_not() : ""; !why.empty()) {
    GTEST_SKIP() << "not played: " << why;
  }
  const e2e::Place place;
  Site site{.weights = place.File("model/weights.safetensors"),
            .canary = place.File("bird/weights.safetensors"),
            .directory = place.File("model"),
            .scratch = place.File("scratch"),
            .policies = place.File("policies.yaml"),
            .links = {},
            .maps = {}};
  for (const std::string& directory : {site.directory, place.File("bird"), site.scratch}) {
    std::filesystem::create_directory(directory);
    std::filesystem::permissions(directory, std::filesystem::perms::all);
  }
  for (const std::string& file : {site.weights, site.canary}) {
    const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    const std::vector<char> block(1 << 20, 'w');  // a file with holes is not read where it has them
    for (uint64_t bytes = 0; bytes < kModelBytes; bytes += block.size()) {
      ASSERT_EQ(::write(fd, block.data(), block.size()), static_cast<ssize_t>(block.size()));
    }
    ::close(fd);
  }
  std::string yaml = "assets: {inline: [{name: model, paths: [" + site.directory + "]}, {name: bird, class: canary, paths: [" +
                     place.File("bird") + "]}]}\npipeline: {sums_ms: 200}\n" + scenario.settings;
  if (*scenario.policies != '\0') {
    yaml += "policies: {pins: \"\", files: [" + place.Write("policies.yaml", With(scenario.policies, place.scope())) + "]}\n";
  }
  e2e::Agent agent(place, yaml);
  ASSERT_TRUE(agent.WaitReady());
  const e2e::KernelObjects objects = agent.Objects();
  site.links.assign(objects.links.begin(), objects.links.end());
  site.maps.assign(objects.maps.begin(), objects.maps.end());
  int status = -1;
  std::thread stage([&] {
    if (!OwnNetwork()) {
      ADD_FAILURE() << "no network of its own: " << std::strerror(errno);
      return;
    }
    const Peers peers;
    status = e2e::WaitFor(place.Spawn([&] {
      ::setsid();  // away from the terminal of whoever runs the tests
      scenario.play(site);
    }));
  });
  stage.join();
  ASSERT_EQ(status, 0) << "it could not be played";
  std::vector<v1::Finding> findings;
  if (scenario.attack) {
    (void)e2e::Eventually([&] { return Has(findings = List(agent), scenario); }, std::chrono::seconds(20));
  } else {
    const bool of_agent =
        scenario.kind == event::FindingKind::kAgentTampering || scenario.kind == event::FindingKind::kAgentDegraded;
    std::this_thread::sleep_for(of_agent ? kQuietOfAgent : kQuiet);
    findings = List(agent);
  }
  Row& row = Confusion()[event::FindingKindName(scenario.kind)];
  std::string all;
  for (const v1::Finding& finding : findings) {
    all += "\n  " + finding.kind() + ": " + finding.title();
  }
  const bool found = Has(findings, scenario);
  ++(scenario.attack ? row.attacks : row.ordinary);
  row.found += scenario.attack && found ? 1 : 0;
  row.flagged += !scenario.attack && !findings.empty() ? 1 : 0;
  if (scenario.attack) {
    EXPECT_TRUE(found) << scenario.what << ": found is" << (all.empty() ? " nothing" : all);
  } else if (scenario.kind == event::FindingKind::kPolicyDenial || scenario.kind == event::FindingKind::kPolicyWouldDeny) {
    EXPECT_FALSE(found) << scenario.what << ": found is" << all;  // a dry-run's twin is the other kind
    row.flagged -= !found && !findings.empty() ? 1 : 0;
  } else {
    EXPECT_EQ(all, "") << scenario.what;
  }
}

std::vector<const Scenario*> All() {
  std::vector<const Scenario*> all;
  for (const auto& some : {Weights(), Programs(), Accelerators(), Network(), Intrusion(), Logins(), AgainstTheAgent()}) {
    for (const Scenario& one : some) {
      all.push_back(&one);
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, ScenarioTest, testing::ValuesIn(All()), [](const auto& one) {
  std::string name = one.param->name;
  std::ranges::replace(name, '-', '_');
  return name;
});

class Table final : public testing::Environment {
 public:
  void TearDown() override {
    if (Confusion().empty()) {
      return;
    }
    std::printf("\n%-22s %8s %8s %12s %8s\n", "kind", "attacks", "found", "look-alikes", "flagged");
    Row sum;
    for (const auto& [kind, row] : Confusion()) {
      std::printf("%-22s %8d %8d %12d %8d\n", kind.c_str(), row.attacks, row.found, row.ordinary, row.flagged);
      sum = {sum.attacks + row.attacks, sum.found + row.found, sum.ordinary + row.ordinary, sum.flagged + row.flagged};
    }
    std::printf("%-22s %8d %8d %12d %8d\n", "all", sum.attacks, sum.found, sum.ordinary, sum.flagged);
  }
};
const testing::Environment* const kTable = testing::AddGlobalTestEnvironment(new Table);

}  // namespace
}  // namespace moat::scenarios
