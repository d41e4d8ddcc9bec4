// SPDX-License-Identifier: Apache-2.0
// Messages have a bound, as receivers have; findings have not: whoever starts a container chooses its labels and its arguments. Pure; any thread.
#pragma once

#include <cstddef>
#include <string>

#include "agent/event/finding.h"
#include "agent/sink/sink.h"

namespace moat::sink {

inline constexpr size_t kMaxMessage = 64u << 10;  // as deploy/guides/siem.md promises, with a transport's head
inline constexpr size_t kMaxText = 60u << 10;

// Between two characters, where it is UTF-8, and "..." in place of what is gone. False: it was no longer than that.
bool CutText(std::string& text, size_t longest);

// At most kMaxText. Of a finding that would be longer, lists are cut and texts shortened, labels first; what is left out is added to
// `omitted`.
std::string EncodeBounded(const Encoding& encoding, const event::Finding& finding);

}  // namespace moat::sink
