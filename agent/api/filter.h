// SPDX-License-Identifier: Apache-2.0
// Which events a subscriber wants. Pure: text in, yes or no out. Fields are ANDed, the values of one ORed, an empty one asks nothing.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/event/batch.h"

namespace moat::api {

// As the subscriber wrote it (proto/moat/v1/services.proto says what each accepts).
struct FilterSpec {
  std::vector<std::string> kinds = {};
  std::vector<uint32_t> pids = {};
  std::vector<std::string> cgroups = {};
  std::vector<std::string> assets = {};
  std::vector<std::string> devices = {};
  std::vector<std::string> destinations = {};
  uint32_t min_severity = 0;  // event::Severity; 0: any
  std::vector<std::string> finding_kinds = {};
};

// What this agent has, to tell a mistake from a wish.
struct Known {
  std::vector<std::string> assets;
  std::vector<std::string> device_paths;
};

class Filter {
 public:
  static constexpr size_t kMaxValues = 64;  // per field
  static constexpr size_t kMaxText = 4096;  // bytes per value

  Filter() = default;  // lets everything through
  // INVALID_ARGUMENT names the value, says why, and suggests.
  static Result<Filter> Make(const FilterSpec& spec, const Known& known);

  // Before the events of a batch: resolves asset and device names to its numbers. Cheap when they are those of the batch before.
  void Bind(const std::shared_ptr<const event::Names>& names);
  bool Matches(const event::Event& event) const;
  bool empty() const { return empty_; }

 private:
  struct Destination {
    std::array<uint8_t, 16> prefix{};
    uint8_t bits = 0;
    bool any_address = false;
    bool ipv6 = false;
    uint16_t port = 0;  // 0: any
  };
  static Result<Destination> ParseDestination(const std::string& text);

  bool MatchesCgroup(const event::Header& header) const;
  bool MatchesAsset(const event::Event& event) const;
  bool MatchesDevice(const event::Event& event) const;
  bool MatchesDestination(const event::Event& event) const;

  bool empty_ = true;
  uint32_t kinds_ = 0;  // bit: Kind; 0: any
  uint32_t min_severity_ = 0;
  uint64_t finding_kinds_ = 0;  // bit: FindingKind; 0: any
  std::vector<uint32_t> pids_;  // sorted
  std::vector<std::string> cgroups_;
  std::vector<std::string> assets_;
  std::vector<std::string> device_paths_;
  uint32_t device_classes_ = 0;  // bit: GpuClass
  std::vector<Destination> destinations_;

  std::shared_ptr<const event::Names> names_;  // what the two below were made from
  uint64_t asset_bits_ = 0;
  std::vector<uint32_t> rdevs_;
};

}  // namespace moat::api
