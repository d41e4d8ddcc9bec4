// SPDX-License-Identifier: Apache-2.0
// Ring, decode and pipeline in this process, on the agent's core, against a load that goes as fast as it can on its own.
#include <unistd.h>

#include "tests/bench/cost.h"
#include "tests/bench/ledger.h"
#include "tests/bench/tracer.h"

namespace moat::bench {

Status MeasureThroughput(const Host& host, const Options& options, Report& report) {
  const int runs = options.full ? 5 : 3;
  const std::string ms = options.full ? "10000" : "1500";
  MOAT_ASSIGN(Child load, host.StartLoad(options.load_cpu));
  MOAT_ASSIGN(const auto moat, Tracer::Start(host.MoatConfig(), options.agent_cpu));
  constexpr auto kIoctl = static_cast<size_t>(event::Kind::kGpuIoctl);
  std::vector<double> rates, costs;
  uint64_t expected = 0;
  for (int run = 0; run < runs; run++) {
    const uint64_t events = moat->events();
    const uint64_t cpu = ProcessCpuNs(getpid());  // this thread only waits for the load's answer
    MOAT_ASSIGN(const Sample sample, RunLoad(load, "flat ioctl_watched " + ms));
    moat->Settle();
    expected += sample.count;
    rates.push_back(sample.PerSecond());
    costs.push_back(static_cast<double>(ProcessCpuNs(getpid()) - cpu) / static_cast<double>(moat->events() - events));
  }
  const Ledger ledger = moat->ledger();
  const Balance balance = Check(ledger);
  if (!balance.broken.empty()) {
    report.Broken("throughput: " + balance.broken);
  }
  if (balance.lost != 0) {
    report.Broken("throughput: " + std::to_string(balance.lost) + " of " + std::to_string(expected) + " events lost");
  }
  if (ledger.kinds[kIoctl].attempted != expected) {
    report.Broken("throughput: the load made " + std::to_string(expected) + " watched ioctls, the kernel side tried " +
                  std::to_string(ledger.kinds[kIoctl].attempted));
  }
  const double cost = Median(costs);
  report.Add({"agent, ring to end of pipeline", "", "", "", Text("room for %.2f M/s on a core", 1e3 / cost),
              Text("%.0f ns an event", cost), "", "<= 300 ns", cost <= 300});
  const double rate = Median(rates);
  const bool lossless = balance.lost == 0 && balance.broken.empty();
  report.Add({"throughput, ring to end of pipeline", "", "", "", "",
              Text("%.2f M/s came", rate / 1e6) + (lossless ? ", all delivered" : ", with losses"), "", ">= 1.0 M/s, no loss",
              lossless && rate >= 1e6});
  if (rate < 1e6) {
    report.Note(Text("the load's core could make only %.2f M watched ioctls a second, so 1 M/s was not shown", rate / 1e6));
  }
  return {};
}

}  // namespace moat::bench
