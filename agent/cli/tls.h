// SPDX-License-Identifier: Apache-2.0
// moatctl on the network: its certificate, and why an agent would not have it.
#pragma once

#include <string>

#include "agent/cli/options.h"

namespace moat::cli {

// An address that is no unix socket: host:port, spoken to with TLS.
bool IsNetwork(const std::string& address);

// Reads the files of options.tls when the address needs them. kExitOk, or the exit code after having said what is wrong.
int ReadTls(Options& options);

// Tries a connection of its own, for at most some seconds, and says what is wrong with it; "" when nothing is, or it cannot be told.
std::string WhyNoTls(const Options& options);

}  // namespace moat::cli
