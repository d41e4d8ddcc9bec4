// SPDX-License-Identifier: Apache-2.0
// One event as one line: for people, or as a JSON object.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace moat::v1 {
class Event;
class Process;
class WatchResponse;
}  // namespace moat::v1

namespace moat::cli {

// Name of a proto kind as people type it: "file_open". A number without a name stays a number.
std::string KindName(int kind);

// The processes of a stream by ref; bounded, because the agent's refs are.
class Processes {
 public:
  void Add(const v1::WatchResponse& response, bool json);
  const std::string& Text(uint32_t ref) const;  // executable and arguments, safe to print; or the process as a JSON object

 private:
  std::unordered_map<uint32_t, std::string> text_;
};

// All three append one line, newline included.
void AppendHuman(std::string& to, const v1::Event& event, const Processes& processes, bool color);
void AppendJson(std::string& to, const v1::Event& event, const Processes& processes);
// A loss told by the agent to this subscriber. {"kind":"lost","count":N}
void AppendLost(std::string& to, uint64_t lost, bool agent_restarted, bool json, bool color);

}  // namespace moat::cli
