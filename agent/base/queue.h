// SPDX-License-Identifier: Apache-2.0
// Bounded hand-over between threads, for values worth a lock each: batches, requests; never single events. Any number of pushers
// and poppers. Push never blocks: a full queue says so, and the caller counts what it could not hand on.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

namespace moat {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : slots_(capacity > 0 ? capacity : 1) {}
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  // Gives the value back when the queue is full or closed; nullopt: it was taken.
  [[nodiscard]] std::optional<T> Push(T value) {
    {
      std::lock_guard lock(mutex_);
      if (closed_ || size_ == slots_.size()) {
        return value;
      }
      slots_[(head_ + size_) % slots_.size()] = std::move(value);
      ++size_;
    }
    ready_.notify_one();
    return std::nullopt;
  }

  // Waits until there is a value, the queue is closed or the time is over. After Close() what is left still comes out; nullopt
  // then, or when the time was over (closed() tells).
  std::optional<T> Pop(std::chrono::nanoseconds timeout) {
    std::unique_lock lock(mutex_);
    ready_.wait_for(lock, timeout, [this] { return size_ > 0 || closed_; });
    return Take();
  }

  std::optional<T> TryPop() {
    std::lock_guard lock(mutex_);
    return Take();
  }

  void Close() {
    {
      std::lock_guard lock(mutex_);
      closed_ = true;
    }
    ready_.notify_all();
  }

  bool closed() const {
    std::lock_guard lock(mutex_);
    return closed_;
  }
  size_t size() const {
    std::lock_guard lock(mutex_);
    return size_;
  }
  size_t capacity() const { return slots_.size(); }

 private:
  std::optional<T> Take() {
    if (size_ == 0) {
      return std::nullopt;
    }
    std::optional<T> value(std::move(slots_[head_]));
    slots_[head_] = T();  // do not keep alive what was handed on
    head_ = (head_ + 1) % slots_.size();
    --size_;
    return value;
  }

  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<T> slots_;
  size_t head_ = 0;
  size_t size_ = 0;
  bool closed_ = false;
};

}  // namespace moat
