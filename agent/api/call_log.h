// SPDX-License-Identifier: Apache-2.0
// Calls, counted by method and code, and audited.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "agent/api/audit.h"
#include "agent/api/door_counters.h"
#include "agent/api/roles.h"

namespace grpc::experimental {
class ServerInterceptorFactoryInterface;
}

namespace moat::api {

// Any thread.
class CallLog {
 public:
  explicit CallLog(Audit& audit) : audit_(audit), counts_(MethodRoles().size() + 1) {}

  // A call that has ended; its time is now, its event a call.
  void Write(AuditLine line);
  std::vector<ApiCounters::Calls> Counts() const;

 private:
  Audit& audit_;
  std::vector<std::array<Counter, kCodes>> counts_;  // by row of the table of roles; the last: any other method
};

// Logs the calls of the unix socket. Those that come from the gate have been logged there. log must outlive the server.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeCallRecorder(CallLog& log);

}  // namespace moat::api
