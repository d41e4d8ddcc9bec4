// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

// First in a test, or in the SetUp() of tests, that goes through a library of Debian's which ThreadSanitizer cannot follow. The
// classes behind it are tested without it.
#ifdef __SANITIZE_THREAD__
#define MOAT_SKIP_UNDER_TSAN(why) GTEST_SKIP() << (why)
#else
#define MOAT_SKIP_UNDER_TSAN(why) \
  do {                            \
  } while (false)
#endif

// What gRPC hands from thread to thread by its own atomics looks like a race, hundreds of times.
#define MOAT_SKIP_WITH_GRPC_UNDER_TSAN() \
  MOAT_SKIP_UNDER_TSAN("gRPC is not built for ThreadSanitizer: what it reports there is no race")
