// SPDX-License-Identifier: Apache-2.0
#include "agent/app/doctor.h"

#include <cstdio>

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
  std::fputs(api::ToJson(snapshot).c_str(), stdout);
  return std::fflush(stdout) == 0 && api::Healthy(snapshot);
}

}  // namespace moat::app
