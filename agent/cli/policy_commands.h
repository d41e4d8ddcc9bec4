// SPDX-License-Identifier: Apache-2.0
// The command line of moatctl policy.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "agent/cli/options.h"

namespace moat::cli {

// add_output: gives a command its --output. options must live until the line was parsed.
CLI::App* AddPolicyCommands(CLI::App& app, Options& options,
                            const std::function<void(CLI::App*, std::vector<std::string>)>& add_output);
int RunPolicy(const CLI::App& policy, const Options& options);

}  // namespace moat::cli
