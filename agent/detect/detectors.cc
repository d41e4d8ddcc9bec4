// SPDX-License-Identifier: Apache-2.0
#include "agent/detect/detectors.h"

namespace moat::detect {

std::vector<std::unique_ptr<Detector>> MakeAll(const config::Detect&) {
  std::vector<std::unique_ptr<Detector>> all;
  all.push_back(MakeCanary());
  return all;
}

}  // namespace moat::detect
