// SPDX-License-Identifier: Apache-2.0
// The spec of a policy but for its subjects and egress.
#include <utility>

#include "agent/base/strings.h"
#include "agent/policy/reader.h"

namespace moat::policy {
namespace {

using config::Node;
using config::Reading;
using config::Section;

void ReadAction(Section& section, std::string_view key, std::optional<Action>& action) {
  std::string word;
  section.OneOf(key, word, {"allow", "deny"});
  if (!word.empty()) {
    action = word == "allow" ? Action::kAllow : Action::kDeny;
  }
}

void ReadAssetRule(const Reading& reading, const Node& node, Policy& policy) {
  Section section(reading, &node, "spec.assets[]");
  AssetRule rule{.at = At(reading, node)};
  if (const Node* asset = section.Required("asset")) {
    rule.at = At(reading, *asset);
    section.Text("asset", rule.asset);
  }
  for (const auto& [key, action] : {std::pair<std::string_view, std::optional<Action>*>{"read", &rule.read},
                                    {"write", &rule.write},
                                    {"map", &rule.map},
                                    {"exec", &rule.exec}}) {
    ReadAction(section, key, *action);
  }
  if (section.Child("read") == nullptr && section.Child("write") == nullptr && section.Child("map") == nullptr &&
      section.Child("exec") == nullptr) {
    reading.Complain(node, "this rule says nothing: give read, write, map or exec, each allow or deny");
  }
  if (!rule.asset.empty()) {
    policy.assets.push_back(std::move(rule));
  }
}

void ReadGpu(const Reading& reading, const Node& node, Policy& policy) {
  static constexpr std::pair<std::string_view, GpuCategory> kCategories[] = {
      {"debug", kGpuDebug},         {"profile", kGpuProfile},         {"foreign-memory", kGpuForeignMemory},
      {"export", kGpuExport},       {"reconfigure", kGpuReconfigure}, {"internal", kGpuInternal},
      {"raw-access", kGpuRawAccess}};
  Section section(reading, &node, "spec.gpu");
  Gpu gpu;
  ReadAction(section, "use", gpu.use);
  section.Each("deny", [&](const Node& item) {
    std::vector<std::string_view> known;
    std::string list;
    for (const auto& [name, bit] : kCategories) {
      if (item.type == Node::Type::kScalar && item.value == name) {
        gpu.deny |= bit;
        return;
      }
      known.push_back(name);
      list += (list.empty() ? "" : ", ") + std::string(name);
    }
    reading.Complain(item, "spec.gpu.deny[] must be one of " + list + DidYouMean(item.value, known));
  });
  if (section.Child("use") == nullptr && section.Child("deny") == nullptr) {
    reading.Complain(node, "spec.gpu says nothing: give use: allow or deny, or deny: [categories]");
  }
  policy.gpu = gpu;
}

}  // namespace

Where At(const Reading& reading, const Node& node) { return {reading.file, node.line, node.column}; }

void ReadSpec(const Reading& reading, const Node& node, Policy& policy) {
  Section spec(reading, &node, "spec");
  if (node.type != Node::Type::kMap && node.type != Node::Type::kNull) {
    return;  // which is told
  }
  std::string mode = "observe", unsupported = "fail";
  std::optional<Action> unknown;
  spec.OneOf("mode", mode, {"observe", "dry-run", "enforce"});
  policy.mode = mode == "enforce" ? Mode::kEnforce : mode == "dry-run" ? Mode::kDryRun : Mode::kObserve;
  spec.OneOf("onUnsupported", unsupported, {"fail", "observe"});
  policy.on_unsupported = unsupported == "fail" ? OnUnsupported::kFail : OnUnsupported::kObserve;
  ReadAction(spec, "unknown", unknown);
  policy.unknown = unknown.value_or(policy.unknown);
  ReadSubjects(reading, spec, policy);
  spec.Each("assets", [&](const Node& item) { ReadAssetRule(reading, item, policy); });
  if (const Node* gpu = spec.Child("gpu")) {
    ReadGpu(reading, *gpu, policy);
  }
  if (const Node* egress = spec.Child("egress")) {
    ReadEgress(reading, *egress, policy);
  }
  if (spec.Child("assets") == nullptr && spec.Child("gpu") == nullptr && spec.Child("egress") == nullptr) {
    reading.Complain(node, "this policy decides nothing: give assets, gpu or egress");
  }
}

}  // namespace moat::policy
