// SPDX-License-Identifier: Apache-2.0
// What is done to moat itself: to what it keeps in the kernel, to its files, and to its buffers. Only objects and files of the stage's own agent.
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/scenarios/stage.h"

namespace moat::scenarios {
namespace {

using event::FindingKind;

constexpr const char* kClosed = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: closed}
spec:
  mode: enforce
  subjects: [{cgroup: SCOPE}]
  egress: {default: deny, allow: [{cidr: 10.66.7.7/32}, {cidr: 10.66.7.8/32}]}
)";
constexpr const char* kSmall = "rings: {urgent: 4KiB, bulk: 4KiB}\n";

bpf_map_info MapInfo(int fd) {
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  Check(bpf_obj_get_info_by_fd(fd, &info, &length) == 0);
  return info;
}

// Descriptor of one of the agent's tables.
int Table(const Site& site, const std::string& name) {
  for (const uint32_t id : site.maps) {
    const int fd = bpf_map_get_fd_by_id(id);
    if (fd >= 0 && MapInfo(fd).name == name) {
      return fd;
    }
    ::close(fd);
  }
  Check(false);
  return -1;
}

void Datagrams(int count) {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in name{.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  for (int i = 0; i < count; ++i) {
    (void)::connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name));
  }
  ::close(fd);
}

void Children(int count) {
  for (int i = 0; i < count; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::_exit(0);
    }
    Check(pid > 0 && ::waitpid(pid, nullptr, 0) == pid);
  }
}

std::string Text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

void Write(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  Check(file.good());
}

const Scenario kAll[] = {
    {"detached", FindingKind::kAgentTampering, kAttack, "takes away the programs that enforce",
     [](const Site& site) {
       int detached = 0;
       for (const uint32_t id : site.links) {
         const int fd = bpf_link_get_fd_by_id(id);
         bpf_link_info info{};
         uint32_t length = sizeof(info);
         if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &length) == 0 && info.type == BPF_LINK_TYPE_CGROUP) {
           detached += bpf_link_detach(fd) == 0 ? 1 : 0;
         }
         ::close(fd);
       }
       Check(detached > 0);
     },
     kClosed},
    {"a-row-removed", FindingKind::kAgentTampering, kAttack, "writes into the tables that enforcement decides by",
     [](const Site& site) {
       const int fd = Table(site, "moat_pol_peers");
       std::vector<char> key(MapInfo(fd).key_size);
       Check(bpf_map_get_next_key(fd, nullptr, key.data()) == 0 && bpf_map_delete_elem(fd, key.data()) == 0);
     },
     kClosed},
    {"looks-at-programs", FindingKind::kAgentTampering, kOrdinary, "lists programs, links and tables as bpftool does",
     [](const Site& site) {
       for (const uint32_t id : site.maps) {
         const int fd = bpf_map_get_fd_by_id(id);
         Check(fd < 0 || MapInfo(fd).id == id);
         ::close(fd);
       }
       for (const uint32_t id : site.links) {
         ::close(bpf_link_get_fd_by_id(id));
       }
     },
     kClosed},
    {"a-table-of-its-own", FindingKind::kAgentTampering, kOrdinary, "makes a table of that name and writes to it",
     [](const Site&) {
       const int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "moat_pol_peers", 4, 4, 8, nullptr);
       const uint32_t key = 1, value = 2;
       Check(fd >= 0 && bpf_map_update_elem(fd, &key, &value, BPF_ANY) == 0 && bpf_map_delete_elem(fd, &key) == 0);
     },
     kClosed},

    {"garbage-for-policies", FindingKind::kAgentDegraded, kAttack, "what is no policy lies where policies are read",
     [](const Site& site) { Write(site.policies, "{{{ not a policy"); }, kClosed},
    {"a-policy-with-a-mistake", FindingKind::kAgentDegraded, kAttack, "a field that there is not",
     [](const Site& site) { Write(site.policies, Text(site.policies) + "  exceptions: [everybody]\n"); }, kClosed},
    {"the-same-policies", FindingKind::kAgentDegraded, kOrdinary, "policies are written anew as they are",
     [](const Site& site) { Write(site.policies, Text(site.policies)); }, kClosed},
    {"other-policies", FindingKind::kAgentDegraded, kOrdinary, "policies are changed to good ones",
     [](const Site& site) {
       std::string text = Text(site.policies);
       text.replace(text.find("10.66.7.8"), 9, "10.66.7.9");
       Write(site.policies, text);
     },
     kClosed},

    {"noise-of-processes", FindingKind::kEventsLost, kAttack, "more children than there is room to tell of",
     [](const Site&) { Children(4000); }, "", kSmall},
    {"noise-of-calls", FindingKind::kEventsLost, kAttack, "more calls than there is room to tell of",
     [](const Site&) { Datagrams(40'000); }, "", kSmall},
    {"a-build", FindingKind::kEventsLost, kOrdinary, "as many children with room enough", [](const Site&) { Children(1000); }},
    {"a-few-with-little-room", FindingKind::kEventsLost, kOrdinary, "a few children with little room",
     [](const Site&) {
       for (int i = 0; i < 5; ++i) {
         Children(1);
         ::usleep(100'000);
       }
     },
     "", kSmall},
};

}  // namespace

std::span<const Scenario> AgainstTheAgent() { return kAll; }

}  // namespace moat::scenarios
