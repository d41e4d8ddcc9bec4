// SPDX-License-Identifier: Apache-2.0
// What the load generator and the bench must agree on.
#pragma once

#include <sys/ioctl.h>

namespace moat::bench {

// A parameter block as large as NVIDIA's RM control (32 bytes), on a number that no character device answers.
struct IoctlParams {
  char bytes[32];
};
constexpr unsigned long kCountedIoctl = _IOWR('F', 0x2a, IoctlParams);
constexpr unsigned long kWatchedIoctl = _IOWR('F', 0x2b, IoctlParams);

}  // namespace moat::bench
