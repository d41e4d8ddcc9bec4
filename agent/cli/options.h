// SPDX-License-Identifier: Apache-2.0
// What the command line said, as plain data; main.cc fills it, the commands read it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moat::cli {

// Stable: scripts rely on them, --help states them.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitUnreachable = 3,
  kExitDenied = 4,     // policy explain
  kExitWouldDeny = 5,  // policy explain: of policies in dry-run
  kExitMistakes = 6,   // policy check, apply, diff: the policies have mistakes
};

inline constexpr const char* kDefaultAddress = "unix:///run/moat/moat.sock";

struct PolicyWords {
  std::vector<std::string> files;
  bool dry_run = false, yes = false;
  uint32_t expected = 0;  // generation; 0: any
  std::string name;

  // explain: who ...
  uint32_t pid = 0;
  std::string cgroup, executable, unit, pod, pod_container, container, image;
  std::vector<std::string> labels;  // "app=vllm": of the pod, or of the container
  std::string slurm_account, slurm_user, slurm_partition, slurm_job;
  std::vector<std::string> holds;
  // ... and what: one of to, asset, gpu, gpu_call
  std::string to;  // "10.0.0.1:443/tcp"
  std::vector<std::string> names;
  bool reply = false;
  std::string asset, operation = "read";
  bool gpu = false;
  std::string gpu_call;
};

// workloads, assets, devices, flows
struct InventoryWords {
  std::string cgroup, name;
  uint32_t limit = 0;  // 0: all
};

struct FindingWords {
  std::string id, min_severity;
  std::vector<std::string> kinds;
  uint32_t limit = 0;  // 0: all
  bool follow = false;
};

// Files as named, and what is in them once ReadTls() has read them.
struct TlsWords {
  std::string ca, certificate, key, server_name;
  std::string ca_pem, certificate_pem, key_pem;
};

struct Options {
  std::string address = kDefaultAddress;
  TlsWords tls;
  bool color = false;  // decided: --color, NO_COLOR and the terminal taken together
  bool json = false;

  // watch
  bool discard = false;  // count only
  std::vector<std::string> kinds, cgroups, assets, devices, destinations;
  std::vector<uint32_t> pids;
  uint64_t count = 0;     // 0: no limit
  uint64_t for_ms = 0;    // 0: no limit
  std::string since;      // cursor, or "oldest"
  bool reconnect = false;

  // doctor
  std::string moatd;  // the program; empty: to be found

  PolicyWords policy;
  InventoryWords inventory;
  FindingWords findings;
};

// A command and its options, for the completion scripts.
struct CommandWords {
  std::string name;  // empty: before any command
  std::string help;
  struct Option {
    std::string name;  // "--kind"
    std::string help;
    bool takes_value = false;
  };
  std::vector<Option> options;
  std::vector<std::string> words{};  // what may come first after it: subcommands, shells
};

int RunWatch(const Options& options);
int RunFindings(const Options& options);
int RunStatus(const Options& options);
int RunDoctor(const Options& options);
int RunWorkloads(const Options& options);  // inventory.cc
int RunAssets(const Options& options);
int RunDevices(const Options& options);
int RunGpus(const Options& options);
int RunFlows(const Options& options);
int RunPolicyCheck(const Options& options);
int RunPolicyApply(const Options& options);
int RunPolicyList(const Options& options);
int RunPolicyGet(const Options& options);
int RunPolicyDelete(const Options& options);
int RunPolicyRollback(const Options& options);
int RunPolicyClear(const Options& options);
int RunPolicyDiff(const Options& options);     // policy_diff.cc
int RunPolicyExplain(const Options& options);  // policy_explain.cc
// shell: bash, zsh or fish.
std::string Completion(const std::string& shell, const std::vector<CommandWords>& commands);

// "1500ms", "10s", "2m", "1h"; a bare number is seconds. False: not a duration above zero.
bool ParseDuration(const std::string& text, uint64_t* ms);

}  // namespace moat::cli
