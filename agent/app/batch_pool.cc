// SPDX-License-Identifier: Apache-2.0
#include "agent/app/batch_pool.h"

#include <utility>

namespace moat::app {

std::unique_ptr<event::Batch> BatchPool::Take(size_t events) {
  const bool large = events > kBatchEvents / 2;
  if (large) {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      std::unique_ptr<event::Batch> batch = std::move(free_.back());
      free_.pop_back();
      return batch;
    }
  }
  auto batch = std::make_unique<event::Batch>();
  batch->events.reserve(large ? kBatchEvents : events);
  return batch;
}

event::BatchPtr BatchPool::Share(std::unique_ptr<event::Batch> batch) {
  return {batch.release(), [pool = shared_from_this()](const event::Batch* done) {
            pool->Return(std::unique_ptr<event::Batch>(const_cast<event::Batch*>(done)));
          }};
}

void BatchPool::Return(std::unique_ptr<event::Batch> batch) {
  if (batch->events.capacity() < kBatchEvents) {
    return;
  }
  batch->events.clear();
  batch->names.reset();
  std::lock_guard lock(mutex_);
  if (free_.size() < keep_) {
    free_.push_back(std::move(batch));
  }
}

size_t BatchPool::kept() const {
  std::lock_guard lock(mutex_);
  return free_.size();
}

}  // namespace moat::app
