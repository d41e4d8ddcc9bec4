// SPDX-License-Identifier: Apache-2.0
// The door to the network: accepts TCP, ends TLS, and hands gRPC a plaintext socket of whoever is let in. gRPC's own TLS is not used: it
// offers no minimum of TLS 1.3 (1.51) and tells nobody of a handshake that failed, so that refusals could not be audited.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "agent/api/audit.h"
#include "agent/api/callers.h"
#include "agent/api/door_counters.h"
#include "agent/base/error.h"
#include "agent/base/fd.h"
#include "agent/config/api.h"

namespace moat::api {

class Door {
 public:
  struct Needs {  // all outlive the door
    Audit& audit;
    Callers& callers;
    DoorCounters& counters;
    std::function<void(Fd)> hand_over;  // the door's thread; gRPC's end of a connection
  };
  // Listens, and starts the one thread that does everything. An error names the setting and the file.
  static Result<std::unique_ptr<Door>> Open(const config::TcpApi& config, Needs needs);
  virtual ~Door() = default;  // closes all

  virtual uint16_t port() const = 0;
  // Any thread. Roles, files and rates are taken over by the door's thread; connections that would not be let in any more are closed. What
  // is wrong with a file is logged and counted, and leaves all as it was.
  virtual void Reload(const config::TcpApi& config) = 0;
};

}  // namespace moat::api
