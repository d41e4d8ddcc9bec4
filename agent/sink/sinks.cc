// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/sinks.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "agent/sink/transports.h"

namespace moat::sink {

Result<std::unique_ptr<Sinks>> Sinks::Create(const std::vector<config::Sink>& config, const Origin& origin,
                                             const SinkOptions& options) {
  auto sinks = std::make_unique<Sinks>();
  const auto make = [&](const config::Sink& one) -> Result<std::unique_ptr<Sink>> {
    MOAT_ASSIGN(auto encoding, MakeEncoding(one, origin));
    MOAT_ASSIGN(auto transport, MakeTransport(one, origin));
    return Sink::Create(one, origin, std::move(encoding), std::move(transport), options);
  };
  for (const config::Sink& one : config) {
    auto sink = make(one);
    if (!sink) {
      return Fail(sink.error().code, "sink " + one.name + ": " + sink.error().message);
    }
    sinks->sinks_.push_back(std::move(*sink));
  }
  return sinks;
}

void Sinks::OnFinding(const event::FindingPtr& finding) {
  for (const auto& sink : sinks_) {
    sink->OnFinding(finding);
  }
}

void Sinks::OnBatch(const event::BatchPtr& batch) {
  for (const event::Event& event : batch->events) {
    if (const auto* finding = std::get_if<event::FindingPtr>(&event.body); finding != nullptr && *finding != nullptr) {
      OnFinding(*finding);
    }
  }
  for (const auto& sink : sinks_) {
    sink->OnBatch(batch);
  }
}

void Sinks::OnLifecycle(Lifecycle what, std::string_view message) {
  for (const auto& sink : sinks_) {
    sink->OnLifecycle(what, message);
  }
}

std::vector<SinkStats> Sinks::stats() const {
  std::vector<SinkStats> stats;
  stats.reserve(sinks_.size());
  for (const auto& sink : sinks_) {
    stats.push_back(sink->stats());
  }
  return stats;
}

bool Sinks::Flush(std::chrono::milliseconds timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  return std::ranges::all_of(sinks_, [&](const auto& sink) {
    return sink->Flush(std::max(std::chrono::milliseconds(0),
                                std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now())));
  });
}

void Sinks::Stop(std::chrono::milliseconds grace) {
  for (const auto& sink : sinks_) {
    sink->BeginStop(grace);
  }
  for (const auto& sink : sinks_) {
    sink->Stop(grace);
  }
}

}  // namespace moat::sink
