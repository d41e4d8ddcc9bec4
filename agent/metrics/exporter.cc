// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/exporter.h"

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include <exception>
#include <utility>
#include <vector>

#include "agent/metrics/families.h"

namespace moat::metrics {
namespace {

class Source final : public prometheus::Collectable {
 public:
  explicit Source(std::function<Input()> input) : input_(std::move(input)) {}
  std::vector<prometheus::MetricFamily> Collect() const override { return Families(input_()); }

 private:
  std::function<Input()> input_;
};

class ExporterImpl final : public Exporter {
 public:
  // civetweb. A client that sends its request by the byte has request_timeout_ms for all of it; who waits for a thread waits in the
  // listener's backlog, not in memory or descriptors of ours.
  ExporterImpl(const std::string& address, std::function<Input()> input)
      : source_(std::make_shared<Source>(std::move(input))),
        exposer_(std::vector<std::string>{"listening_ports", address, "num_threads", "2", "connection_queue", "8",
                                          "request_timeout_ms", "3000", "enable_keep_alive", "no", "max_request_size", "4096"}) {
    exposer_.RegisterCollectable(source_, "/metrics");
  }
  uint16_t port() const override {
    const std::vector<int> ports = exposer_.GetListeningPorts();
    return ports.empty() ? 0 : static_cast<uint16_t>(ports.front());
  }

 private:
  std::shared_ptr<Source> source_;
  prometheus::Exposer exposer_;  // last: its threads call the source
};

}  // namespace

Result<std::unique_ptr<Exporter>> Exporter::Start(const std::string& address, std::function<Input()> input) {
  try {
    return std::make_unique<ExporterImpl>(address, std::move(input));
  } catch (const std::exception& e) {
    return Fail(Code::kUnavailable,
                "cannot listen on " + address + " (metrics.address): is it this host's, and free? " + e.what());
  }
}

}  // namespace moat::metrics
