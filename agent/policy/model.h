// SPDX-License-Identifier: Apache-2.0
// Policies as they were written: plain data, checked, in the order of the files. What is enforced is compiled from this.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/config/config.h"

namespace moat::policy {

// Of all policies together. A label is one bit of a process's mask (config::kMaxAssets).
constexpr size_t kMaxRules = 10'000;
constexpr size_t kMaxSubjects = 256;

struct Where {
  std::string file;
  int line = 0, column = 0;
};

enum class Action : uint8_t { kAllow, kDeny };
enum class Mode : uint8_t { kObserve, kDryRun, kEnforce };
enum class OnUnsupported : uint8_t {
  kFail,
  kObserve
};  // a rule that this kernel cannot enforce: refuse the policy, or watch only

enum class Protocol : uint8_t { kTcp, kUdp, kIcmp };

struct Ports {
  Protocol protocol = Protocol::kTcp;
  uint16_t low = 0, high = 0;  // both included; of icmp 0
  bool operator==(const Ports&) const = default;
};

struct Cidr {
  std::array<uint8_t, 16> address{};  // network order; of IPv4 the first four
  uint8_t length = 0;                 // bits
  bool v6 = false;
  bool operator==(const Cidr&) const = default;
};

// A peer, by address or by name, and its ports; no ports: all of them, of every protocol.
struct Peer {
  Where at{};
  std::optional<Cidr> cidr{};
  std::string fqdn{};  // lower case, without a final dot; "*.example.com": everything below it, at any depth, not itself
  std::vector<Ports> ports{};
};

struct Budget {
  uint64_t bytes = 0;       // 0: parts of the asset
  uint32_t millionths = 0;  // of the asset's size
  uint64_t per_seconds = 0;
};

// What a process that holds an asset's label may still do. Only the peers in allow, if there are any.
struct Holding {
  Where at{};
  std::string asset{};
  std::vector<Peer> allow{}, deny{};
  std::optional<Budget> budget{};
};

// A denial beats a permission, a permission beats fallback.
struct Egress {
  Action fallback = Action::kDeny;
  std::vector<Peer> allow{}, deny{};
  std::vector<Holding> holding{};
};

struct AssetRule {
  Where at{};
  std::string asset{};
  std::optional<Action> read{}, write{}, map{}, exec{};
};

enum GpuCategory : uint8_t {  // bits of Gpu::deny
  kGpuDebug = 1 << 0,          // a debugger on a GPU context
  kGpuProfile = 1 << 1,        // counters, sampling
  kGpuForeignMemory = 1 << 2,  // another process's GPU memory
  kGpuExport = 1 << 3,         // GPU memory handed out: dma-buf, fabric
  kGpuReconfigure = 1 << 4,    // MIG, reset, clocks, ECC
  kGpuInternal = 1 << 5,       // calls that the driver keeps for itself
  kGpuRawAccess = 1 << 6,      // registers, PCI resources
};

struct Gpu {
  std::optional<Action> use{};  // of the devices at all
  uint8_t deny = 0;
};

// Who: one of these.
struct Subject {
  enum class Kind : uint8_t { kPod, kContainer, kUnit, kSlurm, kExecutable, kCgroup };
  Where at{};
  Kind kind = Kind::kUnit;
  std::string name{};  // of the unit or container; path of the executable or cgroup
  std::string pod_namespace{}, pod_container{}, image{};
  std::map<std::string, std::string> labels{};  // all must match
  std::string slurm_account{}, slurm_user{}, slurm_partition{}, slurm_job{};
};

struct Policy {
  Where at{};
  std::string name{};
  Mode mode = Mode::kObserve;
  OnUnsupported on_unsupported = OnUnsupported::kFail;
  Action unknown = Action::kAllow;  // while it is not known yet whether this policy selects a process
  std::vector<Subject> subjects{};    // any of them
  std::vector<AssetRule> assets{};
  std::optional<Gpu> gpu{};
  std::optional<Egress> egress{};
};

struct Set {
  std::vector<config::Asset> assets{};  // the index is the label bit
  std::vector<Policy> policies{};
  std::vector<std::string> names{};  // of all assets that were told of, those that have a problem too
};

}  // namespace moat::policy
