// SPDX-License-Identifier: Apache-2.0
// Whom processes call, and what policies say of it.
#include <unistd.h>

#include <string>

#include "tests/scenarios/stage.h"

namespace moat::scenarios {
namespace {

using event::FindingKind;

constexpr const char* kClosed = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: closed}
spec:
  mode: enforce
  subjects: [{cgroup: SCOPE}]
  egress: {default: deny, allow: [{cidr: 10.66.7.7/32}]}
)";
constexpr const char* kTried = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: tried}
spec:
  mode: dry-run
  subjects: [{cgroup: SCOPE}]
  egress: {default: deny, allow: [{cidr: 10.66.7.7/32}]}
)";
constexpr const char* kMetadata = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: metadata}
spec:
  mode: observe
  subjects: [{cgroup: SCOPE}]
  egress: {default: deny, allow: [{cidr: 169.254.169.254/32}]}
)";

std::string Neighbour(int number) { return "10.66.1." + std::to_string(number); }

const Scenario kAll[] = {
    {"sweep", FindingKind::kLateralMovement, kAttack, "calls many neighbours, one port each",
     [](const Site&) {
       for (int i = 1; i <= 60; ++i) {
         (void)Call(Neighbour(i).c_str(), 22);
       }
     }},
    {"port-scan", FindingKind::kLateralMovement, kAttack, "calls many ports of one neighbour",
     [](const Site&) {
       for (int i = 1; i <= 60; ++i) {
         (void)Call(kStore, static_cast<uint16_t>(1000 + i));
       }
     }},
    {"a-lost-server", FindingKind::kLateralMovement, kOrdinary, "asks the one server that does not answer again and again",
     [](const Site&) {
       for (int i = 1; i <= 60; ++i) {
         (void)Call(kStore, 9999);
       }
     }},
    {"a-few-peers", FindingKind::kLateralMovement, kOrdinary, "talks to its store and to one outside",
     [](const Site&) {
       for (int i = 0; i < 30; ++i) {
         Send(kStore, 443, 1000);
         Send(kOutside, 443, 1000);
       }
     }},
    {"credentials", FindingKind::kMetadataAccess, kAttack, "asks the cloud for the machine's credentials",
     [](const Site&) {
       Check(::setuid(65534) == 0);
       (void)Call("169.254.169.254", 80);
     }},
    {"credentials-by-a-child", FindingKind::kMetadataAccess, kAttack, "the same by a child",
     [](const Site&) {
       InChild([] {
         Check(::setuid(65534) == 0);
         (void)Call("169.254.169.254", 80);
       });
     }},
    {"credentials-allowed", FindingKind::kMetadataAccess, kOrdinary, "asks for them, as a policy allows",
     [](const Site&) {
       Check(::setuid(65534) == 0);
       (void)Call("169.254.169.254", 80);
     },
     kMetadata},
    {"time-service", FindingKind::kMetadataAccess, kOrdinary, "asks a neighbour of that address",
     [](const Site&) { (void)Call("169.254.169.123", 123); }},
    {"denied", FindingKind::kPolicyDenial, kAttack, "calls whom a policy denies", [](const Site&) { (void)Call(kOutside, 443); },
     kClosed},
    {"denied-again", FindingKind::kPolicyDenial, kAttack, "calls many whom a policy denies",
     [](const Site&) {
       for (int i = 0; i < 20; ++i) {
         (void)Call(kOutside, static_cast<uint16_t>(443 + i));
       }
     },
     kClosed},
    {"allowed", FindingKind::kPolicyDenial, kOrdinary, "calls whom it allows", [](const Site&) { Send(kStore, 443, 100); },
     kClosed},
    {"dry-run", FindingKind::kPolicyDenial, kOrdinary, "what a policy in dry-run would deny is not denied",
     [](const Site&) { Send(kOutside, 443, 100); }, kTried},
    {"would-be-denied", FindingKind::kPolicyWouldDeny, kAttack, "and is told as that",
     [](const Site&) { Send(kOutside, 443, 100); }, kTried},
    {"would-be-denied-twice", FindingKind::kPolicyWouldDeny, kAttack, "however often",
     [](const Site&) { Send(kOutside, 443, 100), Send(kOutside, 8443, 100); }, kTried},
    {"would-be-allowed", FindingKind::kPolicyWouldDeny, kOrdinary, "what it allows is not",
     [](const Site&) { Send(kStore, 443, 100); }, kTried},
    {"observed", FindingKind::kPolicyWouldDeny, kOrdinary, "what is only observed decides nothing",
     [](const Site&) { Send(kOutside, 443, 100); }, kMetadata},
};

}  // namespace

std::span<const Scenario> Network() { return kAll; }

}  // namespace moat::scenarios
