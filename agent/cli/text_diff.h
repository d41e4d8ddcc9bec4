// SPDX-License-Identifier: Apache-2.0
// Two texts, line by line, as "diff -u" shows it.
#pragma once

#include <string>

namespace moat::cli {

// Hunks of "@@ -1,3 +1,4 @@" with three lines around each change; "" when they are the same. Lines pass Safe().
std::string UnifiedDiff(const std::string& before, const std::string& after, bool color);

}  // namespace moat::cli
