// SPDX-License-Identifier: Apache-2.0
// moatctl policy diff: what would change against what is in force.
#include <cstdio>
#include <map>
#include <string>

#include "agent/cli/json.h"
#include "agent/cli/policy_client.h"
#include "agent/cli/policy_files.h"
#include "agent/cli/policy_text.h"
#include "agent/cli/text.h"
#include "agent/cli/text_diff.h"

namespace moat::cli {
namespace {

using ByName = std::map<std::string, const v1::Policy*>;

ByName Index(const v1::PolicySet& set) {
  ByName out;
  for (const v1::Policy& policy : set.policies()) {
    out[policy.name()] = &policy;
  }
  return out;
}

struct Change {
  const char* what = "";  // "added", "removed", "changed"
  const v1::Policy *before = nullptr, *after = nullptr;  // null: it is not there
};

std::map<std::string, Change> Changes(const v1::PolicySet& before, const v1::PolicySet& after) {
  const ByName old = Index(before), fresh = Index(after);
  std::map<std::string, Change> changes;
  for (const auto& [name, policy] : old) {
    const auto found = fresh.find(name);
    if (found == fresh.end()) {
      changes[name] = {.what = "removed", .before = policy};
    } else if (found->second->text() != policy->text()) {
      changes[name] = {.what = "changed", .before = policy, .after = found->second};
    }
  }
  for (const auto& [name, policy] : fresh) {
    if (!old.contains(name)) {
      changes[name] = {.what = "added", .after = policy};
    }
  }
  return changes;
}

const std::string& TextOf(const v1::Policy* policy) {
  static const std::string kNone;
  return policy == nullptr ? kNone : policy->text();
}

std::string AsJson(const std::map<std::string, Change>& changes) {
  std::string text;
  Json json(text);
  json.Open('{').Key("changes").Open('[');
  bool first = true;
  for (const auto& [name, change] : changes) {
    text += first ? "" : ",";
    first = false;
    Json(text)
        .Open('{')
        .Field("policy", name)
        .Field("what", change.what)
        .Field("diff", UnifiedDiff(TextOf(change.before), TextOf(change.after), false))
        .Close('}');
  }
  json.Close(']').Close('}');
  return text + "\n";
}

std::string AsText(const std::map<std::string, Change>& changes, bool color) {
  std::string text;
  for (const auto& [name, change] : changes) {
    const v1::Policy& policy = change.after != nullptr ? *change.after : *change.before;
    text += Paint(color, Color::kBold, std::string(change.what) + " " + Safe(name)) + " (" + Safe(policy.file()) + ")\n" +
            UnifiedDiff(TextOf(change.before), TextOf(change.after), color);
  }
  return text.empty() ? "no policy would change\n" : text;
}

}  // namespace

int RunPolicyDiff(const Options& options) {
  v1::CheckPoliciesRequest request;
  Paths paths;
  if (!ReadPolicyFiles(options.policy.files, request.mutable_files(), &paths)) {
    return kExitUsage;
  }
  request.set_with_texts(true);
  v1::ListPoliciesRequest list;
  list.set_with_texts(true);
  v1::CheckPoliciesResponse after;
  v1::ListPoliciesResponse before;
  int code = Ask(options, request, &after);
  code = code == kExitOk ? Ask(options, list, &before) : code;
  if (code != kExitOk) {
    return code;
  }
  if (after.problems_size() != 0) {
    const std::string problems = Problems(after.problems(), after.problems_omitted(), paths, options.color);
    std::fwrite(problems.data(), 1, problems.size(), stderr);
    return kExitMistakes;
  }
  const std::map<std::string, Change> changes = Changes(before.set(), after.set());
  const std::string text = options.json ? AsJson(changes) : AsText(changes, options.color);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return kExitOk;
}

}  // namespace moat::cli
