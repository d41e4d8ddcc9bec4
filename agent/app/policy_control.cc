// SPDX-License-Identifier: Apache-2.0
#include "agent/app/policy_control.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "agent/app/identity.h"
#include "agent/base/cgroup.h"
#include "agent/enrich/workload_path.h"
#include "agent/event/event.h"
#include "agent/policy/evaluate.h"

namespace moat::app {
namespace {

void Add(std::string& text, const std::string& name, const std::string& value) {
  if (!value.empty()) {
    text += " " + name + value;
  }
}

std::string Words(const policy::Subject& subject) {
  using Kind = policy::Subject::Kind;
  std::string text;
  switch (subject.kind) {
    case Kind::kPod:
      text = "pods";
      Add(text, "of ", subject.pod_namespace);
      Add(text, "container ", subject.pod_container);
      break;
    case Kind::kContainer:
      text = "containers";
      Add(text, "", subject.name);
      Add(text, "of image ", subject.image);
      break;
    case Kind::kSlurm:
      text = "slurm jobs";
      Add(text, "", subject.slurm_job);
      Add(text, "of account ", subject.slurm_account);
      Add(text, "of user ", subject.slurm_user);
      Add(text, "in partition ", subject.slurm_partition);
      break;
    case Kind::kUnit: return "unit " + subject.name;
    case Kind::kExecutable: return "executable " + subject.name;
    case Kind::kCgroup: return "cgroup " + subject.name + " and below";
  }
  for (const auto& [name, value] : subject.labels) {
    text.append(" ").append(name).append("=").append(value);
  }
  return text;
}

std::string At(const std::string& file, int line, int column) {
  return file + ":" + std::to_string(line) + ":" + std::to_string(column);
}

// Text of each policy, by name.
std::map<std::string, std::string> Texts(const std::vector<policy::Source>& sources) {
  std::map<std::string, std::string> texts;
  for (const policy::Source& source : sources) {
    std::vector<config::Problem> ignored;  // what is in force has none
    for (const Document& document : Documents(source, ignored)) {
      if (document.kind == "Policy") {
        texts[document.name] = source.text.substr(document.body, document.end - document.body);
      }
    }
  }
  return texts;
}

api::PolicySetReport ReportOf(const InForce& force) {
  api::PolicySetReport report{.generation = force.generation, .cleared = force.cleared, .problems = force.problems};
  report.exposures = force.exposures;
  if (!force.set || !force.rules) {
    return report;
  }
  report.assets = static_cast<uint32_t>(
      std::ranges::count_if(force.set->assets, [](const config::Asset& asset) { return !asset.paths.empty(); }));
  std::map<std::string, std::string> texts = Texts(force.sources);
  std::map<std::string, size_t> index;
  for (const policy::Policy& policy : force.set->policies) {
    api::PolicyReport one{.name = policy.name, .mode = policy.mode, .file = policy.at.file};
    one.line = static_cast<uint32_t>(policy.at.line);
    one.text = std::move(texts[policy.name]);
    for (const policy::Subject& subject : policy.subjects) {
      one.subjects.push_back(Words(subject));
    }
    index[policy.name] = report.policies.size();
    report.policies.push_back(std::move(one));
  }
  for (size_t i = 0; i < force.rules->texts.size(); ++i) {
    const policy::RuleText& rule = force.rules->texts[i];
    const auto found = index.find(rule.policy);
    if (found == index.end()) {
      continue;
    }
    api::PolicyRuleReport one{.number = force.rules->first + static_cast<uint32_t>(i),
                              .text = rule.text,
                              .at = At(rule.file, rule.line, rule.column),
                              .deny = rule.deny};
    if (i < force.counts.size()) {
      one.counts = {
          .allowed = force.counts[i].allowed, .denied = force.counts[i].denied, .would_deny = force.counts[i].would_deny};
    }
    report.policies[found->second].rules.push_back(std::move(one));
  }
  return report;
}

// What its cgroup tells of it, where nothing else was said.
policy::Identity Filled(policy::Identity said, WorkloadWatch& workloads) {
  if (said.cgroup.empty()) {
    return said;
  }
  policy::Identity who = IdentityOf(WhoseCgroup(said.cgroup, &workloads));
  const auto take = [](auto& to, auto& from) {
    if (from.empty()) {
      return false;
    }
    to = std::move(from);
    return true;
  };
  take(who.executable, said.executable);
  take(who.unit, said.unit);
  // What a runtime would tell: who says it knows whose it is.
  bool told = false;
  for (std::string policy::Identity::* field :
       {&policy::Identity::pod_namespace, &policy::Identity::pod_container, &policy::Identity::container_name,
        &policy::Identity::container_image, &policy::Identity::slurm_account, &policy::Identity::slurm_user,
        &policy::Identity::slurm_partition, &policy::Identity::slurm_job}) {
    told = take(who.*field, said.*field) || told;
  }
  for (auto field : {&policy::Identity::pod_labels, &policy::Identity::container_labels}) {
    told = take(who.*field, said.*field) || told;
  }
  who.known = who.known || told;
  return who;
}

Result<policy::Identity> IdentityOfProcess(uint32_t pid, WorkloadWatch& workloads) {
  policy::Identity who;
  MOAT_ASSIGN(who.cgroup, CgroupOfProcess(pid));
  std::error_code error;  // of a kernel thread there is none
  who.executable = std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/exe", error).string();
  return Filled(std::move(who), workloads);
}

// Several rules may stand at the place of their policy: its default, what is unknown, those of GPUs.
std::string RuleText(const policy::Rules& rules, const policy::Decision& decision, const std::string& gpu) {
  const bool deny = decision.action == policy::Action::kDeny;
  const std::string_view begin = decision.why.starts_with("egress.default") ? std::string_view("egress.default")
                                 : decision.why.starts_with("who it is")    ? std::string_view("unknown")
                                 : decision.why.starts_with("gpu")          ? std::string_view(gpu)
                                                                            : std::string_view();
  std::string any;
  for (const policy::RuleText& rule : rules.texts) {
    if (rule.policy == decision.policy->name && rule.file == decision.rule.file && rule.line == decision.rule.line &&
        rule.column == decision.rule.column && rule.deny == deny) {
      if (rule.text.starts_with(begin)) {
        return rule.text;
      }
      any = any.empty() ? rule.text : any;
    }
  }
  return any;
}

class Control final : public api::PolicyControl {
 public:
  Control(const config::Config& config, Policies& policies, WorkloadWatch& workloads)
      : paths_(config.policy_files), policies_(policies), workloads_(workloads) {}

