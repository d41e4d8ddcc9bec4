// SPDX-License-Identifier: Apache-2.0
// What the API has on TCP: the door with the gate behind it, and the health port.
#pragma once

#include <functional>
#include <memory>

#include "agent/api/call_log.h"
#include "agent/api/door_counters.h"
#include "agent/api/services.h"
#include "agent/base/error.h"
#include "agent/config/config.h"

namespace grpc {
class Channel;
class Service;
}  // namespace grpc

namespace moat::api {

class Network {
 public:
  struct Needs {  // all outlive it
    Audit& audit;
    CallLog& log;
    std::shared_ptr<grpc::Channel> services;  // where calls that are let through go
    grpc::Service& health;
  };
  // Opens what config names; nothing is not an error. Adds to counters.
  static Result<std::unique_ptr<Network>> Open(const config::Config& config, const Needs& needs, DoorCounters& counters);
  virtual ~Network() = default;  // closes every connection, and ends every call

  virtual void Reload(const config::TcpApi& config) = 0;  // any thread
};

}  // namespace moat::api
