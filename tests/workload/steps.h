// SPDX-License-Identifier: Apache-2.0
// What a workload can do. Each step makes exactly the system calls that its line in Usage() tells, and prints one line with the
// figures, so that a test can ask the agent for the same ones.
#pragma once

#include <span>
#include <stdexcept>
#include <string>

namespace moat::workload {

using Args = std::span<char* const>;

struct Failure : std::runtime_error {  // a step that could not do what it was told; ends the program with status 1
  using std::runtime_error::runtime_error;
};

// Runs steps separated by the word "+", all in this process until a "fork". Throws Failure. "exec" does not return.
void RunSteps(Args words);
std::string Usage();

}  // namespace moat::workload