  Result<api::PolicyChange> Apply(const std::vector<policy::Source>& files, uint32_t expected, bool dry_run) override {
    return Report(policies_.Change(expected, dry_run,
                                   [&](std::vector<policy::Source> now) -> Result<SourceEdit> {
                                     return PutDocuments(std::move(now), files, Directory());
                                   }),
                  dry_run);
  }

  Result<api::PolicyChange> Delete(const std::string& name) override {
    return Report(
        policies_.Change(0, false, [&](std::vector<policy::Source> now) { return RemovePolicy(std::move(now), name, paths_); }),
        false);
  }

  Result<api::PolicyChange> Rollback() override { return Report(policies_.Rollback(), false); }
  Status Clear() override { return policies_.Clear(); }
  std::vector<api::PolicyBudgetReport> Budgets() override {
    std::vector<api::PolicyBudgetReport> out;
    for (BudgetUse& use : policies_.Budgets()) {
      out.push_back({.workload = std::move(use.workload),
                     .policy = std::move(use.policy),
                     .asset = std::move(use.asset),
                     .dry_run = use.dry_run,
                     .limit_bytes = use.limit_bytes,
                     .per_seconds = use.per_seconds,
                     .used_bytes = use.used_bytes});
    }
    return out;
  }

  Result<api::PolicySetReport> List() override { return ReportOf(policies_.Get()); }

