// SPDX-License-Identifier: Apache-2.0
// moat_cri_watch SOCKET CGROUP
// Watches the cgroups below CGROUP (a path below the cgroup2 mount) as an agent would, and tells whose they are: a line of JSON when one
// is seen, when it is known, and when it is gone. A line "resolve PATH" or "check" on its input is answered with one more.
#include <poll.h>
#include <unistd.h>

#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "agent/base/cgroup.h"
#include "agent/base/clock.h"
#include "agent/enrich/workloads.h"

namespace {

using moat::MonotonicNs;
using Json = nlohmann::json;

constexpr int kEveryMs = 5;
constexpr size_t kMostCgroups = 4096;

class Watch {
 public:
  Watch(const std::string& socket, moat::Cgroup2Mount mount, std::string top) : top_(std::move(top)) {
    moat::enrich::WorkloadOptions options;
    options.cri_sockets = {socket};
    workloads_ = moat::enrich::Workloads::Create(options);
    mount.path += top_;
    below_ = std::move(mount);
  }

  void Look() {
    std::map<std::string, bool> here;
    moat::WalkCgroups(below_, kMostCgroups, [&](uint64_t, const std::string& path) {
      here.emplace(top_ + path, true);
      return true;
    });
    for (const auto& [path, yes] : here) {
      if (seen_.emplace(path, false).second) {
        Say("seen", path);
      }
    }
    for (auto it = seen_.begin(); it != seen_.end();) {
      if (here.contains(it->first)) {
        ++it;
        continue;
      }
      workloads_->Forget(it->first);
      Say("gone", it->first);
      it = seen_.erase(it);
    }
    TellKnown();
    if (workloads_->next_refresh_ns() <= MonotonicNs() && workloads_->Refresh(MonotonicNs())) {
      TellKnown();
    }
  }

  void Obey(const std::string& line) {
    if (line == "check") {
      workloads_->Check();
      for (const auto& source : workloads_->Sources()) {
        const Json json{
            {"said", "source"}, {"reachable", source.reachable}, {"version", source.version}, {"error", source.error}};
        std::cout << json << std::endl;
      }
      return;
    }
    const std::string path = line.substr(line.find(' ') + 1);
    workloads_->Resolve(path);
    workloads_->Refresh(UINT64_MAX >> 1);
    Say("resolved", path);
    workloads_->Forget(path);
  }

 private:
  void TellKnown() {
    for (auto& [path, known] : seen_) {
      if (!known && workloads_->Resolve(path).known) {
        known = true;
        Say("known", path);
      }
    }
  }

  void Say(std::string_view what, const std::string& path) {
    Json json{{"said", what}, {"ns", MonotonicNs()}, {"cgroup", path}};
    if (what != "gone") {
      const moat::event::Workload w = workloads_->Resolve(path);
      json["known"] = w.known;
      json["is"] = {{"namespace", w.pod_namespace}, {"pod", w.pod_name},       {"uid", w.pod_uid},
                    {"container", w.pod_container}, {"labels", w.pod_labels},  {"container_labels", w.container_labels},
                    {"image", w.container_image},   {"digest", w.image_digest}};
    }
    json["kept"] = workloads_->kept();
    std::cout << json << std::endl;
  }

  std::unique_ptr<moat::enrich::Workloads> workloads_;
  const std::string top_;
  moat::Cgroup2Mount below_;
  std::map<std::string, bool> seen_;  // path -> told that it is known
};

}  // namespace

int main(int argc, char** argv) {
  const auto mount = moat::FindCgroup2Mount();
  if (argc != 3 || !mount) {
    std::cerr << "usage: moat_cri_watch SOCKET CGROUP, where cgroup2 is mounted" << std::endl;
    return 2;
  }
  Watch watch(argv[1], *mount, argv[2]);
  std::string typed;
  for (;;) {
    watch.Look();
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, kEveryMs) <= 0) {
      continue;
    }
    char chunk[4096];
    const ssize_t got = read(STDIN_FILENO, chunk, sizeof(chunk));
    if (got <= 0) {
      return 0;
    }
    typed.append(chunk, static_cast<size_t>(got));
    for (size_t end; (end = typed.find('\n')) != std::string::npos; typed.erase(0, end + 1)) {
      watch.Obey(typed.substr(0, end));
    }
  }
}
