// SPDX-License-Identifier: Apache-2.0
// OTLP logs over gRPC. One log record a message: the encoded text is its body.
#pragma once

#include <cstdint>
#include <memory>

#include "agent/config/sinks.h"
#include "agent/sink/sink.h"

namespace moat::sink {

class Otlp : public Transport {
 public:
  static std::unique_ptr<Otlp> Create(const config::OtlpSink& config, const Origin& origin);
  const char* name() const override { return "otlp"; }
  // stats().refused: partial success, after which OTLP forbids to send again.
};

}  // namespace moat::sink