  Result<api::PolicyAnswer> Explain(const api::PolicyQuestion& question) override {
    api::PolicyAnswer answer;
    if (question.pid != 0) {
      MOAT_ASSIGN(answer.who, IdentityOfProcess(question.pid, workloads_));
    } else {
      answer.who = Filled(question.who, workloads_);
    }
    const InForce force = policies_.Get();
    if (!force.set || !force.rules) {
      answer.decider.why = force.cleared ? "all policies were cleared" : "no policy is in force";
      return answer;
    }
    MOAT_ASSIGN(const policy::Decision decision, Ask(*force.set, answer.who, question));
    if (decision.enforced || decision.action == policy::Action::kAllow) {
      answer.action = decision.action;
      answer.decider = Decider(*force.rules, decision, question);
    } else {
      policy::Set enforced = *force.set;
      std::erase_if(enforced.policies, [](const policy::Policy& policy) { return policy.mode == policy::Mode::kDryRun; });
      answer.would_deny = true;
      answer.would = Decider(*force.rules, decision, question);
      MOAT_ASSIGN(const policy::Decision now, Ask(enforced, answer.who, question));
      answer.action = now.action;
      answer.decider = Decider(*force.rules, now, question);
    }
    for (const policy::Policy& policy : force.set->policies) {
      if (const policy::Selected selected = policy::Selects(policy, answer.who); selected != policy::Selected::kNo) {
        answer.selecting.push_back({.name = policy.name, .mode = policy.mode, .unknown = selected == policy::Selected::kUnknown});
      }
    }
    return answer;
  }

 private:
  std::string Directory() const {
    for (const std::string& path : paths_) {
      std::error_code error;
      if (std::filesystem::is_directory(path, error)) {
        return path.size() > 1 && path.ends_with('/') ? path.substr(0, path.size() - 1) : path;
      }
    }
    return "";
  }

  static Result<api::PolicyChange> Report(Result<PoliciesChange> change, bool dry_run) {
    if (!change) {
      return std::unexpected(std::move(change).error());
    }
    const bool good = change->problems.empty();
    return api::PolicyChange{.problems = std::move(change->problems),
                             .applied = good && !dry_run,
                             .written = std::move(change->written),
                             .set = ReportOf(change->set)};
  }

  static Result<size_t> Label(const policy::Set& set, const std::string& asset) {
    const auto found = std::ranges::find(set.assets, asset, &config::Asset::name);
    if (found == set.assets.end()) {
      return Fail(Code::kNotFound, "there is no asset of the name " + asset);
    }
    return static_cast<size_t>(found - set.assets.begin());
  }

  static Result<policy::Decision> Ask(const policy::Set& set, const policy::Identity& who, const api::PolicyQuestion& question) {
    if (const auto* to = std::get_if<policy::Destination>(&question.act)) {
      uint64_t held = 0;
      for (const std::string& asset : question.holds) {
        MOAT_ASSIGN(const size_t label, Label(set, asset));
        held |= uint64_t{1} << label;
      }
      return policy::EvaluateEgress(set, who, held, *to);
    }
    if (const auto* act = std::get_if<api::PolicyAssetAct>(&question.act)) {
      MOAT_TRY(Label(set, act->asset));
      return policy::EvaluateAsset(set, who, act->asset, act->operation);
    }
    const uint8_t category = std::get<api::PolicyGpuAct>(question.act).category;
    return category == 0 ? policy::EvaluateGpuUse(set, who)
                         : policy::EvaluateGpuCall(set, who, static_cast<policy::GpuCategory>(category));
  }

  static api::PolicyDecider Decider(const policy::Rules& rules, const policy::Decision& decision,
                                    const api::PolicyQuestion& question) {
    if (decision.policy == nullptr) {
      return {.why = "no policy says anything about it"};
    }
    std::string gpu = "gpu.use";
    if (const auto* act = std::get_if<api::PolicyGpuAct>(&question.act); act != nullptr && act->category != 0) {
      gpu = std::string("gpu.deny ") + event::GpuCategoryName(static_cast<size_t>(std::countr_zero(act->category)));
    }
    return {.policy = decision.policy->name,
            .rule = RuleText(rules, decision, gpu),
            .at = At(decision.rule.file, decision.rule.line, decision.rule.column),
            .why = decision.why};
  }

  const std::vector<std::string> paths_;
  Policies& policies_;
  WorkloadWatch& workloads_;
};

}  // namespace

std::unique_ptr<api::PolicyControl> MakePolicyControl(const config::Config& config, Policies& policies,
                                                      WorkloadWatch& workloads) {
  return std::make_unique<Control>(config, policies, workloads);
}

}  // namespace moat::app
