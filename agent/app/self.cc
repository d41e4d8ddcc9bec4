// SPDX-License-Identifier: Apache-2.0
#include "agent/app/self.h"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "agent/base/clock.h"

namespace moat::app {
namespace {

utsname Uname() {
  utsname name{};
  ::uname(&name);
  return name;
}

}  // namespace

std::string HostName() {
  const char* given = std::getenv("MOAT_HOSTNAME");  // NOLINT(concurrency-mt-unsafe): nothing here sets variables
  return given != nullptr && *given != '\0' ? given : Uname().nodename;
}
std::string KernelRelease() { return Uname().release; }

uint32_t HostPid() {
  constexpr ino_t kHost = 0xeffffffc;  // PROC_PID_INIT_INO of include/linux/proc_ns.h
  struct stat space{};
  return ::stat("/proc/self/ns/pid", &space) == 0 && space.st_ino == kHost ? static_cast<uint32_t>(::getpid()) : 0;
}

uint64_t CpuNs() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

uint64_t RssBytes() {
  uint64_t size = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

uint64_t SinceStartNs() {
  std::string line;
  std::getline(std::ifstream("/proc/self/stat"), line);
  const size_t name_end = line.rfind(')');  // a name may contain anything, ')' and spaces too
  if (name_end == std::string::npos) {
    return 0;
  }
  std::istringstream fields(line.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) {
    fields >> skipped;
  }
  uint64_t start_ticks = 0;
  fields >> start_ticks;
  const uint64_t start_ns = start_ticks * (1'000'000'000 / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK)));
  const uint64_t now_ns = BootNs();
  return now_ns - std::min(now_ns, start_ns);
}

}  // namespace moat::app
