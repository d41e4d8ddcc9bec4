// SPDX-License-Identifier: Apache-2.0
#include "agent/app/snapshot.h"

#include <utility>
#include <vector>

#include "agent/app/self.h"
#include "agent/base/version.h"

namespace moat::app {

api::StatusSnapshot SnapshotOf(const Parts& parts, const std::string& scope, uint64_t started_unix_ns, uint64_t attach_ms) {
  api::StatusSnapshot out;
  out.version = kVersion;
  out.hostname = HostName();
  out.kernel = KernelRelease();
  out.scope = scope;
  out.started_unix_ns = started_unix_ns;
  out.attach_ms = attach_ms;
  out.domains = parts.probe.Domains();
  out.ledger = parts.pipeline.WholeLedger();
  out.rings = parts.probe.Rings();
  for (probe::ResolvedAsset& asset : parts.probe.Assets()) {
    out.assets.push_back({asset.id, std::move(asset.name), std::move(asset.asset_class), asset.bytes, asset.files.size(),
                          std::move(asset.problems)});
  }
  for (probe::ResolvedDevice& device : parts.probe.Devices()) {
    out.devices.push_back({device.rdev, std::move(device.path), std::move(device.class_name)});
  }
  out.subscribers = parts.hub.subscribers();
  out.subscriber_losses = parts.hub.subscriber_losses();
  if (parts.engine != nullptr) {
    const detect::FoldStats stats = parts.engine->stats();
    out.findings = {stats.raised, stats.told, stats.open, stats.closed, stats.crowded, stats.forgotten, stats.expected};
  }
  for (sink::SinkStats& sink : parts.sinks != nullptr ? parts.sinks->stats() : std::vector<sink::SinkStats>()) {
    out.sinks.push_back({std::move(sink.name), std::move(sink.type), std::move(sink.encoding), sink.delivered, sink.spool.depth,
                         sink.lag_ns, LostBy(sink), sink.spool.dead + sink.spool.dead_dropped, sink.failing,
                         std::move(sink.last_error), sink.last_error_unix_ns});
  }
  out.last_seq = parts.pipeline.last_seq();
  out.cpu_ns = CpuNs();
  out.rss_bytes = RssBytes();
  return out;
}

}  // namespace moat::app
