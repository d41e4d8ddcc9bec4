// SPDX-License-Identifier: Apache-2.0
#include "agent/app/world.h"

#include <netinet/in.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "agent/app/identity.h"
#include "agent/base/clock.h"
#include "agent/policy/evaluate.h"

namespace moat::app {
namespace {

using detect::Declared;

constexpr uint64_t kFreshNs = 2'000'000'000;  // what is known of a cgroup is asked for again
constexpr uint64_t kUnknownNs = 20'000'000;  // what is not known yet: a container does things before its runtime says whose it is
constexpr size_t kMaxCgroups = 4096;

Declared From(const policy::Decision& decision, const policy::Identity& who) {
  if (!who.known) {
    return Declared::kUnknown;
  }
  if (decision.action == policy::Action::kDeny) {
    return Declared::kDenied;
  }
  return decision.policy != nullptr ? Declared::kAllowed : Declared::kNothing;
}

class WorldImpl final : public World {
 public:
  void SetWorkloads(WorkloadWatch* workloads) override {
    const std::lock_guard lock(mutex_);
    workloads_ = workloads;
    known_.clear();
  }

  void SetPolicies(const std::shared_ptr<const policy::Set>& set) override {
    std::shared_ptr<policy::Set> declared;
    if (set != nullptr && !set->policies.empty()) {
      declared = std::make_shared<policy::Set>(*set);
      for (policy::Policy& one : declared->policies) {
        one.mode = policy::Mode::kEnforce;  // what is only observed is declared, too
      }
    }
    const std::lock_guard lock(mutex_);
    declared_ = std::move(declared);
  }

  std::shared_ptr<const event::Workload> Whose(const std::string& cgroup) override {
    const std::lock_guard lock(mutex_);
    return WhoseLocked(cgroup);
  }

  Declared MayRead(const event::Process& who, std::string_view asset) override {
    return OfAsset(who, asset, policy::Operation::kRead);
  }
  Declared MayWrite(const event::Process& who, std::string_view asset) override {
    return OfAsset(who, asset, policy::Operation::kWrite);
  }

  Declared MaySend(const event::Process& who, const std::vector<std::string_view>& assets,
                   const event::Endpoints& where) override {
    const std::lock_guard lock(mutex_);
    if (declared_ == nullptr || where.other_family != 0) {
      return Declared::kNothing;
    }
    uint64_t held = 0;
    for (size_t i = 0; i < declared_->assets.size() && i < event::kMaxAssets; ++i) {
      held |= uint64_t{std::ranges::find(assets, declared_->assets[i].name) != assets.end()} << i;
    }
    policy::Destination to;
    to.address = {.address = where.remote.bytes, .length = static_cast<uint8_t>(where.ipv6 ? 128 : 32), .v6 = where.ipv6};
    to.protocol = where.protocol == IPPROTO_UDP                                        ? policy::Protocol::kUdp
                  : where.protocol == IPPROTO_ICMP || where.protocol == IPPROTO_ICMPV6 ? policy::Protocol::kIcmp
                                                                                       : policy::Protocol::kTcp;
    to.port = where.remote.port;
    const policy::Identity identity = Identify(who);
    const Declared said = From(policy::EvaluateEgress(*declared_, identity, held, to), identity);
    // Egress that is open by default says nothing of a peer; the list of where holders may go does.
    return said == Declared::kNothing && policy::HoldersMayGo(*declared_, identity, held, to) ? Declared::kAllowed : said;
  }

  Declared MayUseGpu(const event::Process& who) override {
    const std::lock_guard lock(mutex_);
    if (declared_ == nullptr) {
      return Declared::kNothing;
    }
    const policy::Identity identity = Identify(who);
    return From(policy::EvaluateGpuUse(*declared_, identity), identity);
  }

 private:
  struct Known {
    std::shared_ptr<const event::Workload> workload;
    uint64_t until_ns = 0;
  };

  std::shared_ptr<const event::Workload> WhoseLocked(const std::string& cgroup) {
    if (cgroup.empty()) {
      return nullptr;
    }
    const uint64_t now_ns = MonotonicNs();
    if (const auto found = known_.find(cgroup); found != known_.end() && now_ns < found->second.until_ns) {
      return found->second.workload;
    }
    if (known_.size() >= kMaxCgroups) {
      known_.clear();
    }
    auto workload = std::make_shared<const event::Workload>(WhoseCgroup(cgroup, workloads_));
    known_[cgroup] = {workload, now_ns + (workload->known ? kFreshNs : kUnknownNs)};
    return workload;
  }

  policy::Identity Identify(const event::Process& who) {
    const auto workload = WhoseLocked(who.cgroup);
    policy::Identity identity = workload != nullptr ? IdentityOf(*workload) : policy::Identity{.known = false};
    identity.executable = who.exe;
    return identity;
  }

  Declared OfAsset(const event::Process& who, std::string_view asset, policy::Operation operation) {
    const std::lock_guard lock(mutex_);
    if (declared_ == nullptr) {
      return Declared::kNothing;
    }
    const policy::Identity identity = Identify(who);
    return From(policy::EvaluateAsset(*declared_, identity, asset, operation), identity);
  }

  std::mutex mutex_;
  WorkloadWatch* workloads_ = nullptr;
  std::shared_ptr<const policy::Set> declared_;  // null: no policies
  std::unordered_map<std::string, Known> known_;
};

}  // namespace

std::unique_ptr<World> World::Create() { return std::make_unique<WorldImpl>(); }

}  // namespace moat::app
