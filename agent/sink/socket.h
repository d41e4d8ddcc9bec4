// SPDX-License-Identifier: Apache-2.0
// Connecting a TCP socket before a deadline.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "agent/base/error.h"
#include "agent/base/fd.h"

namespace moat::sink {

using Deadline = std::chrono::steady_clock::time_point;

// Milliseconds until then, for poll(): at least 0, rounded up.
int MillisUntil(Deadline deadline);

// Not blocking, with keepalive and without delay of small writes. Names are looked up; each of their addresses is tried, and the last error
// told. A name server that is silent beyond the deadline is left to end by itself.
Result<Fd> ConnectTcp(const std::string& host, uint16_t port, Deadline deadline);

}  // namespace moat::sink
