// SPDX-License-Identifier: Apache-2.0
// Ring, decode and pipeline in this process, on the agent's core: against real ioctls as fast as the load's core can make them, and
// at 1,000,000 events a second from the feeder, which no single core can make by system calls.
#include <unistd.h>

#include "tests/bench/cost.h"
#include "tests/bench/feeder.h"
#include "tests/bench/ledger.h"
#include "tests/bench/tracer.h"

namespace moat::bench {

namespace {

constexpr auto kIoctl = static_cast<size_t>(event::Kind::kGpuIoctl);

// Whether all of expected came to the end; what did not is reported.
bool AllCame(const Ledger& ledger, uint64_t expected, const char* what, Report& report) {
  const Balance balance = Check(ledger);
  if (!balance.broken.empty()) {
    report.Broken(std::string(what) + ": " + balance.broken);
  }
  if (balance.lost != 0) {
    report.Note(std::string(what) + ": " + std::to_string(balance.lost) + " of " + std::to_string(expected) + " events lost");
  }
  if (ledger.kinds[kIoctl].attempted != expected) {
    report.Broken(std::string(what) + ": " + std::to_string(expected) + " were made, the kernel side tried " +
                  std::to_string(ledger.kinds[kIoctl].attempted));
  }
  return balance.lost == 0 && balance.broken.empty();
}

Status MeasureIoctls(const Host& host, const Options& options, Report& report) {
  const int runs = options.full ? 5 : 3;
  const std::string ms = options.full ? "10000" : "1500";
  MOAT_ASSIGN(Child load, host.StartLoad(options.load_cpu));
  MOAT_ASSIGN(const auto moat, Tracer::Start(host.MoatConfig(), options.agent_cpu));
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
  const bool lossless = AllCame(moat->ledger(), expected, "ioctls", report);
  const double cost = Median(costs);
  report.Add({"agent, ring to end of pipeline", "", "", "", Text("room for %.2f M/s on a core", 1e3 / cost),
              Text("%.0f ns an event", cost), "", "<= 300 ns", cost <= 300});
  report.Add({"watched ioctls, as many as a core makes", "", "", "", "",
              Text("%.2f M/s", Median(rates) / 1e6) + (lossless ? ", all delivered" : ", with losses"), "", "no loss", lossless});
  return {};
}

Status MeasureFeed(const Host& host, const Options& options, Report& report) {
  constexpr uint64_t kRate = 1'000'000;
  // The default 4 MiB hold 16 ms of this rate, and a virtual machine's core is sometimes away for longer.
  config::Config config = host.MoatConfig();
  config.ring_bulk_bytes = 16u << 20;
  MOAT_ASSIGN(const auto moat, Tracer::Start(config, options.agent_cpu));
  MOAT_ASSIGN(const auto feeder, Feeder::Create(options.load_cpu));
  MOAT_TRY(feeder->Run(kRate / 10, 300));  // warm up
  moat->Settle();
  const uint64_t before = moat->ledger().kinds[kIoctl].attempted, cpu = ProcessCpuNs(getpid());
  MOAT_ASSIGN(const Feeder::Fed fed, feeder->Run(kRate, options.full ? 60'000 : 5'000));
  moat->Settle();
  const double share = static_cast<double>(ProcessCpuNs(getpid()) - cpu - fed.cpu_ns) / static_cast<double>(fed.wall_ns);
  const double rate = static_cast<double>(fed.events) * 1e9 / static_cast<double>(fed.wall_ns);
  const bool lossless = AllCame(moat->ledger(), before + fed.events, "feed", report);
  report.Add({"throughput, 16 MiB ring to end of pipeline", "", "", "", Text("%.0f %% of a core", share * 100),
              Text("%.2f M/s", rate / 1e6) + Text(" for %.0f s", static_cast<double>(fed.wall_ns) / 1e9) +
                  (lossless ? ", all delivered" : ", with losses"),
              "", ">= 1.0 M/s, no loss", lossless && rate >= 0.995 * kRate});
  return {};
}

}  // namespace

Status MeasureThroughput(const Host& host, const Options& options, Report& report) {
  MOAT_TRY(MeasureIoctls(host, options, report));
  return MeasureFeed(host, options, report);
}

}  // namespace moat::bench
