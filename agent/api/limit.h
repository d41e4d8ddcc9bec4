// SPDX-License-Identifier: Apache-2.0
// Token buckets by key (an identity, a source address). Time is an argument, and may stand still but not go back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "agent/config/api.h"

namespace moat::api {

class TokenBucket {
 public:
  // True: there was a token, and it is taken. A new bucket is full.
  bool Take(const config::Rate& rate, uint64_t now_ns);
  // It is as a new one would be.
  bool Full(const config::Rate& rate, uint64_t now_ns) const;

 private:
  uint64_t Missing(const config::Rate& rate, uint64_t now_ns) const;  // in billionths of a token
  uint64_t missing_ = 0, at_ns_ = 0;
};

// Any thread.
class Limiter {
 public:
  explicit Limiter(config::Rate rate, size_t max_keys = 4096) : rate_(rate), max_keys_(max_keys) {}
  // Full buckets of others are forgotten when there are too many keys; when none is full, a new key is refused: many sources at once
  // must not cost memory without end.
  bool Take(const std::string& key, uint64_t now_ns);
  void SetRate(config::Rate rate);

 private:
  std::mutex mutex_;
  config::Rate rate_;
  const size_t max_keys_;
  std::unordered_map<std::string, TokenBucket> buckets_;
};

}  // namespace moat::api
