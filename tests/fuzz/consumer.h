// SPDX-License-Identifier: Apache-2.0
// What consumers of events rely on without asking again, whatever bytes an event was decoded from: its own fields, the process tree
// and who holds accelerators. Shared by the mutation loop and the families that libFuzzer drives.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>

#include "agent/decode/decode.h"
#include "agent/enrich/gpu_holders.h"
#include "agent/enrich/process_tree.h"

namespace moat::fuzz {

struct KindSize {
  event::Kind kind;
  size_t size;  // of its record
  size_t body;  // index in event::Body
};
std::span<const KindSize> KindSizes();
const KindSize& SizeOf(event::Kind kind);  // of a kind that has records

// Decodes a record, and checks that an accepted one is what its header claims.
decode::Outcome Decode(std::span<const std::byte> record, event::Event& event);

// One thread. Every check that fails ends the program.
class Consumer {
 public:
  explicit Consumer(enrich::ProcessReader reader);

  void Take(event::Event& event);  // one that was decoded
  // Every process ends: none may be left among the holders, and all of their room must have come back.
  void Finish();

 private:
  void CheckFields(const event::Event& event);
  void CheckCall(const event::GpuCall& call);
  void TakeGpu(const event::Event& event);

  std::unique_ptr<enrich::ProcessTree> tree_;
  enrich::GpuHolders holders_;
  std::set<event::ProcessKey> processes_;  // that may be among the holders
  std::map<event::ProcessKey, uint64_t> allocated_;  // bytes, of each holder
  std::string text_;
};

}  // namespace moat::fuzz
