// SPDX-License-Identifier: Apache-2.0
// Who is at the other end of a connection, by the name that gRPC knows the connection by.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "agent/api/roles.h"

namespace moat::api {

struct Caller {
  std::string address;  // "10.0.0.7:51312"
  Identity identity;
};

// Any thread.
class Callers {
 public:
  void Put(const std::string& peer, Caller caller) {
    const std::lock_guard lock(mutex_);
    callers_[peer] = std::make_shared<const Caller>(std::move(caller));
  }
  void Erase(const std::string& peer) {
    const std::lock_guard lock(mutex_);
    callers_.erase(peer);
  }
  std::shared_ptr<const Caller> Find(const std::string& peer) const {  // null: nobody
    const std::lock_guard lock(mutex_);
    const auto found = callers_.find(peer);
    return found == callers_.end() ? nullptr : found->second;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<const Caller>> callers_;
};

}  // namespace moat::api
