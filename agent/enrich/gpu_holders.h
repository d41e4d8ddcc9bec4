// SPDX-License-Identifier: Apache-2.0
// Who holds which accelerator: memory by where it lies, what was called, the last call that meant something. From the events of calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <unordered_map>
#include <utility>

#include "agent/base/recent.h"
#include "agent/event/activity.h"
#include "agent/event/event.h"

namespace moat::enrich {

struct GpuHoldersLimits {
  size_t holders = 4096;  // processes
  size_t objects = 65536;  // of NVIDIA's resource manager, and memory of the others, that are not freed yet
};

// The caller serialises. An object is freed with the one that it was made in, as drivers do; all of a process's when it ends.
class GpuHolders {
 public:
  explicit GpuHolders(GpuHoldersLimits limits = {}) : limits_(limits), holders_(limits.holders) {}

  void Take(const event::Header& header, const event::GpuOpen& open);
  void Take(const event::Header& header, const event::GpuMap& map);
  void Take(const event::Header& header, const event::GpuCall& call);
  void Take(const event::Header& header, const event::Exit& exit);

  void Copy(event::Rows<event::GpuActivity>& to) const;

 private:
  struct Key {
    uint64_t start_ns = 0, pid = 0;
  };
  struct Object {
    uint32_t parent = 0;
    event::GpuLocation location = event::GpuLocation::kNone;
    uint64_t bytes = 0;
    int64_t device = -1;  // as event::GpuMemory has them
    uint32_t rdev = 0;
  };
  struct ClientKey {
    event::ProcessKey process;
    uint32_t client = 0;
    bool operator==(const ClientKey&) const = default;
  };
  struct Hash {
    size_t operator()(const ClientKey& key) const {
      return (key.process.start_ns ^ key.process.pid * 0x9e3779b97f4a7c15ull ^ uint64_t{key.client} << 17) *
             0x9e3779b97f4a7c15ull;
    }
  };
  struct Client {
    std::unordered_map<uint32_t, Object> objects;  // by handle
    std::set<std::pair<uint32_t, uint32_t>> below;  // parent and handle of each
  };

  event::GpuActivity& Holder(const event::Header& header);
  // Null: there are too many, which is counted.
  static event::GpuMemory* OnDevice(const Object& object, event::GpuActivity& holder);
  void Add(const event::Header& header, const event::GpuCall& call, event::GpuActivity& holder);
  void Free(const event::Header& header, const event::GpuCall& call, event::GpuActivity& holder);
  void Remove(Client& client, uint32_t handle, event::GpuActivity& holder);

  const GpuHoldersLimits limits_;
  Recent<Key, event::GpuActivity> holders_;
  std::unordered_map<ClientKey, Client, Hash> clients_;
  size_t objects_ = 0;
};

}  // namespace moat::enrich
