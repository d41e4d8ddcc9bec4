// SPDX-License-Identifier: Apache-2.0
#include "agent/app/doctor.h"

#include <cstdio>
#include <string>

#include "agent/api/server.h"
#include "agent/app/self.h"
#include "agent/base/version.h"
#include "agent/probe/ask.h"

namespace moat::app {

bool PrintDoctor(const config::Config& config) {
  api::StatusSnapshot snapshot;
  snapshot.version = kVersion;
  snapshot.hostname = HostName();
  snapshot.kernel = KernelRelease();
  snapshot.domains = probe::Ask(config);
  const std::string text = api::ToJson(snapshot);
  if (text.empty()) {
    std::fputs("moatd: the answer cannot be written as JSON\n", stderr);
    return false;
  }
  std::fputs(text.c_str(), stdout);
  return std::fflush(stdout) == 0 && api::Healthy(snapshot);
}

}  // namespace moat::app
