// SPDX-License-Identifier: Apache-2.0
// Finds the assets' files anew when a mount came or went that decides what lies at their paths.
#pragma once

#include <functional>
#include <memory>

#include "agent/app/mount_watch.h"
#include "agent/probe/probe.h"

namespace moat::app {

// A thread of its own: what is mounted may be slow, or not answer at all.
class MountedAssets {
 public:
  virtual ~MountedAssets() = default;  // waits for a search that is under way
  // watch: opened before the probe looked for the assets the first time. found: they were looked for anew; called on that thread.
  static Result<std::unique_ptr<MountedAssets>> Start(MountWatch watch, probe::Probe& probe, std::function<void()> found);
};

}  // namespace moat::app
