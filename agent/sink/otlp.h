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
  // Records that the receiver refused among others that it took, without saying which (partial success): they count as delivered, for
  // OTLP forbids to send them again. The sender's thread.
  virtual uint64_t refused() const = 0;
};

}  // namespace moat::sink
