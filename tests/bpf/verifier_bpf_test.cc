// SPDX-License-Identifier: Apache-2.0
// What each program costs the kernel's verifier: instructions processed until it is proved. A program that grows past its limit here
// takes long to load, and on some kernel it will be refused (the kernel's own limit is a million).
//
// MOAT_VERIFIER names a file to which each program appends a line, tabs between: kernel release, program, instructions processed.
#include <bpf/libbpf.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "agent/probe/domain.h"
#include "agent/probe/features.h"
#include "agent/probe/log.h"
#include "agent/probe/table.h"
#include "tests/bpf/fixture.h"

namespace moat::test {
namespace {

using probe::Backend;
using probe::Candidate;

// Processed instructions. The longest, moat_pol_packet, took about 21,000. The legacy programs have loops that the verifier follows step by
// step: the longest, moat_pol_packet with its budgets, took 148,170 on 5.10.
constexpr int kLimit = 30'000, kLegacyLimit = 200'000;

const probe::Answer& Offered(const probe::Features& features, Backend backend) {
  switch (backend) {
    case Backend::kLsm: return features.lsm;
    case Backend::kFmodRet: return features.fmod_ret;
    case Backend::kFentry: return features.fentry;
    case Backend::kKprobe: return features.kprobe;
    case Backend::kUprobe: return features.uprobe;
    case Backend::kTpBtf:
    case Backend::kSyscallExit: return features.tp_btf;
    case Backend::kIter: return features.task_iter;
    case Backend::kCgroupAddr: return features.cgroup_addr;
    case Backend::kCgroupSock: return features.cgroup_sock;
    case Backend::kSockOps: return features.sock_ops;
    case Backend::kCgroupSkb: return features.cgroup_skb;
    case Backend::kFanotify: return features.fanotify;
  }
  std::abort();
}

bool CanBeHad(const probe::Features& features, const Candidate& candidate) {
  const bool here = candidate.attach.empty() || std::ranges::any_of(candidate.attach, [&](std::string_view point) {
                      return features.Has(candidate.backend, point);
                    });
  return here && Offered(features, candidate.backend).yes && (candidate.needs == nullptr || (features.*candidate.needs).yes);
}

struct Cost {
  int processed = -1;  // instructions; negative: refused
  std::string log;
};

// Loads these programs of an object and nothing else. Those that are not part of it are left out.
std::map<std::string, Cost> Load(std::span<const std::byte> image, const std::set<std::string>& names) {
  std::map<std::string, Cost> costs;
  bpf_object* object = bpf_object__open_mem(image.data(), image.size(), nullptr);
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object) {
    const bool wanted = names.contains(bpf_program__name(program));
    bpf_program__set_autoload(program, wanted);
    if (wanted) {
      std::string& log = costs[bpf_program__name(program)].log;
      log.assign(1 << 16, '\0');
      bpf_program__set_log_buf(program, log.data(), log.size());
      bpf_program__set_log_level(program, 4);  // BPF_LOG_STATS, kernel 5.2
    }
  }
  probe::LogCapture said;
  const int err = bpf_object__load(object);
  bpf_object__close(object);
  for (auto& [name, cost] : costs) {
    cost.log.resize(std::strlen(cost.log.c_str()));
    const size_t at = cost.log.rfind("processed ");
    if (at != std::string::npos && (err == 0 || said.Program() != name)) {
      cost.processed = std::atoi(cost.log.c_str() + at + std::strlen("processed "));
    }
    cost.log = said.Tail() + " " + cost.log;
  }
  return costs;
}

class VerifierTest : public BpfTest {};

TEST_F(VerifierTest, NoProgramGrowsPastItsLimit) {
  probe::CatchLibbpfLog();
  const auto features = probe::Features::Ask();
  ASSERT_TRUE(features) << features.error().message;
  utsname kernel{};
  uname(&kernel);
  std::ofstream table;
  if (const char* path = std::getenv("MOAT_VERIFIER")) {
    table.open(path, std::ios::app);
  }
  int seen = 0;
  for (const probe::Image& image : probe::Images()) {
    std::set<std::string> names;
    for (const probe::Row& row : probe::Table()) {
      for (const Candidate& candidate : row.candidates) {
        if (image.name == std::string_view(row.domain) && candidate.program != nullptr && CanBeHad(*features, candidate)) {
          names.insert(candidate.program);
        }
      }
    }
    for (const auto& [name, cost] : Load(features->cast.yes ? image.bytes : image.legacy, names)) {
      EXPECT_GT(cost.processed, 0) << name << ": " << cost.log.substr(cost.log.size() > 2000 ? cost.log.size() - 2000 : 0);
      EXPECT_LE(cost.processed, features->cast.yes ? kLimit : kLegacyLimit) << name;
      std::printf("verifier %-32s %7d instructions processed\n", name.c_str(), cost.processed);
      table << kernel.release << "\t" << name << "\t" << cost.processed << "\n";
      ++seen;
    }
  }
  EXPECT_GE(seen, 25) << "the programs of the tracepoints at least";
}

// That the count is one: of the smallest program it is small.
TEST_F(VerifierTest, CountsWhatItLoads) {
  const auto features = probe::Features::Ask();
  ASSERT_TRUE(features);
  for (const probe::Image& image : probe::Images()) {
    if (std::string_view(image.name) == "syscall") {
      const auto costs = Load(features->cast.yes ? image.bytes : image.legacy, {"moat_syscall_exit", "no_such_program"});
      ASSERT_EQ(costs.size(), 1u);
      EXPECT_GT(costs.at("moat_syscall_exit").processed, 5);
      EXPECT_LT(costs.at("moat_syscall_exit").processed, 60) << "one look and a jump";
    }
  }
}

}  // namespace
}  // namespace moat::test
