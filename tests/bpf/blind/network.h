// SPDX-License-Identifier: Apache-2.0
// A network of a workload's own: it goes with the last process in it.
#pragma once

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "tests/bpf/fixture.h"

namespace moat::test {

// This process moves into a network namespace with nothing but a loopback, and settings of its own below /proc/sys/net.
inline void OwnNetwork() {
  MOAT_CHILD_CHECK(unshare(CLONE_NEWNET) == 0);
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  MOAT_CHILD_CHECK(ioctl(fd, SIOCGIFFLAGS, &request) == 0);
  request.ifr_flags |= IFF_UP;
  MOAT_CHILD_CHECK(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
  close(fd);
}

}  // namespace moat::test
