// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/text.h"

#include <nlohmann/json.hpp>

#include "agent/api/encode.h"
#include "agent/base/utf8.h"
#include "agent/cli/event_text.h"
#include "moat/v1/services.pb.h"
#include "tests/fuzz/check.h"

namespace moat::fuzz {

void CheckText(const event::Event& event) {
  api::Encoder encoder;
  encoder.BeginMessage();
  CHECK(encoder.Add(event, nullptr));
  const std::string_view bytes = encoder.EndMessage(0, "", false);
  v1::WatchResponse message;
  CHECK(message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));  // which holds texts to be UTF-8
  CHECK(message.events_size() == 1 && message.ByteSizeLong() <= bytes.size());
  cli::Processes people, processes;
  people.Add(message, false);
  processes.Add(message, true);
  std::string line;
  cli::AppendHuman(line, message.events(0), people, false);
  CHECK(line.ends_with('\n'));
  line.pop_back();
  std::string printable = Printable(line);  // doubles the backslashes of what was escaped already, and must do no more
  std::erase(line, '\\');
  std::erase(printable, '\\');
  CHECK(printable == line);
  std::string json;
  cli::AppendJson(json, message.events(0), processes);
  CHECK(json.ends_with('\n') && json.find('\n') == json.size() - 1);
  CHECK(nlohmann::json::accept(json));
}

}  // namespace moat::fuzz
