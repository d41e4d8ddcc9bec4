// SPDX-License-Identifier: Apache-2.0
// One GET over a unix socket, bounded as a whole. An HTTP/1.0 request: the answer then comes in one piece and ends with the connection.
// (Libraries bound each read, not the answer: a peer that drips would hold the thread.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "agent/base/error.h"

namespace moat::enrich {

struct HttpLimits {
  uint64_t ms = 2000;  // from connect to the last byte
  size_t bytes = size_t{4} << 20;  // head and body
};

// The body of an answer with status 200. target: what stands after GET, with what needs it percent-encoded. Any thread; blocks.
Result<std::string> HttpGet(const std::string& socket, const std::string& target, const HttpLimits& limits);

}  // namespace moat::enrich
