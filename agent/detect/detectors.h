// SPDX-License-Identifier: Apache-2.0
// All detectors there are, one file each.
#pragma once

#include <memory>
#include <vector>

#include "agent/config/detect.h"
#include "agent/detect/detector.h"

namespace moat::detect {

std::unique_ptr<Detector> MakeCanary();  // canary.cc

// In the order in which they see an event.
std::vector<std::unique_ptr<Detector>> MakeAll(const config::Detect& config);

}  // namespace moat::detect
