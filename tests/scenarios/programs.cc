// SPDX-License-Identifier: Apache-2.0
// What programs start: from memory, from models, by themselves.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "tests/scenarios/stage.h"

namespace moat::scenarios {
namespace {

using event::FindingKind;

// Runs the file behind a descriptor of this process.
void RunDescriptor(int fd) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  InChild([&] {
    const char* argv[] = {"worker", nullptr};
    const char* environment[] = {nullptr};
    ::syscall(SYS_execveat, fd, "", argv, environment, AT_EMPTY_PATH);
    ::_exit(1);
  });
}

int InMemory(const char* name) {
  const int fd = ::memfd_create(name, 0), from = ::open("/bin/true", O_RDONLY | O_CLOEXEC);
  Check(fd >= 0 && from >= 0);
  std::vector<char> block(1 << 16);
  for (ssize_t got = 0; (got = ::read(from, block.data(), block.size())) > 0;) {
    Check(::write(fd, block.data(), static_cast<size_t>(got)) == got);
  }
  ::close(from);
  return fd;
}

const Scenario kAll[] = {
    {"from-memory", FindingKind::kFilelessExec, kAttack, "runs a program that lies in memory alone",
     [](const Site&) { RunDescriptor(InMemory("kworker")); }},
    {"removed-and-run", FindingKind::kFilelessExec, kAttack, "runs a program whose file it has removed",
     [](const Site& site) {
       const std::string copy = CopyOf(site, "/bin/true", "dropper");
       const int fd = ::open(copy.c_str(), O_RDONLY);
       Check(fd >= 0 && ::unlink(copy.c_str()) == 0);
       RunDescriptor(fd);
     }},
    {"from-a-file", FindingKind::kFilelessExec, kOrdinary, "runs a program of its own making, which stays where it is",
     [](const Site& site) {
       const std::string copy = CopyOf(site, "/bin/true", "built");
       Run({copy});
     }},
    {"memory-not-run", FindingKind::kFilelessExec, kOrdinary, "keeps a program in memory, and runs another",
     [](const Site&) {
       ::close(InMemory("cache"));
       Run({"/bin/true"});
     }},

    {"pickle-shell", FindingKind::kUnsafeLoad, kAttack, "a loader that opens a model runs a shell",
     [](const Site& site) {
       ReadFile(site.weights, 0.1);
       Run({"/bin/sh", "-c", "id > /dev/null; cat /etc/passwd > /dev/null"});
     }},
    {"pickle-calls-home", FindingKind::kUnsafeLoad, kAttack, "a loader that opens a model calls a peer it never called",
     [](const Site& site) { ReadFile(site.weights, 0.1), Send(kOutside, 8443, 100); }},
    {"helpers-first", FindingKind::kUnsafeLoad, kOrdinary, "a server that starts its helpers, then opens the model",
     [](const Site& site) {
       Run({"/bin/sh", "-c", "id > /dev/null; true"});
       ReadFile(site.weights, 0.1);
     }},
    {"known-peer", FindingKind::kUnsafeLoad, kOrdinary, "a loader that calls the peer it has called before",
     [](const Site& site) {
       Send(kOutside, 8443, 100);
       ReadFile(site.weights, 0.1);
       Send(kOutside, 8443, 100);
     }},
    {"script", FindingKind::kUnsafeLoad, kOrdinary, "a script that looks at the model and goes on",
     [](const Site& site) { Run({"/bin/sh", "-c", "exec 3< " + site.weights + "; true"}); }},
};

}  // namespace

std::span<const Scenario> Programs() { return kAll; }

}  // namespace moat::scenarios
