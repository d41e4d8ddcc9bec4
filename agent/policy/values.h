// SPDX-License-Identifier: Apache-2.0
// Single values of the policy language. Pure; any thread. Errors say what is wrong and what would be right, without the value itself: the
// caller tells where it stands.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/base/error.h"
#include "agent/policy/model.h"

namespace moat::policy {

Result<Cidr> ParseCidr(std::string_view text);  // "10.0.0.0/8", "fd00::/8"
std::string ToString(const Cidr& cidr);
Result<Ports> ParsePorts(std::string_view text);  // "443/tcp", "8000-8100/udp", "icmp"
std::string ToString(const Ports& ports);
Status CheckFqdn(std::string_view text);  // "api.example.com", "*.example.com"
Result<uint64_t> ParseDuration(std::string_view text);  // seconds: "90s", "30m", "24h", "7d"; a minute to 30 days
Result<uint64_t> ParseBytes(std::string_view text);  // "500MiB", "2GiB", "4096"; at least 1
Result<uint32_t> ParsePercent(std::string_view text);  // millionths: "1", "0.5", "100"; above 0, four decimals

}  // namespace moat::policy
