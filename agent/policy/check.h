// SPDX-License-Identifier: Apache-2.0
// What no file can say for itself: whether the names in policies are there, whether a policy decides anything, whether all fits.
#pragma once

#include <vector>

#include "agent/config/config.h"
#include "agent/policy/model.h"

namespace moat::policy {

// Any thread. Problems in the order of the policies.
std::vector<config::Problem> Check(const Set& set);

}  // namespace moat::policy
