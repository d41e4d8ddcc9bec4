// SPDX-License-Identifier: Apache-2.0
// --only=profile: where the time goes. Each program of moat, how often one operation runs it and for how long, by the kernel's own
// count (BPF_STATS_RUN_TIME, which itself adds some 30 ns to every run of every program on the host while it is on).
#include <bpf/bpf.h>

#include <cstdio>
#include <map>

#include "tests/bench/cost.h"
#include "tests/bench/hooks.h"
#include "tests/bench/tracer.h"

namespace moat::bench {
namespace {

struct Runs {
  std::string name;
  uint64_t count = 0, ns = 0;
};

Result<std::map<uint32_t, Runs>> RunsOf(const std::vector<uint32_t>& programs) {
  std::map<uint32_t, Runs> runs;
  for (const uint32_t id : programs) {
    const Fd fd(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    uint32_t size = sizeof info;
    if (!fd || bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) {
      return FailErrno(errno, "bpf_prog_info");
    }
    // A program that is attached to several tracepoints is one program and one sum.
    runs[id] = {info.name, info.run_cnt, info.run_time_ns};
  }
  return runs;
}

}  // namespace

Status Profile(const Host& host, const Options& options) {
  const Fd stats(bpf_enable_stats(BPF_STATS_RUN_TIME));
  if (!stats) {
    return FailErrno(errno, "BPF_ENABLE_STATS");
  }
  MOAT_ASSIGN(Child load, host.StartLoad(options.load_cpu));
  MOAT_ASSIGN(const auto moat, Tracer::Start(host.MoatConfig(), options.agent_cpu));
  MOAT_ASSIGN(const std::vector<uint32_t> programs, ProgramsOfThisProcess());
  for (const Operation& op : kOperations) {
    const std::string run = "run " + std::string(op.name) + " ";
    MOAT_TRY(RunLoad(load, run + "50"));
    MOAT_ASSIGN(auto before, RunsOf(programs));
    MOAT_ASSIGN(const Sample sample, RunLoad(load, run + std::to_string(op.batch)));
    MOAT_ASSIGN(const auto after, RunsOf(programs));
    std::printf("%s: %.0f ns\n", op.title, sample.NsPerOp());
    for (const auto& [id, runs] : after) {
      const auto count = static_cast<double>(runs.count - before[id].count);
      const double per_op = count / static_cast<double>(op.batch);
      if (per_op >= 0.05) {
        std::printf("  %-22s %5.2f runs x %5.0f ns\n", runs.name.c_str(), per_op,
                    static_cast<double>(runs.ns - before[id].ns) / count);
      }
    }
  }
  return {};
}

}  // namespace moat::bench
