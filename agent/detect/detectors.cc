// SPDX-License-Identifier: Apache-2.0
#include "agent/detect/detectors.h"

namespace moat::detect {

std::vector<std::unique_ptr<Detector>> MakeAll(const config::Detect& config) {
  std::vector<std::unique_ptr<Detector>> all;
  all.push_back(MakeCanary());
  all.push_back(MakeCollection(config));
  all.push_back(MakeExfiltration(config));
  all.push_back(MakeTamper());
  all.push_back(MakeUnsafeLoad(config));
  all.push_back(MakeReverseShell());
  all.push_back(MakeInteractiveShell());
  all.push_back(MakeFileless());
  all.push_back(MakeInjection());
  all.push_back(MakeNamespaceEscape());
  all.push_back(MakeGpu());
  all.push_back(MakeLateral(config));
  all.push_back(MakeFailedLogins(config));
  all.push_back(MakeDnsTunnel(config));
  all.push_back(MakePolicy());
  all.push_back(MakeLosses());
  return all;
}

}  // namespace moat::detect
