// SPDX-License-Identifier: Apache-2.0
// moatctl doctor: what this kernel offers, which backend each event got and why, and what stays unseen. Without an agent, the moatd
// program is asked what one would get.
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "agent/cli/agent_text.h"
#include "agent/cli/client.h"
#include "agent/cli/host.h"
#include "agent/cli/json.h"
#include "agent/cli/moatd.h"
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

std::string OneObject(const v1::AgentStatus* status) {
  std::string text = status ? ToJson(*status) : "null";
  return text.substr(0, text.find_last_not_of('\n') + 1);
}

// agent: null when none answers. preview: what one would get, when none does.
std::string DoctorJson(const std::vector<HostFact>& facts, const v1::AgentStatus* agent, const Result<v1::AgentStatus>* preview) {
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
  json.Close(']').Key("agent").Raw(OneObject(agent));
  json.Key("would_get").Raw(OneObject(preview && *preview ? &**preview : nullptr));
  json.Field("would_get_error", preview && !*preview ? Safe(preview->error().message) : "").Close('}');
  return text + "\n";
}

Result<v1::AgentStatus> Preview(const Options& options) {
  const char* path = std::getenv("PATH");
  MOAT_ASSIGN(const std::string program, FindMoatd(options.moatd, path ? path : "", OwnFolder()));
  return AskMoatd(program);
}

void PrintUnseen(const v1::AgentStatus& agent, bool color, const char* heading) {
  if (std::string unseen = UnseenList(agent); !unseen.empty()) {
    std::printf("\n%s\n%s", Paint(color, Color::kBold, heading).c_str(), unseen.c_str());
  }
}

// Judged by its rows: the word of a program that was merely found is not taken.
bool AllSeen(const v1::AgentStatus& preview) {
  for (const v1::Domain& domain : preview.domains()) {
    for (const v1::Hook& hook : domain.hooks()) {
      if (!hook.attached() && !hook.exposure()) {
        return false;
      }
    }
    if (!domain.loaded()) {
      return false;
    }
  }
  return true;
}

void PrintPreview(const Result<v1::AgentStatus>& preview, const std::vector<HostFact>& facts, bool color) {
  bool good = preview && AllSeen(*preview);
  if (!preview) {
    std::printf(
        "\n%s\n%s\n  -> which backend each event gets is found by loading programs: start moatd and ask again, or name the "
        "program: --moatd PATH\n",
        Paint(color, Color::kRed, "And moatd cannot be asked what one would get").c_str(), Safe(preview.error().message).c_str());
  } else {
    std::printf(
        "\n%s\n%s",
        Paint(color, Color::kBold, "What an agent that this user starts now would get (loaded to see, not attached)").c_str(),
        HookTable(*preview, color, "would not be seen").c_str());
    PrintUnseen(*preview, color, "What would stay unseen");
    std::printf("\n%s\n",
                good ? Paint(color, Color::kGreen, "every event would have a backend: start moatd").c_str()
                     : Paint(color, Color::kRed, "not every event would have a backend: see the red lines above").c_str());
  }
  for (const HostFact& fact : facts) {
    if (!good && fact.name == kCapabilities && fact.verdict != HostFact::Verdict::kGood) {
      std::printf("  -> this user is %s: ask again as root, or with these\n", Safe(fact.value).c_str());
    }
  }
}

}  // namespace

int RunDoctor(const Options& options) {
  std::vector<HostFact> facts = HostFacts("");
  v1::AgentStatus agent;
  int code = GetStatus(options, true, &agent);
  bool answered = code == kExitOk;
  std::optional<Result<v1::AgentStatus>> preview;
  if (!answered) {
    preview = Preview(options);
  }
  if (answered && !agent.healthy()) {
    code = kExitFailed;  // the agent judges: what this shell lacks, the agent may have
  }
  if (options.json) {
    std::fputs(DoctorJson(facts, answered ? &agent : nullptr, preview ? &*preview : nullptr).c_str(), stdout);
    return code;
  }
  bool color = options.color;
  std::printf("%s\n", Paint(color, Color::kBold, "This host").c_str());
  PrintFacts(facts, color);
  if (!answered) {
    std::printf("\n%s at %s.\n", Paint(color, Color::kRed, "No agent answers").c_str(), Safe(options.address).c_str());
    PrintPreview(*preview, facts, color);
    return code;
  }
  std::printf("\n%s\n%s", Paint(color, Color::kBold, "Backends of the running agent").c_str(), HookTable(agent, color).c_str());
  PrintUnseen(agent, color, "What stays unseen");
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
