// SPDX-License-Identifier: Apache-2.0
#include "agent/api/limit.h"

#include <algorithm>

namespace moat::api {
namespace {
constexpr uint64_t kToken = 1'000'000'000;  // so that a nanosecond at one token a second is one
}

uint64_t TokenBucket::Missing(const config::Rate& rate, uint64_t now_ns) const {
  // Bounded by what fills the bucket, so that the product does not overflow.
  const uint64_t passed = std::min(now_ns - std::min(at_ns_, now_ns), missing_ / rate.per_second + 1);
  return missing_ - std::min(missing_, passed * rate.per_second);
}

bool TokenBucket::Take(const config::Rate& rate, uint64_t now_ns) {
  missing_ = Missing(rate, now_ns);
  at_ns_ = std::max(at_ns_, now_ns);
  if (missing_ + kToken > rate.burst * kToken) {
    return false;
  }
  missing_ += kToken;
  return true;
}

bool TokenBucket::Full(const config::Rate& rate, uint64_t now_ns) const { return Missing(rate, now_ns) == 0; }

bool Limiter::Take(const std::string& key, uint64_t now_ns) {
  const std::lock_guard lock(mutex_);
  if (buckets_.size() >= max_keys_ && !buckets_.contains(key)) {
    std::erase_if(buckets_, [&](const auto& entry) { return entry.second.Full(rate_, now_ns); });
    if (buckets_.size() >= max_keys_) {
      return false;
    }
  }
  return buckets_[key].Take(rate_, now_ns);
}

void Limiter::SetRate(config::Rate rate) {
  const std::lock_guard lock(mutex_);
  rate_ = rate;
}

}  // namespace moat::api
