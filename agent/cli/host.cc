// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/host.h"

#include <sys/stat.h>
#include <sys/utsname.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

namespace moat::cli {

namespace {

using Verdict = HostFact::Verdict;

std::string ReadFile(const std::string& path, bool* found) {
  std::ifstream file(path);
  *found = file.good();
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (text.ends_with('\n')) {
    text.pop_back();
  }
  return text;
}

HostFact Kernel() {
  utsname name{};
  uname(&name);
  return {"kernel", Verdict::kGood, std::string(name.release) + " " + name.machine, ""};
}

HostFact Btf(const std::string& root) {
  struct stat info{};
  std::string path = root + "/sys/kernel/btf/vmlinux";
  if (stat(path.c_str(), &info) != 0) {
    return {"kernel BTF", Verdict::kBad, "no /sys/kernel/btf/vmlinux",
            "programs cannot be fitted to this kernel: it needs CONFIG_DEBUG_INFO_BTF (and /sys mounted)"};
  }
  return {"kernel BTF", Verdict::kGood, "/sys/kernel/btf/vmlinux", ""};
}

// Never assumed at /sys/fs/cgroup: on hybrid hosts it is below it.
HostFact Cgroup2(const std::string& root) {
  bool found = false;
  std::istringstream mounts(ReadFile(root + "/proc/self/mountinfo", &found));
  std::string line;
  while (std::getline(mounts, line)) {
    size_t dash = line.find(" - cgroup2 ");
    if (dash == std::string::npos) {
      continue;
    }
    std::istringstream fields(line.substr(0, dash));
    std::string field;
    for (int i = 0; i < 5; ++i) {
      fields >> field;  // the fifth: mount point
    }
    return {"cgroup2", Verdict::kGood, field, ""};
  }
  return {"cgroup2", Verdict::kBad, "not mounted", "network hooks and scopes need it: mount -t cgroup2 none /sys/fs/cgroup"};
}

HostFact BpfLsm(const std::string& root) {
  bool found = false;
  std::string list = ReadFile(root + "/sys/kernel/security/lsm", &found);
  if (!found) {
    return {"bpf LSM", Verdict::kLess, "no /sys/kernel/security/lsm (securityfs is not mounted)",
            "not known; without it events come from tracepoints, which io_uring passes by"};
  }
  if (("," + list + ",").find(",bpf,") == std::string::npos) {
    return {"bpf LSM", Verdict::kLess, list, "\"bpf\" is not in the list (boot with lsm=...,bpf): no LSM hooks"};
  }
  return {"bpf LSM", Verdict::kGood, list, ""};
}

HostFact Capabilities(const std::string& root) {
  struct Needed {
    int bit;
    const char* name;
    bool must;
  };
  static constexpr Needed kNeeded[] = {
      {39, "CAP_BPF", true},        {38, "CAP_PERFMON", true},        {12, "CAP_NET_ADMIN", true},
      {21, "CAP_SYS_ADMIN", false}, {2, "CAP_DAC_READ_SEARCH", true}, {19, "CAP_SYS_PTRACE", false}};
  bool found = false;
  std::istringstream status(ReadFile(root + "/proc/self/status", &found));
  std::string line, missing;
  uint64_t effective = 0;
  while (std::getline(status, line)) {
    if (line.starts_with("CapEff:")) {
      effective = std::strtoull(line.c_str() + 7, nullptr, 16);
    }
  }
  bool must = false;
  bool admin = effective >> 21 & 1;  // stands in for BPF and PERFMON
  for (const Needed& needed : kNeeded) {
    bool covered = admin && (needed.bit == 38 || needed.bit == 39);
    if (!(effective >> needed.bit & 1) && !covered) {
      missing += (missing.empty() ? "" : ", ") + std::string(needed.name);
      must |= needed.must;
    }
  }
  if (missing.empty()) {
    return {kCapabilities, Verdict::kGood, "all that moatd can use", ""};
  }
  return {kCapabilities, must ? Verdict::kBad : Verdict::kLess, "without " + missing,
          "of this shell; moatd started from it would have no more"};
}

HostFact Jit(const std::string& root) {
  bool found = false;
  std::string value = ReadFile(root + "/proc/sys/net/core/bpf_jit_enable", &found);
  if (found && value == "0") {
    return {"BPF JIT", Verdict::kLess, "off",
            "programs are interpreted: several times the cost (sysctl net.core.bpf_jit_enable=1)"};
  }
  return {"BPF JIT", Verdict::kGood, found ? "on" : "always on, or not told", ""};
}

}  // namespace

std::vector<HostFact> HostFacts(const std::string& root) {
  return {Kernel(), Btf(root), Cgroup2(root), Capabilities(root), BpfLsm(root), Jit(root)};
}

}  // namespace moat::cli
