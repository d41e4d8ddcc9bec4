// SPDX-License-Identifier: Apache-2.0
// What policies have decided: refused, would have refused, a budget used up; and attempts on moat itself.
#include <array>

#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/memory.h"
#include "agent/detect/peer.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::FindingKind;
using event::Kind;
using event::Severity;
using event::VerdictAction;
using event::VerdictOperation;
using event::VerdictWhy;

// How bad an attempt is that was stopped, by what was asked for.
struct Ask {
  const char* did;  // "tried to ..."
  Severity severity;
  std::array<event::Technique, 1> technique;
};

Ask AskOf(const event::Verdict& verdict, bool holds) {
  switch (verdict.operation) {
    case VerdictOperation::kConnect:
      return {"connect to", holds ? Severity::kHigh : Severity::kMedium, {technique::kExfiltration}};
    case VerdictOperation::kSend:
    case VerdictOperation::kPacket:
    case VerdictOperation::kSocket: return {"send to", holds ? Severity::kHigh : Severity::kMedium, {technique::kExfiltration}};
    case VerdictOperation::kRead: return {"read", Severity::kHigh, {technique::kCollection}};
    case VerdictOperation::kMap: return {"map", Severity::kHigh, {technique::kCollection}};
    case VerdictOperation::kExec: return {"run", Severity::kHigh, {technique::kUserExecution}};
    case VerdictOperation::kWrite: return {"write to", Severity::kHigh, {technique::kManipulateModel}};
    case VerdictOperation::kRename: return {"rename", Severity::kHigh, {technique::kManipulateModel}};
    case VerdictOperation::kUnlink: return {"remove", Severity::kHigh, {technique::kCorruptModel}};
    case VerdictOperation::kLink: return {"give another name to", Severity::kMedium, {technique::kCollection}};
    case VerdictOperation::kSetattr: return {"change the attributes of", Severity::kMedium, {technique::kManipulateModel}};
    case VerdictOperation::kTruncate: return {"cut", Severity::kHigh, {technique::kCorruptModel}};
    case VerdictOperation::kGpuUse:
    case VerdictOperation::kGpuOpen: return {"open", Severity::kMedium, {technique::kHijacking}};
    case VerdictOperation::kGpuCall: return {"make a call of", Severity::kHigh, {technique::kHijacking}};
    case VerdictOperation::kGpuMap: return {"map a resource of", Severity::kHigh, {technique::kHijacking}};
    case VerdictOperation::kGuard:
    case VerdictOperation::kNone: break;
  }
  return {"touch", Severity::kMedium, {technique::kImpairTools}};
}

const char* WhyOf(VerdictWhy why) {
  switch (why) {
    case VerdictWhy::kNoSni: return ", since the peer's name could not be read from what was sent";
    case VerdictWhy::kEch: return ", since the peer's name was encrypted";
    case VerdictWhy::kOtherName: return ", since another name was asked for at the address";
    case VerdictWhy::kNotTcp: return ", since names are only believed on TCP";
    case VerdictWhy::kBudget: return ", since its budget is used up";
    case VerdictWhy::kRule:
    case VerdictWhy::kCount: break;
  }
  return "";
}

class Policy final : public Detector {
 public:
  const char* name() const override { return "policy"; }
  uint32_t kinds() const override { return Wants(Kind::kVerdict); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const auto* verdict = std::get_if<event::Verdict>(&event.body);
    if (verdict == nullptr || verdict->action == VerdictAction::kAllow || verdict->action == VerdictAction::kNone) {
      return;
    }
    flood_.Add(KeyOf(event.header, *verdict), {event.header, *verdict}, event.header.time_ns,
               [&](const Item& item, uint64_t times) { Tell(item, times, scene, raise); });
  }

  void OnTime(const Scene& scene, Raise& raise) override {
    flood_.OnTime(scene.now_ns(), [&](const Item& item, uint64_t times) { Tell(item, times, scene, raise); });
  }
  void OnEnd(const Scene& scene, Raise& raise) override {
    flood_.OnEnd([&](const Item& item, uint64_t times) { Tell(item, times, scene, raise); });
  }

 private:
  struct Item {
    event::Header header;
    event::Verdict verdict;
  };
  static constexpr size_t kSlots = 1024;

  // Who asks again in a loop is told once a second.
  static uint64_t KeyOf(const event::Header& header, const event::Verdict& verdict) {
    const uint64_t decision = uint64_t{verdict.rule} << 32 | static_cast<uint64_t>(verdict.action) << 24 |
                              static_cast<uint64_t>(verdict.operation) << 16 | static_cast<uint64_t>(verdict.why) << 8 |
                              verdict.category;
    const uint64_t thing = uint64_t{verdict.asset} << 32 | verdict.rdev;
    const uint64_t exe = header.info != nullptr ? Mix({header.info->exe_inode, header.info->exe_dev}) : 0;
    return Mix(
        {header.cgroup_id, exe, decision, thing, verdict.has_ep ? Mix(verdict.ep.remote) : 0, uint64_t{header.labels != 0}});
  }

  static void Tell(const Item& item, uint64_t times, const Scene& scene, Raise& raise) {
    if (item.verdict.operation == VerdictOperation::kGuard) {
      Guard(item.header, item.verdict, times, scene, raise);
    } else {
      Decided(item.header, item.verdict, times, scene, raise);
    }
  }

