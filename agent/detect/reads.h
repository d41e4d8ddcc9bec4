// SPDX-License-Identifier: Apache-2.0
// How much of an asset a process has read, told once: the kernel sends sums since the process first touched it, and mappings one by one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "agent/base/recent.h"
#include "agent/detect/detector.h"
#include "agent/event/event.h"

namespace moat::detect {

class Reads {
 public:
  explicit Reads(size_t processes) : rows_(processes) {}

  struct Row {
    uint64_t io = 0, mapped = 0,
             written = 0;  // so far; mapped: at most the asset's size, since a file may be mapped again and again
    uint64_t told = 0, told_written = 0;
    uint64_t read() const { return io + mapped; }
  };
  // Takes a FileIo or FileMap. asset_bytes: its size; 0: not known. Null: it is neither, or of no asset.
  Row* Take(const event::Event& event, uint64_t asset_bytes) {
    if (const auto* io = std::get_if<event::FileIo>(&event.body); io != nullptr && io->asset < event::kMaxAssets) {
      Row& row = Of(event.header.process, io->asset);
      row.io = std::max(row.io, io->bytes_read);
      row.written = std::max(row.written, io->bytes_written);
      return &row;
    }
    if (const auto* map = std::get_if<event::FileMap>(&event.body); map != nullptr && map->asset < event::kMaxAssets) {
      Row& row = Of(event.header.process, map->asset);
      row.mapped = std::min(row.mapped + map->length, asset_bytes != 0 ? asset_bytes : UINT64_MAX / 2);
      return &row;
    }
    return nullptr;
  }
  uint64_t Find(const event::ProcessKey& process, uint32_t asset) {
    const Row* row = rows_.Find(KeyOf(process, asset));
    return row != nullptr ? row->read() : 0;
  }
  void Forget(const event::ProcessKey& process, uint32_t asset) { rows_.Forget(KeyOf(process, asset)); }
  size_t size() const { return rows_.rows().size(); }
  uint64_t evicted() const { return rows_.evicted(); }

 private:
  struct Key {
    uint64_t start_ns = 0;
    uint32_t pid = 0, asset = 0;
  };
  static Key KeyOf(const event::ProcessKey& process, uint32_t asset) {
    return {.start_ns = process.start_ns, .pid = process.pid, .asset = asset};
  }
  Row& Of(const event::ProcessKey& process, uint32_t asset) {
    bool fresh = false;
    return rows_.Touch(KeyOf(process, asset), &fresh);
  }

  Recent<Key, Row> rows_;
};

inline uint64_t AssetBytes(const Scene& scene, uint32_t asset) {
  const auto& assets = scene.names().assets;
  return asset < assets.size() ? assets[asset].bytes : 0;
}

}  // namespace moat::detect
