// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/policy_text.h"

#include <google/protobuf/util/json_util.h>

#include <charconv>
#include <utility>

#include "agent/cli/text.h"

namespace moat::cli {
namespace {

void Add(std::string& text, const char* name, const std::string& value) {
  if (!value.empty()) {
    text += (text.empty() ? "" : ", ") + std::string(name) + " " + Safe(value);
  }
}

template <typename Labels>
void AddLabels(std::string& text, const Labels& labels) {
  const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  for (const auto& [name, value] : sorted) {
    text += " " + Safe(name) + "=" + Safe(value);
  }
}

std::string Who(const v1::PolicySubject& who) {
  std::string text;
  Add(text, "cgroup", who.cgroup());
  Add(text, "unit", who.unit());
  Add(text, "executable", who.executable());
  Add(text, "pod in", who.pod_namespace());
  Add(text, "its container", who.pod_container());
  AddLabels(text, who.pod_labels());
  Add(text, "container", who.container_name());
  Add(text, "image", who.container_image());
  AddLabels(text, who.container_labels());
  Add(text, "slurm job", who.slurm_job());
  Add(text, "account", who.slurm_account());
  Add(text, "user", who.slurm_user());
  Add(text, "partition", who.slurm_partition());
  return text.empty() ? "nobody in particular" : text;
}

std::string Act(const v1::ExplainPolicyRequest& request) {
  switch (request.act_case()) {
    case v1::ExplainPolicyRequest::kPeer: {
      const v1::PolicyPeer& peer = request.peer();
      const bool v6 = peer.address().find(':') != std::string::npos;
      std::string text = Safe(peer.protocol()) + " " + (v6 ? "[" + Safe(peer.address()) + "]" : Safe(peer.address()));
      return text + (peer.port() != 0 ? ":" + std::to_string(peer.port()) : "");
    }
    case v1::ExplainPolicyRequest::kAsset:
      return Safe(request.asset().operation()) + " of asset " + Safe(request.asset().asset());
    case v1::ExplainPolicyRequest::kGpu:
      return request.gpu().category().empty() ? "use of a GPU" : "GPU calls that " + Safe(request.gpu().category());
    case v1::ExplainPolicyRequest::ACT_NOT_SET: break;
  }
  return "";
}

std::string Decider(const v1::PolicyDecider& decider) {
  std::string text;
  if (!decider.policy().empty()) {
    text = "  policy   " + Safe(decider.policy()) + "\n  rule     " + Safe(decider.rule()) + "\n  at       " +
           Safe(decider.at()) + "\n";
  }
  return text + "  why      " + Safe(decider.why()) + "\n";
}

}  // namespace

std::string Problems(const google::protobuf::RepeatedPtrField<v1::PolicyProblem>& problems, uint32_t omitted, const Paths& paths,
                     bool color) {
  std::string text;
  for (const v1::PolicyProblem& problem : problems) {
    const auto path = paths.find(problem.file());
    std::string at = Safe(path == paths.end() ? problem.file() : path->second);
    if (problem.line() != 0) {
      at += ":" + std::to_string(problem.line()) + ":" + std::to_string(problem.column());
    }
    text += Paint(color, Color::kBold, at + ":") + " " + Safe(problem.message()) + "\n";
  }
  return text + (omitted != 0 ? "and " + Number(omitted) + " more\n" : "");
}

std::string Summary(const v1::PolicySet& set, bool color) {
  const auto count = [](size_t n, const std::string& one, const std::string& many) {
    return Number(n) + " " + (n == 1 ? one : many);
  };
  std::string text = count(static_cast<size_t>(set.policies_size()), "policy", "policies") + ", " +
                     count(set.rules(), "rule", "rules") + ", " + count(set.assets(), "asset", "assets") + "\n";
  for (const std::string& exposure : set.exposures()) {
    text += Paint(color, Color::kYellow, "only watched: " + Safe(exposure)) + "\n";
  }
  return text;
}

namespace {

std::string BudgetTable(const v1::PolicySet& set, bool color) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::PolicyBudget& budget : set.budgets()) {
    const bool gone = budget.limit_bytes() == 0;
    rows.push_back({Safe(budget.workload()), Safe(budget.asset()), gone ? "" : Bytes(budget.limit_bytes()),
                    Span(budget.per_seconds() * 1'000'000'000), Bytes(budget.used_bytes()),
                    gone ? "" : Bytes(budget.remaining_bytes()), Safe(budget.policy()) + (budget.dry_run() ? " (dry-run)" : "")});
  }
  return rows.empty() ? "" : "\n" + Table({"WHO HOLDS", "ASSET", "MAY SEND", "PER", "HAS SENT", "LEFT", "POLICY"}, rows, color);
}

}  // namespace

