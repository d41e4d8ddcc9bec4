// SPDX-License-Identifier: Apache-2.0
// The gRPC server: Monitor, Status, Policies, Inventory, health and reflection on a unix socket (mode 0660), and where api.tcp says so on
// TCP with TLS 1.3 for clients whose certificate has a role; health alone in plaintext on a port of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/api/door_counters.h"
#include "agent/api/hub.h"
#include "agent/api/inventory.h"
#include "agent/base/error.h"
#include "agent/base/status.h"
#include "agent/config/config.h"

namespace moat::api {

// What Status/Get shows, filled by app.
struct StatusSnapshot {
  struct Asset {
    uint32_t id = 0;
    std::string name, asset_class;
    uint64_t bytes = 0, files = 0;
    std::vector<std::string> problems;
  };
  struct Device {
    uint32_t rdev = 0;
    std::string path, class_name;
  };
  std::string version;
  std::string hostname, kernel;
  std::string scope;
  uint64_t started_unix_ns = 0;
  uint64_t attach_ms = 0;  // from the start of the process to all hooks attached
  std::vector<DomainStatus> domains;
  Ledger ledger;
  std::vector<RingStatus> rings;
  std::vector<Asset> assets;
  std::vector<Device> devices;
  uint64_t subscribers = 0, subscriber_losses = 0;
  struct Findings {
    uint64_t seen = 0, told = 0, open = 0, closed = 0, crowded = 0, forgotten = 0, expected = 0;
  };
  std::optional<Findings> findings;  // none: nothing looks for any
  struct Sink {
    std::string name, transport, encoding;
    uint64_t delivered = 0, waiting = 0, lag_ns = 0, lost = 0, refused = 0;  // as message Sink of status.proto
    bool failing = false;
    std::string last_error;
    uint64_t last_error_unix_ns = 0;
  };
  std::vector<Sink> sinks;
  uint64_t last_seq = 0;
  uint64_t cpu_ns = 0, rss_bytes = 0;
};

// Every domain is loaded with all its hooks.
bool Healthy(const StatusSnapshot& snapshot);
// The message of Status/Get as proto3 JSON, without what is zero or empty; "" when it cannot be written (a text that is not UTF-8).
std::string ToJson(const StatusSnapshot& snapshot);

class PolicyControl;
class FindingTable;

class Server {
 public:
  // status, inventory and moving are called on gRPC's threads. hub, policies and findings must outlive the server; policies: null when none
  // are configured; findings: null when nothing looks for any; moving: whether events still flow, for the health port, empty: they do.
  static Result<std::unique_ptr<Server>> Start(const config::Config& config, Hub& hub, std::function<StatusSnapshot()> status,
                                               PolicyControl* policies = nullptr, InventorySource inventory = {},
                                               const FindingTable* findings = nullptr, std::function<bool()> moving = {});
  virtual ~Server() = default;  // stops, waits at most a second for streams, removes the socket

  // Any thread. Roles, rates and certificates' files of api.tcp; its address needs a restart.
  virtual void Reload(const config::TcpApi& config) = 0;
  virtual ApiCounters Counters() const = 0;  // any thread
};

}  // namespace moat::api
