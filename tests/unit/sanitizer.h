// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

// First in a test, or in the SetUp() of tests, that sends something through gRPC. Debian's gRPC is not built for ThreadSanitizer:
// what it hands from thread to thread by its own atomics looks like a race, hundreds of times. The classes behind it are tested
// without it.
#ifdef __SANITIZE_THREAD__
#define MOAT_SKIP_WITH_GRPC_UNDER_TSAN() GTEST_SKIP() << "gRPC is not built for ThreadSanitizer: what it reports there is no race"
#else
#define MOAT_SKIP_WITH_GRPC_UNDER_TSAN() \
  do {                                   \
  } while (false)
#endif
