// SPDX-License-Identifier: Apache-2.0
// One GET over a unix socket, bounded as a whole: by time, and by size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>

#include "agent/base/error.h"

namespace moat::enrich {

struct HttpLimits {
  uint64_t ms = 2000;  // from connect to the last byte
  size_t bytes = size_t{4} << 20;  // of the body
  std::stop_token stop{};  // ends it at once
};

// The body of an answer with status 200. target: what stands after GET, with what needs it percent-encoded. Any thread; blocks.
Result<std::string> HttpGet(const std::string& socket, const std::string& target, const HttpLimits& limits);

}  // namespace moat::enrich
