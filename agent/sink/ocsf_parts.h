// SPDX-License-Identifier: Apache-2.0
// What OCSF's classes have in common. Texts that anyone may have chosen pass through Text().
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "agent/event/finding.h"
#include "agent/sink/sink.h"

namespace moat::sink::ocsf {

using Json = nlohmann::ordered_json;

inline constexpr int64_t kLargestInteger = 0x7fffffff;  // integer_t has 32 bits
inline constexpr const char* kVersion = "1.8.0";

Json Text(std::string_view bytes);  // valid UTF-8
void PutText(Json& to, const char* key, std::string_view bytes);  // unless it is empty
uint64_t Ms(uint64_t unix_ns);
// One line, without control characters: beside what JSON demands, all that moves a cursor or turns the reading direction is \uNNNN.
std::string OneLine(const Json& json);
// Cuts texts that are longer, in bytes; says how many those were.
uint64_t Shorten(Json& json, size_t longest);

struct Class {
  int uid;
  const char* name;
};
// class_uid to type_name, time, severity, metadata and device: what every class needs. profiles: beside "host".
Json Base(const Class& class_of, int activity, const char* activity_name, event::Severity severity, uint64_t time_unix_ns,
          const Origin& origin, const std::vector<const char*>& profiles);

Json Process(const event::FindingProcess& process);
Json Container(const event::Workload& workload);  // null: it is none
Json File(std::string_view path, int type_id);
Json Endpoint(const std::string& peer);  // "10.0.0.1:443", "[::1]:443", or the name of anything else

}  // namespace moat::sink::ocsf
