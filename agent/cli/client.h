// SPDX-License-Identifier: Apache-2.0
// The connection to the agent. The only place, with watch.cc, that sees gRPC.
#pragma once

#include <memory>
#include <string>

#include "agent/cli/options.h"

namespace grpc {
class Channel;
class Status;
}  // namespace grpc

namespace moat::v1 {
class AgentStatus;
}

namespace moat::cli {

// "unix:///run/x.sock", "unix:/run/x.sock" or "/run/x.sock" -> what gRPC takes. Anything else as it stands.
std::string Target(const std::string& address);
std::shared_ptr<grpc::Channel> Connect(const Options& options);

// Says on standard error what went wrong and what to do; returns the exit code that fits.
int Complain(const Options& options, const grpc::Status& status);

// Asks for the status. kExitOk, or the exit code after having complained (quiet: without).
int GetStatus(const Options& options, bool quiet, v1::AgentStatus* status);

}  // namespace moat::cli
