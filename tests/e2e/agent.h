// SPDX-License-Identifier: Apache-2.0
// A real moatd on a cgroup of the test's own, and processes in that cgroup. Everything ends and goes with the objects.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "agent/base/fd.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::e2e {

using namespace std::chrono_literals;

std::string ReadText(const std::string& path);
bool Eventually(const std::function<bool()>& condition, std::chrono::milliseconds limit = 20s);

// A temporary directory and a cgroup below the cgroup2 mount.
class Place {
 public:
  Place();
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  std::string File(const std::string& name) const { return directory_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& text) const;
  const std::string& scope() const { return scope_; }  // as moatd.yaml wants it
  // Forks; the child joins the cgroup (unless beside), runs work and ends with status 0.
  pid_t Spawn(const std::function<void()>& work, bool inside = true) const;
  // What moatctl prints, asking the agent of this place; its exit status must be this one.
  std::string Moatctl(std::vector<std::string> args, int status = 0) const;

 private:
  std::string directory_, scope_, cgroup_directory_;
  Fd procs_;
};

// Waits for a child. -1: not ended within the limit (and then killed); else the exit status, or 128 + signal.
int WaitFor(pid_t pid, std::chrono::milliseconds limit = 60s);

// Kernel objects of a process, from its descriptors.
struct KernelObjects {
  std::set<uint32_t> programs, maps, links;
  std::set<std::string> Alive() const;  // those that still exist: "program 12", ...
};

class Agent {
 public:
  // yaml: settings beside scope and api. in_child: runs between fork and exec. api: settings beside the socket, "health: ..."
  Agent(const Place& place, const std::string& yaml, std::vector<std::string> args = {},
        const std::function<void()>& in_child = {}, const std::string& api = "");
  ~Agent();

  bool WaitReady();  // false: it ended, or said nothing for long; the log is printed
  pid_t pid() const { return pid_; }
  std::string Log() const;
  KernelObjects Objects() const;
  void Signal(int number) const;
  int End(int signal, std::chrono::milliseconds limit = 20s);  // exit status as WaitFor

  std::shared_ptr<grpc::Channel> Channel() const;
  v1::AgentStatus Status() const;
  v1::KindLedger Line(v1::Kind kind) const;  // zero when the kind was never attempted

 private:
  const Place& place_;
  pid_t pid_ = -1;
};

// attempted - delivered - every loss, of a line.
int64_t Unaccounted(const v1::KindLedger& line);
uint64_t Lost(const v1::KindLedger& line);

// Reads a Watch stream on a thread of its own.
class Watcher {
 public:
  struct Seen {
    v1::Event event;
    std::chrono::steady_clock::time_point at;
  };
  Watcher(const Agent& agent, const v1::Filter& filter);
  ~Watcher();
  bool WaitConnected();  // the first response is there
  std::vector<Seen> seen() const;
  size_t Count(v1::Kind kind) const;

 private:
  grpc::ClientContext context_;
  mutable std::mutex mutex_;
  bool connected_ = false;
  std::vector<Seen> seen_;
  std::thread thread_;
};

}  // namespace moat::e2e