std::string PolicyTable(const v1::ListPoliciesResponse& list, bool color) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::Policy& policy : list.set().policies()) {
    std::string subjects;
    for (const std::string& subject : policy.subjects()) {
      subjects += (subjects.empty() ? "" : "; ") + Safe(subject);
    }
    rows.push_back({Safe(policy.name()), Safe(policy.mode()), Number(policy.rules()), Number(policy.allowed()),
                    Number(policy.denied()), Number(policy.would_deny()), subjects,
                    Paint(color, Color::kDim, Safe(policy.file()) + ":" + std::to_string(policy.line()))});
  }
  std::string text = rows.empty()
                         ? "No policy is in force.\n"
                         : Table({"POLICY", "MODE", "RULES", "ALLOWED", "DENIED", "WOULD DENY", "SUBJECTS", "FROM"}, rows, color);
  text += "generation " + std::to_string(list.set().generation()) + ", which the counts are of: " + Summary(list.set(), color);
  if (list.set().cleared()) {
    text += Paint(color, Color::kYellow,
                  "cleared: the files are not in force, until one changes or is applied, or moatd starts again") +
            "\n";
  }
  for (const std::string& problem : list.problems()) {
    text += Paint(color, Color::kRed, "the files have changed and are not in force: " + Safe(problem)) + "\n";
  }
  return text + BudgetTable(list.set(), color);
}

std::string RuleTable(const v1::GetPolicyResponse& policy, bool color) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::PolicyRule& rule : policy.rules()) {
    rows.push_back({Safe(rule.text()), rule.deny() ? "deny" : "allow", Number(rule.allowed()), Number(rule.denied()),
                    Number(rule.would_deny()), Paint(color, Color::kDim, Safe(rule.at()))});
  }
  return Table({"RULE", "SAYS", "ALLOWED", "DENIED", "WOULD DENY", "AT"}, rows, color);
}

std::string Explanation(const v1::ExplainPolicyRequest& request, const v1::ExplainPolicyResponse& answer, bool color) {
  const std::string verdict = answer.action() == v1::VERDICT_ACTION_ALLOW  ? Paint(color, Color::kGreen, "allowed")
                              : answer.action() == v1::VERDICT_ACTION_DENY ? Paint(color, Color::kRed, "denied")
                                                                           : Paint(color, Color::kYellow, "would be denied");
  std::string text = verdict + ": " + Act(request) + "\n";
  const std::string who = Who(answer.subject());
  text += "  who      " + who + "\n";
  if (request.holds_size() > 0) {
    std::string holds;
    for (const std::string& asset : request.holds()) {
      holds += (holds.empty() ? "" : ", ") + Safe(asset);
    }
    text += "  holds    " + holds + "\n";
  }
  text += Decider(answer.decider());
  if (answer.has_would_deny()) {
    text += "in dry-run, and so only counted:\n" + Decider(answer.would_deny());
  }
  std::string selecting;
  for (const v1::PolicySelecting& one : answer.selecting()) {
    selecting += (selecting.empty() ? "" : ", ") + Safe(one.name()) + " (" + Safe(one.mode()) +
                 (one.unknown() ? ", perhaps: who it is is not known" : "") + ")";
  }
  return text + "  selected by " + (selecting.empty() ? "no policy" : selecting) + "\n";
}

std::string MessageJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  return text + "\n";
}

bool ParsePeer(const std::string& text, v1::PolicyPeer* peer) {
  const size_t slash = text.find('/');
  peer->set_protocol(slash == std::string::npos ? "tcp" : text.substr(slash + 1));
  std::string address = text.substr(0, slash), port;
  const size_t colon = address.rfind(':');
  if (peer->protocol() == "icmp") {
    // an address alone
  } else if (colon == std::string::npos ||
             (address.find(':') != colon && !(address.starts_with('[') && address[colon - 1] == ']'))) {
    return false;
  } else {
    port = address.substr(colon + 1);
    address.resize(colon);
    uint32_t number = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
    if (error != std::errc() || end != port.data() + port.size()) {
      return false;
    }
    peer->set_port(number);
  }
  if (address.starts_with('[') && address.ends_with(']')) {
    address = address.substr(1, address.size() - 2);
  }
  peer->set_address(address);
  return !address.empty();
}

}  // namespace moat::cli
