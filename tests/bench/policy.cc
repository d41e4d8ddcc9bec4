// SPDX-License-Identifier: Apache-2.0
// The most rules that there may be: from the checked policies to the moment that the kernel decides by them.
#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "agent/base/clock.h"
#include "agent/policy/compile.h"
#include "agent/probe/policy_maps.h"
#include "agent/probe/probe.h"
#include "tests/bench/cost.h"

namespace moat::bench {
namespace {

// Networks of all sizes, some within others, most with a port or two: each port of a peer is a rule.
policy::Set MakeSet(size_t rules) {
  std::mt19937 random(7);
  policy::Set set;
  set.assets.push_back({.name = "weights", .paths = {}});
  for (size_t p = 0; p < 10; ++p) {
    policy::Policy policy{.name = "p" + std::to_string(p), .mode = policy::Mode::kEnforce};
    policy.subjects.push_back({.kind = policy::Subject::Kind::kCgroup, .name = "/"});
    policy.egress = policy::Egress{.fallback = policy::Action::kDeny};
    for (size_t made = 0; made < rules / 10;) {
      policy::Peer peer;
      peer.cidr = policy::Cidr{.address = {}, .length = 0, .v6 = random() % 4 == 0};
      peer.cidr->length = static_cast<uint8_t>(peer.cidr->v6 ? 32 + random() % 97 : 12 + random() % 21);
      for (size_t bit = 0; bit < peer.cidr->length; ++bit) {
        peer.cidr->address[bit / 8] = static_cast<uint8_t>(peer.cidr->address[bit / 8] | (random() % 2 << (7 - bit % 8)));
      }
      const size_t ports = std::min<size_t>(random() % 3, rules / 10 - made);
      for (size_t i = 0; i < ports; ++i) {
        const auto port = static_cast<uint16_t>(1 + random() % 60000);
        const auto high = static_cast<uint16_t>(random() % 8 == 0 ? port + random() % 1000 : port);
        peer.ports.push_back({.protocol = policy::Protocol::kTcp, .low = port, .high = high});
      }
      made += std::max<size_t>(ports, 1);
      (random() % 5 == 0 ? policy.egress->deny : policy.egress->allow).push_back(std::move(peer));
    }
    set.policies.push_back(std::move(policy));
  }
  return set;
}

}  // namespace

Status MeasurePolicy(const Host& host, const Options& options, Report& report) {
  config::Config config = host.MoatConfig();
  config.process = config.file = config.gpu = config.net = false;
  config.policy_files = {"/of/the/bench"};
  config.policy_pins = "";
  MOAT_ASSIGN(const auto probe, probe::Probe::Start(config));
  if (probe->Policies() == nullptr) {
    return Fail(Code::kFailedPrecondition, "domain enforce could not be loaded");
  }
  const policy::Set set = MakeSet(policy::kMaxRules);
  std::vector<double> compile_ms, swap_ms, both_ms;
  size_t rows = 0;
  for (int run = 0; run < (options.full ? 30 : 10); ++run) {
    const uint64_t begin = MonotonicNs();
    const auto compiler = policy::Compiler::Create(set, probe->Policies()->NextFirstRule());
    policy::Identity who;
    who.cgroup = "/";
    compiler->AddCgroup(host.cgroup_id(), who, /*settled=*/true);
    const policy::Rows image = compiler->Take();
    const uint64_t compiled = MonotonicNs();
    MOAT_TRY(probe->Policies()->Swap(image, compiler->rules()));
    const uint64_t in_force = probe->Policies()->swapped_ns();
    rows = image.size();
    compile_ms.push_back(static_cast<double>(compiled - begin) / 1e6);
    swap_ms.push_back(static_cast<double>(in_force - compiled) / 1e6);
    both_ms.push_back(static_cast<double>(in_force - begin) / 1e6);
  }
  report.Note(Text("a policy of 10,000 rules: %.0f rows", static_cast<double>(rows)) +
              Text(", compiled in %.1f ms", Median(compile_ms)) + Text(", in force %.1f ms later", Median(swap_ms)));
  report.Add({"10,000 rules, compiled and swapped in", "", "", "", "", Text("%.1f ms", Median(both_ms)), "", "<= 50 ms",
              Median(both_ms) <= 50});
  return probe->Policies()->Clear();
}

}  // namespace moat::bench
