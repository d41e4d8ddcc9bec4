// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/cost.h"

#include <array>
#include <functional>
#include <map>

#include "tests/bench/baseline.h"
#include "tests/bench/ledger.h"
#include "tests/bench/tracer.h"

namespace moat::bench {
namespace {

enum Setup : size_t { kBase, kEmpty, kRing, kMoat, kSetups };

// ns per operation, by setup; index: round.
using Samples = std::array<std::vector<double>, kSetups>;

struct Summary {
  std::array<double, kSetups> ns{};  // medians
  double added = 0, added_low = 0, added_high = 0;  // moat - base of the same round: median, p25, p75
  double to_base = 0, to_empty = 0, to_ring = 0;    // medians of ratios of the same round
  double empty_added = 0;
};

Summary Summarise(const Samples& samples) {
  Summary s;
  std::vector<double> added, to_base, to_empty, to_ring, empty_added;
  for (size_t setup = 0; setup < kSetups; setup++) {
    s.ns[setup] = Median(samples[setup]);
  }
  for (size_t i = 0; i < samples[kMoat].size(); i++) {
    const double moat = samples[kMoat][i];
    added.push_back(moat - samples[kBase][i]);
    to_base.push_back(moat / samples[kBase][i]);
    to_empty.push_back(moat / samples[kEmpty][i]);
    to_ring.push_back(moat / samples[kRing][i]);
    empty_added.push_back(samples[kEmpty][i] - samples[kBase][i]);
  }
  s.added = Median(added);
  s.added_low = Quantile(added, 0.25);
  s.added_high = Quantile(added, 0.75);
  s.to_base = Median(to_base);
  s.to_empty = Median(to_empty);
  s.to_ring = Median(to_ring);
  s.empty_added = Median(empty_added);
  return s;
}

// The goals of the issue. Added time in ns, or a ratio of whole operations; where either will do, the better one is taken.
struct Verdict {
  std::string goal;
  std::function<bool(const Summary&)> meets;
};
const std::map<std::string, Verdict>& Goals() {
  static const std::map<std::string, Verdict> goals = {
      {"getppid", {"<= 45 ns", [](const Summary& s) { return s.added <= 45; }}},
      {"read_plain", {"<= 45 ns", [](const Summary& s) { return s.added <= 45; }}},
      {"ioctl_plain", {"<= 45 ns", [](const Summary& s) { return s.added <= 45; }}},
      {"open_plain", {"<= 1.15x empty", [](const Summary& s) { return s.to_empty <= 1.15; }}},
      {"open_read_plain", {"<= 1.15x empty", [](const Summary& s) { return s.to_empty <= 1.15; }}},
      {"open_asset", {"<= 620 ns or 1.1x ring", [](const Summary& s) { return s.added <= 620 || s.to_ring <= 1.1; }}},
      {"ioctl_counted", {"<= 310 ns", [](const Summary& s) { return s.added <= 310; }}},
      {"connect", {"<= 800 ns", [](const Summary& s) { return s.added <= 800; }}},
      {"spawn", {"<= 1.06x base", [](const Summary& s) { return s.to_base <= 1.06; }}},
  };
  return goals;
}

Status MeasureAll(Child& load, Setup setup, std::map<std::string, Samples>& samples) {
  for (const Operation& op : kOperations) {
    MOAT_TRY(RunLoad(load, "run " + std::string(op.name) + " " + std::to_string(op.batch / 20 + 1)));  // warm up
    MOAT_ASSIGN(const Sample sample, RunLoad(load, "run " + std::string(op.name) + " " + std::to_string(op.batch)));
    samples[op.name][setup].push_back(sample.NsPerOp());
  }
  return {};
}

void Tell(const std::map<std::string, Samples>& samples, Report& report) {
  const double getppid = Median(samples.at("getppid")[kBase]);
  const double ioctl = Median(samples.at("ioctl_counted")[kBase]);
  // The mean of both, as neither alone stands for a whole operation.
  const double scale = (kReferenceGetppidNs / getppid + kReferenceIoctlNs / ioctl) / 2;
  report.Note(Text("calibration: getppid %.0f ns here", getppid) + Text(" (reference %.0f)", kReferenceGetppidNs) +
              Text(", ioctl %.0f ns", ioctl) + Text(" (reference %.0f)", kReferenceIoctlNs) +
              Text(": scaled = measured x %.2f; judged by measured, not scaled", scale));
  for (const Operation& op : kOperations) {
    const Summary s = Summarise(samples.at(op.name));
    Row row;
    row.name = op.title;
    row.base = Text("%.0f", s.ns[kBase]);
    row.empty = Text("%.0f", s.ns[kEmpty]) + Text(" (%+.0f)", s.empty_added);
    row.ring = Text("%.0f", s.ns[kRing]);
    row.moat = Text("%.0f", s.ns[kMoat]);
    row.change = Text("%+.0f", s.added) + Text(" [%.0f", s.added_low) + Text("..%.0f]", s.added_high) +
                 Text(" %.2fx base", s.to_base) + Text(", %.2fx empty", s.to_empty) +
                 (op.ring_makes_one ? Text(", %.2fx ring", s.to_ring) : "");
    row.scaled = Text("%+.0f", s.added * scale);
    if (const auto goal = Goals().find(op.name); goal != Goals().end()) {
      row.goal = goal->second.goal;
      row.meets = goal->second.meets(s);
    }
    report.Add(std::move(row));
  }
}

}  // namespace

Status MeasureCost(const Host& host, const Options& options, Report& report) {
  const int rounds = options.full ? 31 : 5;
  const config::Config config = host.MoatConfig();
  MOAT_ASSIGN(Child load, host.StartLoad(options.load_cpu));
  std::vector<Hook> hooks;
  {
    MOAT_ASSIGN(const auto probing, Tracer::Start(config, options.agent_cpu));
    MOAT_ASSIGN(hooks, HooksOfThisProcess());
  }
  report.Note("moat holds " + std::to_string(hooks.size()) + " hooks; the empty programs are on the same");
  MOAT_ASSIGN(const auto empty, Baseline::Empty(hooks, host.cgroup_fd()));
  MOAT_ASSIGN(const auto ring, Baseline::RingOnly(host.cgroup_id(), host.cgroup_fd(), options.agent_cpu));
  std::map<std::string, Samples> samples;
  uint64_t lost = 0;
  for (int round = 0; round < rounds; round++) {
    MOAT_TRY(MeasureAll(load, kBase, samples));
    // The order of the three turns from round to round, so that none is always the one nearest to its base.
    for (size_t turn = 0; turn < 3; turn++) {
      const auto setup = static_cast<Setup>(kEmpty + (static_cast<size_t>(round) + turn) % 3);
      if (setup == kMoat) {
        MOAT_ASSIGN(const auto moat, Tracer::Start(config, options.agent_cpu));
        MOAT_TRY(MeasureAll(load, kMoat, samples));
        moat->Settle();
        const Balance balance = Check(moat->ledger());
        lost += balance.lost;
        if (!balance.broken.empty()) {
          report.Broken("cost, round " + std::to_string(round) + ": " + balance.broken);
        }
      } else {
        Baseline& baseline = setup == kEmpty ? *empty : *ring;
        MOAT_TRY(baseline.Attach());
        MOAT_TRY(MeasureAll(load, setup, samples));
        baseline.Detach();
      }
    }
  }
  if (lost != 0 || ring->lost() != 0) {
    report.Broken("cost: moat lost " + std::to_string(lost) + ", ring-only " + std::to_string(ring->lost()) +
                  " records: the times above are too good");
  }
  Tell(samples, report);
  return {};
}

}  // namespace moat::bench
