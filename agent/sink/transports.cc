// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/transports.h"

#include <variant>

namespace moat::sink {
namespace {

struct Make {
  const Origin& origin;
  const std::string& spool;  // a directory
  using Made = Result<std::unique_ptr<Transport>>;

  Made operator()(const config::FileSink& config) const { return MakeFile(config); }
  Made operator()(const config::SyslogSink& config) const { return MakeSyslog(config, origin, spool); }
  Made operator()(const config::OtlpSink& config) const { return MakeOtlp(config, origin); }
};

}  // namespace

Result<std::unique_ptr<Transport>> MakeTransport(const config::Sink& config, const Origin& origin) {
  return std::visit(Make{origin, config.spool.path}, config.transport);
}

Result<std::unique_ptr<Encoding>> MakeEncoding(const config::Sink& config, const Origin& origin) {
  if (config.encoding == "ocsf") {
    return MakeOcsf(origin);
  }
  if (config.encoding == "cef") {
    return MakeCef(origin);
  }
  return Fail(Code::kInvalidArgument, "there is no encoding " + config.encoding);
}

}  // namespace moat::sink
