// SPDX-License-Identifier: Apache-2.0
// What a bench run makes on the host and takes away again: a cgroup, a directory with an asset and a file that is none, and the
// load generator in that cgroup.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"
#include "agent/config/config.h"

namespace moat::bench {

void PinThread(int cpu);                // the calling thread
uint64_t ThreadCpuNs();                 // of the calling thread
uint64_t ProcessCpuNs(pid_t pid);       // all threads, exact to the scheduler's nanoseconds; 0: no such process
uint64_t ResidentBytes(pid_t pid);      // VmRSS; 0: no such process
std::string CpuPressure();              // how long something waited for a core lately; the wall-clock figures suffer from it
std::string BinaryPath(const char* name);  // beside the running program

// A child process: ended and waited for when the object goes.
class Child {
 public:
  // pipes: standard input and output are connected to in() and out(); else it inherits both. cpu < 0: not pinned.
  static Result<Child> Start(const std::vector<std::string>& argv, bool pipes, int cpu);
  Child() = default;
  Child(Child&& other) noexcept;
  Child& operator=(Child&& other) noexcept;
  ~Child();
  pid_t pid() const { return pid_; }
  int Stop(int signal);  // exit status, or 128 + signal
  Status Tell(const std::string& line);
  Result<std::string> Hear();  // one line, without its newline

 private:
  void Reset();
  pid_t pid_ = -1;
  std::FILE* in_ = nullptr;
  std::FILE* out_ = nullptr;
};

class Host {
 public:
  static Result<std::unique_ptr<Host>> Create();
  ~Host();
  int cgroup_fd() const { return cgroup_.get(); }
  uint64_t cgroup_id() const { return cgroup_id_; }
  const std::string& directory() const { return directory_; }
  config::Config MoatConfig() const;  // scoped to the cgroup, one asset, /dev/null as a device, one watched command
  Status WriteMoatYaml(const std::string& path, const std::string& socket) const;
  Result<Child> StartLoad(int cpu) const;

 private:
  std::string cgroup_path_, cgroup_name_, directory_;
  Fd cgroup_;
  uint64_t cgroup_id_ = 0;
};

// One answer of the load generator.
struct Sample {
  uint64_t count = 0, cpu_ns = 0, wall_ns = 0;
  double NsPerOp() const { return count == 0 ? 0 : static_cast<double>(cpu_ns) / static_cast<double>(count); }
  double PerSecond() const { return wall_ns == 0 ? 0 : static_cast<double>(count) * 1e9 / static_cast<double>(wall_ns); }
};
Result<Sample> RunLoad(Child& load, const std::string& command);

}  // namespace moat::bench
