// SPDX-License-Identifier: Apache-2.0
// Events travel in batches: one queue operation, one reference count and one gRPC message for hundreds of them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/event/event.h"

namespace moat::event {

// Names for the numbers in events, as they were when the batch was made. Immutable.
struct Names {
  struct Asset {
    std::string name;
    std::string asset_class;  // weights, dataset, ...
    uint64_t bytes = 0;       // size of its files when last scanned
  };
  // A rule of a policy, as verdicts name it by number.
  struct Rule {
    std::string policy;
    std::string text;  // "egress.default: deny"
    std::string at;    // "serving.yaml:12:7"
  };
  std::unordered_map<uint32_t, Rule> rules;
  std::vector<Asset> assets;                      // index: asset id = label bit
  uint64_t canaries = 0;                          // bit n: asset n is of class canary
  std::unordered_map<uint32_t, std::string> devices;  // rdev -> "/dev/nvidia0"
  std::unordered_map<uint32_t, std::string> opens;    // rdev -> what it opens: "mig/config", "0000:81:00.0"
  // (dev << 40 ^ inode) would collide: keyed exactly.
  std::map<std::pair<uint32_t, uint64_t>, std::string> paths;  // (dev, inode) -> path of an asset file
};

// Filled by the ring thread, completed by the pipeline thread, then shared read-only by every consumer.
struct Batch {
  std::vector<Event> events;
  std::shared_ptr<const Names> names;
};
using BatchPtr = std::shared_ptr<const Batch>;

// Takes finished batches. Called on the pipeline thread only; must not block.
class Consumer {
 public:
  virtual ~Consumer() = default;
  virtual void OnBatch(const BatchPtr& batch) = 0;
};

// Makes events of its own out of those that it takes. Pipeline thread only.
class Producer : public Consumer {
 public:
  virtual void OnTime(uint64_t now_ns) = 0;  // CLOCK_MONOTONIC; at least once a second
  virtual void OnEnd(uint64_t now_ns) = 0;   // once, after the last batch
  virtual void Take(std::vector<Event>& to) = 0;  // what it has made since, appended
};

}  // namespace moat::event
