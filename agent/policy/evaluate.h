// SPDX-License-Identifier: Apache-2.0
// What policies say of one act of one process: the meaning of the language, in the plainest code. What the kernel is given is compiled from
// the same set and must decide the same.
//
// All policies that select the process add up:
// - an explicit denial beats a permission, a permission beats what is said of the rest;
// - of the rest: an asset that some policy names is closed to whom no policy allows it; egress is open unless a selecting policy's default
//   is deny; a GPU is open unless a selecting policy denies its use;
// - a process that holds labels must satisfy what is said of holders of each of them, too.
// Policies in mode observe decide nothing. Those in dry-run are asked as if they were enforced, for what they would deny.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/policy/model.h"

namespace moat::policy {

// A process, as far as it is known. What it has not (a unit, say) is empty; known: false while the runtime has not yet said what the cgroup
// is, so that pod, container and slurm subjects cannot be told.
struct Identity {
  bool known = true;
  std::string cgroup{};  // path below the cgroup2 mount
  // Whose budgets it uses: a name that all cgroups of a workload have in common, also after it was started anew; empty: cgroup.
  std::string workload{};
  std::string executable{};
  std::string unit{};
  std::string pod_namespace{}, pod_container{};
  std::map<std::string, std::string> pod_labels{};
  std::string container_name{}, container_image{};
  std::map<std::string, std::string> container_labels{};
  std::string slurm_account{}, slurm_user{}, slurm_partition{}, slurm_job{};
  bool operator==(const Identity&) const = default;
};

// Where a connection or a datagram goes. names: those under which this process has learnt the address, none when it is not known.
struct Destination {
  Cidr address{};  // a single one
  Protocol protocol = Protocol::kTcp;
  uint16_t port = 0;  // of icmp 0
  // An answer on an accepted TCP connection, where the port is the caller's and says nothing. Only what is said of holders applies: an
  // allowed peer is one that TCP may reach at any port, a denied one is denied all ports.
  bool reply = false;
  std::vector<std::string> names{};
};

enum class Operation : uint8_t { kRead, kWrite, kMap, kExec };

struct Decision {
  Action action = Action::kAllow;
  bool enforced = true;  // false: a denial of policies in dry-run alone, so it is only counted
  const Policy* policy = nullptr;  // whose rule decided; null: no policy has anything to say
  Where rule{};
  std::string why{};  // "egress.default is deny", for people
};

// kYes, kNo, or kUnknown while the identity does not say.
enum class Selected : uint8_t { kNo, kYes, kUnknown };
Selected Selects(const Policy& policy, const Identity& who);

// held: labels, bit n for set.assets[n]. The results point into set. Any thread.
Decision EvaluateEgress(const Set& set, const Identity& who, uint64_t held, const Destination& where);
// Whether a policy names where as one of the places that holders of these labels may go to, and nothing denies it.
bool HoldersMayGo(const Set& set, const Identity& who, uint64_t held, const Destination& where);
Decision EvaluateAsset(const Set& set, const Identity& who, std::string_view asset, Operation operation);
Decision EvaluateGpuUse(const Set& set, const Identity& who);
Decision EvaluateGpuCall(const Set& set, const Identity& who, GpuCategory category);

}  // namespace moat::policy
