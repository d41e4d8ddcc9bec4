// SPDX-License-Identifier: Apache-2.0
// The agent put together: probe, pipeline, hub, API.
#pragma once

#include <memory>
#include <string>

#include "agent/base/error.h"
#include "agent/config/config.h"

namespace moat::app {

struct AppOptions {
  std::string config_path;  // read again on Reload
  std::string record_path;  // empty: no recording
};

// One thread.
class App {
 public:
  static std::unique_ptr<App> Create(AppOptions options, config::Config config);
  virtual ~App() = default;  // stops

  // On error what was started is still there: Stop() it, or let it go.
  virtual Status Start() = 0;
  virtual void Stop() = 0;
  // Reads the assets again. When anything is wrong with the file it says so in the log, and the old assets stay.
  virtual void Reload() = 0;
  // Names in events are those of the devices that are there now: some come late. To be called every few seconds.
  virtual void LookAgain() = 0;
};

}  // namespace moat::app
