// SPDX-License-Identifier: Apache-2.0
// GET /metrics (and what begins with it) over HTTP, for Prometheus: plain text without a password, so it listens on loopback unless it is told otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "agent/base/error.h"
#include "agent/metrics/metrics.h"

namespace moat::metrics {

class Exporter {
 public:
  // address: "127.0.0.1:9464", "[::1]:9464"; port 0: any that is free. input is called on the exporter's threads, at most two at a time.
  static Result<std::unique_ptr<Exporter>> Start(const std::string& address, std::function<Input()> input);
  virtual ~Exporter() = default;  // ends connections; waits for a scrape that is on its way

  virtual uint16_t port() const = 0;
};

}  // namespace moat::metrics
