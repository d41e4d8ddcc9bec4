// SPDX-License-Identifier: Apache-2.0
// Between the network and the services: every call, whatever its method, is looked at here first, and goes on over an in-process channel
// when its caller may make it. So no service can forget to ask, and an unknown method is a refusal as any other.
#pragma once

#include <cstddef>
#include <memory>

#include "agent/api/call_log.h"
#include "agent/api/callers.h"
#include "agent/api/door_counters.h"
#include "agent/api/limit.h"

namespace grpc {
class CallbackGenericService;
class Channel;
}  // namespace grpc

namespace moat::api {

struct GateNeeds {  // all outlive the gate
  const Callers& callers;
  Limiter& limiter;  // by identity
  CallLog& log;
  DoorCounters& counters;
  std::shared_ptr<grpc::Channel> services;
  size_t max_message_bytes;  // of a request
};

std::unique_ptr<grpc::CallbackGenericService> MakeGate(GateNeeds needs);

}  // namespace moat::api
