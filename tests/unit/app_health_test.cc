// SPDX-License-Identifier: Apache-2.0
// What of the agent itself is told as a finding, and what it calls its host.
#include "agent/app/health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/app/self.h"

namespace moat::app {
namespace {

std::vector<std::string> Causes(const std::vector<sink::SinkStats>& sinks, const api::ApiCounters& api) {
  std::vector<std::string> causes;
  for (const detect::Draft& draft : Degraded({}, {}, sinks, api)) {
    causes.push_back(draft.cause);
  }
  return causes;
}

TEST(AppHealth, ASinkThatLosesIsToldAlsoWhenItHasCaughtUp) {
  sink::SinkStats sink;
  sink.name = "siem";
  EXPECT_TRUE(Causes({sink}, {}).empty());
  for (uint64_t* lost : {&sink.queue_full, &sink.unspooled, &sink.spool.dropped_by_cap, &sink.spool.corrupt}) {
    *lost = 1;
    EXPECT_THAT(Causes({sink}, {}), testing::ElementsAre("sink siem loses"));
    *lost = 0;
  }
  sink.failing = true;
  sink.lag_ns = 1;
  EXPECT_TRUE(Causes({sink}, {}).empty()) << "a receiver may be away for a while";
}

TEST(AppHealth, WhatTheApiCannotWriteOrReadIsTold) {
  api::ApiCounters api;
  api.reloads_failed = 1;
  EXPECT_TRUE(Causes({}, api).empty()) << "mended since";
  api.stale = true;
  EXPECT_THAT(Causes({}, api), testing::ElementsAre("api.tcp"));
  api = {};
  api.audit.dropped = 1;
  EXPECT_THAT(Causes({}, api), testing::ElementsAre("audit"));
  api.audit = {.written = 1, .dropped = 0, .failed = 1};
  EXPECT_THAT(Causes({}, api), testing::ElementsAre("audit"));
}

TEST(AppSelf, TheNodesNameIsWhatThePodIsTold) {
  char own[256] = {};
  ASSERT_EQ(::gethostname(own, sizeof(own) - 1), 0);
  ::unsetenv("MOAT_HOSTNAME");
  EXPECT_EQ(HostName(), own);
  ::setenv("MOAT_HOSTNAME", "", 1);
  EXPECT_EQ(HostName(), own);
  ::setenv("MOAT_HOSTNAME", "node-7", 1);
  EXPECT_EQ(HostName(), "node-7");
  ::unsetenv("MOAT_HOSTNAME");
}

}  // namespace
}  // namespace moat::app