  static void Guard(const event::Header& header, const event::Verdict& verdict, uint64_t times, const Scene& scene,
                    Raise& raise) {
    const std::string who = Who(scene, header), name = Printable(verdict.name.view());
    const std::string what = name.empty() ? "moat's own programs or tables" : "what is moat's own (" + name + ")";
    const bool stopped = verdict.action == VerdictAction::kDeny;
    raise(
        {.kind = FindingKind::kAgentTampering,
         .severity = Severity::kCritical,
         .confidence = 90,
         .cause = Program(header),
         .process = header.process,
         .title = who + (stopped ? " tried to get at " : " got at ") + what,
         .explanation =
             who + (stopped ? " tried to get at " : " got at ") + what + " in the kernel" + (stopped ? ", and was refused" : "") +
             ". Whoever can change them could switch off what watches and protects the weights, and no workload has a reason to. "
             "It is harmless if it was a tool that lists every BPF program and map of the host (bpftool, another monitor).",
         .action =
             "Take the workload for an intruder's until somebody can say what this program is: stop it, keep its files, and check that "
             "moat is whole (moatctl status).",
         .evidence = {(stopped ? "refused: " : "not refused: ") + std::string("guard") + (name.empty() ? "" : ", " + name)},
         .techniques = {technique::kImpairTools, technique::kDefenseEvasion},
         .times = times});
  }

  static void Decided(const event::Header& header, const event::Verdict& verdict, uint64_t times, const Scene& scene,
                      Raise& raise) {
    const auto& rules = scene.names().rules;
    const auto rule = rules.find(verdict.rule);
    const std::string policy = rule != rules.end() ? Printable(rule->second.policy) : "a policy";
    const std::string text = rule != rules.end() ? Printable(rule->second.text) : "rule " + std::to_string(verdict.rule);
    const std::string at = rule != rules.end() && !rule->second.at.empty() ? " (" + Printable(rule->second.at) + ")" : "";
    const Ask ask = AskOf(verdict, header.labels != 0);

    std::string to, key;
    Draft draft;
    if (verdict.has_ep) {
      const std::string sni = Printable(verdict.name.view());
      to = PeerName(verdict.ep) + (sni.empty() ? "" : " as " + sni);
      key = PeerAddress(verdict.ep);
      draft.peers = {PeerName(verdict.ep)};
    } else if (verdict.asset < event::kMaxAssets) {
      const std::string asset = AssetName(scene, verdict.asset);
      to = FileName(scene, verdict.dev, verdict.inode, verdict.name.view()) + " of " + asset;
      key = asset;
      draft.assets = {asset};
    } else {
      const std::string device = verdict.rdev != 0 ? Printable(DeviceName(scene, verdict.rdev)) : Printable(verdict.name.view());
      const std::string category = verdict.category == event::kNoCategory ? "" : event::GpuCategoryName(verdict.category);
      to = (device.empty() ? "an accelerator" : device) + (category.empty() ? "" : " that means " + category);
      key = device + category;
      draft.devices = {device};
    }
    for (uint32_t asset = 0; verdict.has_ep && asset < event::kMaxAssets; ++asset) {
      if ((header.labels >> asset & 1) != 0) {
        draft.assets.push_back(AssetName(scene, asset));
      }
    }

    const bool dry = verdict.action == VerdictAction::kWouldDeny, budget = verdict.why == VerdictWhy::kBudget;
    const std::string who = Who(scene, header), whole = policy + ", " + text + at;
    draft.kind = budget ? FindingKind::kBudgetExhausted : dry ? FindingKind::kPolicyWouldDeny : FindingKind::kPolicyDenial;
    draft.severity = dry ? Severity::kLow : budget ? Severity::kHigh : ask.severity;
    draft.confidence = dry ? 60 : 80;
    draft.cause = policy + "\n" + text + "\n" + key;
    draft.process = header.process;
    const char* const answer = dry ? " would refuse it" : " refused it";
    draft.title = who + (dry ? " did " : " tried to ") + (dry ? std::string("what ") + policy + " would refuse: " : "") +
                  ask.did + " " + to;
    draft.explanation = who + (dry ? " was let to " : " tried to ") + ask.did + " " + to + ". Policy " + whole + answer +
                        WhyOf(verdict.why) + ".";
    if (budget) {
      draft.explanation +=
          " The budget is what all processes of this workload that hold the asset may send in its time. It is harmless if the "
          "workload has more to send than whoever wrote the budget thought.";
    } else if (dry) {
      draft.explanation +=
          " The policy is in dry-run, so nothing was stopped. It is harmless if the policy is not finished: what this "
          "workload needs is still to be allowed before it is enforced.";
    } else {
      draft.explanation +=
          " Nothing was let through. It is harmless if the policy has forgotten something that this workload needs: then it "
          "comes again and again from the same program.";
    }
    draft.action = "If this is needed, allow it in " + policy + at +
                   ". If not, find out why the program asks (moatctl watch --since oldest --pid " +
                   std::to_string(header.process.pid) + ").";
    draft.evidence = {std::string(event::VerdictActionName(verdict.action)) + " " +
                      event::VerdictOperationName(verdict.operation) + " " + to + ": " + whole};
    draft.techniques = {ask.technique.begin(), ask.technique.end()};
    if (budget) {
      draft.techniques = {technique::kExfiltration, technique::kPropertyTheft};
    }
    draft.times = times;
    raise(std::move(draft));
  }

  Flood<Item> flood_{kSlots};
};

}  // namespace

std::unique_ptr<Detector> MakePolicy() { return std::make_unique<Policy>(); }

}  // namespace moat::detect
