// SPDX-License-Identifier: Apache-2.0
// The probe itself: what it sees is exactly the scope, and it sleeps and wakes as it says.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/bpf/fixture.h"

namespace moat::test {
namespace {

class ProbeTest : public BpfTest {};

void ForkAndWait(int times) {
  for (int i = 0; i < times; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      _exit(0);
    }
    MOAT_CHILD_CHECK(pid > 0 && waitpid(pid, nullptr, 0) == pid);
  }
}

TEST_F(ProbeTest, SeesTheScopeAndNothingBesideIt) {
  Start();
  const pid_t beside = RunOutside([] { ForkAndWait(23); });
  EXPECT_TRUE(records().empty()) << Summary() << " from pid " << beside;
  const pid_t inside = RunInside([] { ForkAndWait(23); });
  EXPECT_EQ(Of<moat_fork>(MOAT_KIND_FORK, inside).size(), 23u);
  EXPECT_EQ(Of<moat_exit>(MOAT_KIND_EXIT).size(), 24u);  // the workload's own as well
  for (const auto& exit : Of<moat_exit>(MOAT_KIND_EXIT)) {
    EXPECT_EQ(exit.hdr.cgroup_id, cgroup_id());
  }
}

}  // namespace
}  // namespace moat::test
