// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/agent_text.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

#include "agent/cli/event_text.h"
#include "agent/cli/text.h"
#include "moat/v1/status.pb.h"

namespace moat::cli {

namespace {

std::string ReasonWord(int reason) {
  std::string name = v1::LostReason_Name(reason);
  if (name.empty()) {
    return std::to_string(reason);
  }
  name.erase(0, std::string("LOST_REASON_").size());
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

}  // namespace

std::string HookTable(const v1::AgentStatus& agent, bool color, const char* missing) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::pair<std::string, std::string>> errors;  // reason, "gpu, net": often all have the same
  for (const auto& domain : agent.domains()) {
    if (!domain.loaded()) {
      const auto same = std::ranges::find(errors, domain.error(), &std::pair<std::string, std::string>::first);
      if (same == errors.end()) {
        errors.emplace_back(domain.error(), Safe(domain.name()));
      } else {
        same->second += ", " + Safe(domain.name());
      }
    }
    for (const auto& hook : domain.hooks()) {
      std::string why = Safe(hook.why());
      if (hook.exposure()) {
        why.insert(0, "nothing here sees it: ");
        why = Paint(color, Color::kYellow, why);
      } else if (!hook.attached()) {
        std::string text = missing;
        text.append(": ").append(why);
        why = Paint(color, Color::kRed, text);
      } else if (hook.runs_missed()) {
        const std::string runs = Number(hook.runs_missed());
        why.append(Paint(color, Color::kRed, " (" + runs + " runs skipped by the kernel)"));
      }
      rows.push_back({Safe(domain.name()), Safe(hook.event()), hook.backend().empty() ? "none" : Safe(hook.backend()),
                      Safe(hook.program()), why});
    }
  }
  std::string text = Table({"DOMAIN", "EVENT", "BACKEND", "PROGRAM", "WHY"}, rows, color);
  for (const auto& [why, names] : errors) {
    text += Paint(color, Color::kRed,
                  "domain " + names + (names.find(", ") == std::string::npos ? " is" : " are") + " not loaded: " + Safe(why)) +
            "\n";
  }
  return text;
}

std::string UnseenList(const v1::AgentStatus& agent) {
  std::string text;
  for (const auto& domain : agent.domains()) {
    for (const auto& hook : domain.hooks()) {
      for (const auto& unseen : hook.unseen()) {
        text += "  " + Safe(hook.event()) + ": " + Safe(unseen) + "\n";
      }
    }
  }
  return text;
}

std::string LedgerTable(const v1::AgentStatus& agent, bool color) {
  std::vector<std::vector<std::string>> rows;
  uint64_t attempted = 0, delivered = 0, lost_all = 0;
  for (const auto& kind : agent.ledger()) {
    uint64_t lost_kind = 0;
    std::string reasons;
    for (const auto& lost : kind.lost()) {
      lost_kind += lost.count();
      reasons += (reasons.empty() ? "" : ", ") + ReasonWord(lost.reason()) + " " + Number(lost.count());
    }
    if (kind.unreadable()) {
      reasons += (reasons.empty() ? "" : ", ") + Number(kind.unreadable()) + " delivered with an unreadable field";
    }
    rows.push_back({KindName(kind.kind()), Number(kind.attempted()), Number(kind.delivered()), Number(lost_kind), reasons});
    attempted += kind.attempted();
    delivered += kind.delivered();
    lost_all += lost_kind;
  }
  std::string text = Table({"KIND", "ATTEMPTED", "DELIVERED", "LOST", "WHY"}, rows, color);
  std::string sum = "attempted " + Number(attempted) + ", delivered " + Number(delivered) + " + lost " + Number(lost_all) +
                    " = " + Number(delivered + lost_all) + ": ";
  if (attempted == delivered + lost_all) {
    text += sum + Paint(color, Color::kGreen, "it adds up") + "\n";
  } else if (attempted > delivered + lost_all) {
    text += sum +
            Paint(color, Color::kYellow,
                  Number(attempted - delivered - lost_all) + " on their way (or, if this stays, unaccounted for)") +
            "\n";
  } else {
    text += sum +
            Paint(color, Color::kYellow,
                  Number(delivered + lost_all - attempted) +
                      " came while the numbers were read (or, if this stays, were counted twice)") +
            "\n";
  }
  for (const auto& table : agent.tables_full()) {
    text += Paint(color, Color::kRed,
                  "table " + Safe(table.table()) + " was full " + Number(table.refused()) +
                      " times: no event is lost, but sums or labels are") +
            "\n";
  }
  return text;
}

std::string ToJson(const v1::AgentStatus& agent) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  (void)google::protobuf::util::MessageToJsonString(agent, &text, options);
  return text + "\n";
}

}  // namespace moat::cli
