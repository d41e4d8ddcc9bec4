// SPDX-License-Identifier: Apache-2.0
// Recycled batches. A full batch is 150 KiB: new from the kernel each time, its pages alone would cost 40 ns an event. A small one
// (a quiet host) is allocated to measure instead, so that what consumers keep is no larger than what it holds.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "agent/event/batch.h"

namespace moat::app {

constexpr size_t kBatchEvents = 512;  // at most, in one batch

// Any thread. Lives as long as any batch of it.
class BatchPool : public std::enable_shared_from_this<BatchPool> {
 public:
  static std::shared_ptr<BatchPool> Create(size_t keep) { return std::shared_ptr<BatchPool>(new BatchPool(keep)); }

  // An empty batch with room for so many events.
  std::unique_ptr<event::Batch> Take(size_t events);
  // Read-only from now on; the last reference, on whatever thread, brings it back.
  event::BatchPtr Share(std::unique_ptr<event::Batch> batch);
  // A batch that nobody else has seen.
  void Return(std::unique_ptr<event::Batch> batch);

  size_t kept() const;

 private:
  explicit BatchPool(size_t keep) : keep_(keep) {}

  const size_t keep_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<event::Batch>> free_;  // the last returned is taken first: it is still in the cache
};

}  // namespace moat::app
