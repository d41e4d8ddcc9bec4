// SPDX-License-Identifier: Apache-2.0
// moatctl doctor: what this kernel offers, which backend each event got and why, and what stays unseen. Without an agent, what can
// be told from files.
#include <cstdio>
#include <string>
#include <vector>

#include "agent/cli/agent_text.h"
#include "agent/cli/client.h"
#include "agent/cli/host.h"
#include "agent/cli/json.h"
#include "agent/cli/text.h"
#include "moat/v1/status.pb.h"

namespace moat::cli {

namespace {

const char* Word(HostFact::Verdict verdict) {
  switch (verdict) {
    case HostFact::Verdict::kGood: return "good";
    case HostFact::Verdict::kLess: return "less";
    case HostFact::Verdict::kBad: break;
  }
  return "bad";
}

void PrintFacts(const std::vector<HostFact>& facts, bool color) {
  for (const HostFact& fact : facts) {
    Color paint = fact.verdict == HostFact::Verdict::kGood   ? Color::kGreen
                  : fact.verdict == HostFact::Verdict::kLess ? Color::kYellow
                                                             : Color::kRed;
    std::printf("%s  %-13s %s%s\n", Paint(color, paint, Word(fact.verdict)).c_str(), fact.name.c_str(), Safe(fact.value).c_str(),
                fact.meaning.empty() ? "" : ("\n      -> " + fact.meaning).c_str());
  }
}

std::string DoctorJson(const std::vector<HostFact>& facts, const v1::AgentStatus* agent) {
  std::string text;
  Json json(text);
  json.Open('{').Key("host").Open('[');
  for (const HostFact& fact : facts) {
    std::string one;
    Json(one)
        .Open('{')
        .Field("name", fact.name)
        .Field("verdict", Word(fact.verdict))
        .Field("value", Safe(fact.value))
        .Field("meaning", fact.meaning)
        .Close('}');
    json.Raw(one);
  }
  std::string status = agent ? ToJson(*agent) : "null";
  json.Close(']').Key("agent").Raw(std::string_view(status).substr(0, status.find_last_not_of('\n') + 1)).Close('}');
  return text + "\n";
}

}  // namespace

int RunDoctor(const Options& options) {
  std::vector<HostFact> facts = HostFacts("");
  v1::AgentStatus agent;
  int code = GetStatus(options, true, &agent);
  bool answered = code == kExitOk;
  if (answered && !agent.healthy()) {
    code = kExitFailed;  // the agent judges: what this shell lacks, the agent may have
  }
  if (options.json) {
    std::fputs(DoctorJson(facts, answered ? &agent : nullptr).c_str(), stdout);
    return code;
  }
  bool color = options.color;
  std::printf("%s\n", Paint(color, Color::kBold, "This host").c_str());
  PrintFacts(facts, color);
  if (!answered) {
    std::printf("\n%s at %s: which backend each event gets is found by loading programs, so start moatd and ask again.\n",
                Paint(color, Color::kRed, "No agent answers").c_str(), Safe(options.address).c_str());
    return code;
  }
  std::printf("\n%s\n%s", Paint(color, Color::kBold, "Backends of the running agent").c_str(), HookTable(agent, color).c_str());
  if (std::string unseen = UnseenList(agent); !unseen.empty()) {
    std::printf("\n%s\n%s", Paint(color, Color::kBold, "What stays unseen").c_str(), unseen.c_str());
  }
  std::printf("\n%s\n%s", Paint(color, Color::kBold, "Ledger").c_str(), LedgerTable(agent, color).c_str());
  for (const auto& asset : agent.assets()) {
    for (const auto& problem : asset.problems()) {
      std::printf("%s\n", Paint(color, Color::kYellow, "asset " + Safe(asset.name()) + ": " + Safe(problem)).c_str());
    }
  }
  std::printf("\n%s\n", code == kExitOk ? Paint(color, Color::kGreen, "healthy").c_str()
                                        : Paint(color, Color::kRed, "not healthy: see the red lines above").c_str());
  return code;
}

}  // namespace moat::cli
