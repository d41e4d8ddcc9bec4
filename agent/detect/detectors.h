// SPDX-License-Identifier: Apache-2.0
// All detectors there are, one file each.
#pragma once

#include <memory>
#include <vector>

#include "agent/config/detect.h"
#include "agent/detect/detector.h"

namespace moat::detect {

std::unique_ptr<Detector> MakeCanary();  // canary.cc
std::unique_ptr<Detector> MakeCollection(const config::Detect& config);  // collection.cc
std::unique_ptr<Detector> MakeDnsTunnel(const config::Detect& config);  // dns_tunnel.cc
std::unique_ptr<Detector> MakeExfiltration(const config::Detect& config);  // exfiltration.cc
std::unique_ptr<Detector> MakeFailedLogins(const config::Detect& config);  // failed_logins.cc
std::unique_ptr<Detector> MakeFileless();  // fileless.cc
std::unique_ptr<Detector> MakeGpu();  // gpu.cc
std::unique_ptr<Detector> MakeInjection();  // injection.cc
std::unique_ptr<Detector> MakeInteractiveShell();  // interactive_shell.cc
std::unique_ptr<Detector> MakeLateral(const config::Detect& config);  // lateral.cc
std::unique_ptr<Detector> MakeLosses();  // losses.cc
std::unique_ptr<Detector> MakeNamespaceEscape();  // namespace_escape.cc
std::unique_ptr<Detector> MakePolicy();  // policy.cc
std::unique_ptr<Detector> MakeReverseShell();  // reverse_shell.cc
std::unique_ptr<Detector> MakeTamper();  // tamper.cc
std::unique_ptr<Detector> MakeUnsafeLoad(const config::Detect& config);  // unsafe_load.cc

// In the order in which they see an event.
std::vector<std::unique_ptr<Detector>> MakeAll(const config::Detect& config);

}  // namespace moat::detect
