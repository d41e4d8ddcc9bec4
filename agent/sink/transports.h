// SPDX-License-Identifier: Apache-2.0
// All transports there are, one file each. A transport of its own kind of settings: a function here and a line in transports.cc.
#pragma once

#include <memory>
#include <string>

#include "agent/base/error.h"
#include "agent/config/sinks.h"
#include "agent/sink/sink.h"

namespace moat::sink {

Result<std::unique_ptr<Transport>> MakeFile(const config::FileSink& config);  // file.cc
Result<std::unique_ptr<Transport>> MakeSyslog(const config::SyslogSink& config, const Origin& origin,
                                              const std::string& spool);  // syslog.cc
Result<std::unique_ptr<Transport>> MakeOtlp(const config::OtlpSink& config, const Origin& origin);      // otlp.cc

Result<std::unique_ptr<Transport>> MakeTransport(const config::Sink& config, const Origin& origin);
Result<std::unique_ptr<Encoding>> MakeEncoding(const config::Sink& config, const Origin& origin);

}  // namespace moat::sink
