// SPDX-License-Identifier: Apache-2.0
// Policies: requests checked and turned into questions for PolicyControl, its answers into messages.
#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "agent/api/policy_control.h"
#include "agent/api/services.h"
#include "agent/base/utf8.h"
#include "agent/config/section.h"
#include "agent/event/event.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::api {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;  // of all files of a request
constexpr int kMaxFiles = 256, kMaxHolds = 64, kMaxNames = 64;
constexpr size_t kMaxText = 4096;  // of a field of a question
constexpr size_t kMaxProblems = 200;

const char* ModeName(policy::Mode mode) {
  switch (mode) {
    case policy::Mode::kObserve: return "observe";
    case policy::Mode::kDryRun: return "dry-run";
    case policy::Mode::kEnforce: return "enforce";
  }
  return "";
}

grpc::Status Answer(const Error& error) {
  return {static_cast<grpc::StatusCode>(static_cast<int>(error.code)), ToUtf8(error.message)};
}

void SetPolicy(v1::Policy* to, const PolicyReport& from, bool with_text) {
  to->set_name(ToUtf8(from.name));
  to->set_mode(ModeName(from.mode));
  to->set_file(ToUtf8(from.file));
  to->set_line(from.line);
  to->set_rules(static_cast<uint32_t>(from.rules.size()));
  for (const std::string& subject : from.subjects) {
    to->add_subjects(ToUtf8(subject));
  }
  PolicyCounts sum;
  for (const PolicyRuleReport& rule : from.rules) {
    sum.allowed += rule.counts.allowed;
    sum.denied += rule.counts.denied;
    sum.would_deny += rule.counts.would_deny;
  }
  to->set_allowed(sum.allowed);
  to->set_denied(sum.denied);
  to->set_would_deny(sum.would_deny);
  if (with_text) {
    to->set_text(ToUtf8(from.text));
  }
}

void SetBudget(v1::PolicyBudget* to, const PolicyBudgetReport& from) {
  to->set_policy(ToUtf8(from.policy));
  to->set_asset(ToUtf8(from.asset));
  to->set_limit_bytes(from.limit_bytes);
  to->set_per_seconds(from.per_seconds);
  to->set_used_bytes(from.used_bytes);
  to->set_workload(ToUtf8(from.workload));
  to->set_dry_run(from.dry_run);
  to->set_remaining_bytes(from.limit_bytes - std::min(from.used_bytes, from.limit_bytes));
}

void SetSet(v1::PolicySet* to, const PolicySetReport& from, bool with_texts) {
  size_t rules = 0;
  for (const PolicyReport& policy : from.policies) {
    SetPolicy(to->add_policies(), policy, with_texts);
    rules += policy.rules.size();
  }
  to->set_rules(static_cast<uint32_t>(rules));
  to->set_assets(from.assets);
  for (const std::string& exposure : from.exposures) {
    to->add_exposures(ToUtf8(exposure));
  }
  to->set_generation(from.generation);
  to->set_cleared(from.cleared);
}

template <typename Response>
void SetProblems(Response* to, const std::vector<config::Problem>& problems) {
  for (size_t i = 0; i < std::min(problems.size(), kMaxProblems); ++i) {
    v1::PolicyProblem* out = to->add_problems();
    out->set_file(ToUtf8(problems[i].file));
    out->set_line(static_cast<uint32_t>(std::max(problems[i].line, 0)));
    out->set_column(static_cast<uint32_t>(std::max(problems[i].column, 0)));
    out->set_message(ToUtf8(problems[i].message));
  }
  to->set_problems_omitted(static_cast<uint32_t>(problems.size() - std::min(problems.size(), kMaxProblems)));
}

template <typename Request>
Result<std::vector<policy::Source>> Files(const Request& request) {
  if (request.files_size() == 0) {
    return Fail(Code::kInvalidArgument, "no files are given");
  }
  if (request.files_size() > kMaxFiles) {
    return Fail(Code::kInvalidArgument, "more than " + std::to_string(kMaxFiles) + " files");
  }
  std::vector<policy::Source> files;
  size_t bytes = 0;
  for (const v1::PolicyFile& file : request.files()) {
    bytes += file.text().size();
    if (file.name().empty() || file.name().size() > kMaxText) {
      return Fail(Code::kInvalidArgument, "a file needs a name, of at most " + std::to_string(kMaxText) + " bytes");
    }
    files.push_back({.file = file.name(), .text = file.text()});
  }
  if (bytes > kMaxBytes) {
    return Fail(Code::kInvalidArgument, "the files have " + std::to_string(bytes) + " bytes together, more than 1 MiB");
  }
  return files;
}

template <typename Map>
std::map<std::string, std::string> Labels(const Map& labels) {
  return {labels.begin(), labels.end()};
}

policy::Identity Who(const v1::PolicySubject& from) {
  return {.known = true,
          .cgroup = from.cgroup(),
          .executable = from.executable(),
          .unit = from.unit(),
          .pod_namespace = from.pod_namespace(),
          .pod_container = from.pod_container(),
          .pod_labels = Labels(from.pod_labels()),
          .container_name = from.container_name(),
          .container_image = from.container_image(),
          .container_labels = Labels(from.container_labels()),
          .slurm_account = from.slurm_account(),
          .slurm_user = from.slurm_user(),
          .slurm_partition = from.slurm_partition(),
          .slurm_job = from.slurm_job()};
}

void SetWho(v1::PolicySubject* to, const policy::Identity& from) {
  to->set_cgroup(ToUtf8(from.cgroup));
  to->set_executable(ToUtf8(from.executable));
  to->set_unit(ToUtf8(from.unit));
  to->set_pod_namespace(ToUtf8(from.pod_namespace));
  to->set_pod_container(ToUtf8(from.pod_container));
  to->set_container_name(ToUtf8(from.container_name));
  to->set_container_image(ToUtf8(from.container_image));
  to->set_slurm_account(ToUtf8(from.slurm_account));
  to->set_slurm_user(ToUtf8(from.slurm_user));
  to->set_slurm_partition(ToUtf8(from.slurm_partition));
  to->set_slurm_job(ToUtf8(from.slurm_job));
  for (const auto& [name, value] : from.pod_labels) {
    (*to->mutable_pod_labels())[ToUtf8(name)] = ToUtf8(value);
  }
  for (const auto& [name, value] : from.container_labels) {
    (*to->mutable_container_labels())[ToUtf8(name)] = ToUtf8(value);
  }
}

Result<policy::Destination> Destination(const v1::PolicyPeer& peer) {
  policy::Destination to;
  if (inet_pton(AF_INET, peer.address().c_str(), to.address.address.data()) == 1) {
    to.address.length = 32;
  } else if (inet_pton(AF_INET6, peer.address().c_str(), to.address.address.data()) == 1) {
    to.address.length = 128;
    to.address.v6 = true;
    constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (std::ranges::equal(kMapped, std::span(to.address.address).first(kMapped.size()))) {
      std::memmove(to.address.address.data(), to.address.address.data() + kMapped.size(), 4);  // as the kernel's side takes it
      std::fill(to.address.address.begin() + 4, to.address.address.end(), 0);
      to.address.length = 32;
      to.address.v6 = false;
    }
  } else {
    return Fail(Code::kInvalidArgument, config::Quoted(peer.address()) + " is not an IPv4 or IPv6 address");
  }
  if (peer.protocol() == "tcp" || peer.protocol() == "udp") {
    to.protocol = peer.protocol() == "tcp" ? policy::Protocol::kTcp : policy::Protocol::kUdp;
    if (peer.port() == 0 || peer.port() > 65535) {
      return Fail(Code::kInvalidArgument, "a port is 1 to 65535");
    }
  } else if (peer.protocol() == "icmp") {
    to.protocol = policy::Protocol::kIcmp;
    if (peer.port() != 0) {
      return Fail(Code::kInvalidArgument, "icmp has no ports");
    }
  } else {
    return Fail(Code::kInvalidArgument, "protocol must be tcp, udp or icmp");
  }
  if (peer.reply() && to.protocol != policy::Protocol::kTcp) {
    return Fail(Code::kInvalidArgument, "a reply is one on an accepted TCP connection");
  }
  to.port = static_cast<uint16_t>(peer.port());
  to.reply = peer.reply();
  to.names.assign(peer.names().begin(), peer.names().end());
  return to;
}

Result<PolicyQuestion> Question(const v1::ExplainPolicyRequest& request) {
  PolicyQuestion question{.pid = request.subject().pid(), .who = Who(request.subject())};
  if (request.ByteSizeLong() > 16 * kMaxText || request.holds_size() > kMaxHolds || request.peer().names_size() > kMaxNames) {
    return Fail(Code::kInvalidArgument, "the question is too long");
  }
  if (question.pid != 0 && question.who != policy::Identity()) {
    return Fail(Code::kInvalidArgument, "give either a pid or what is known of the process, not both");
  }
  question.holds.assign(request.holds().begin(), request.holds().end());
  switch (request.act_case()) {
    case v1::ExplainPolicyRequest::kPeer: {
      MOAT_ASSIGN(question.act, Destination(request.peer()));
      return question;
    }
    case v1::ExplainPolicyRequest::kAsset: {
      static constexpr std::array<const char*, 4> kOperations = {"read", "write", "map", "exec"};
      const auto* const found = std::ranges::find(kOperations, request.asset().operation());
      if (found == kOperations.end()) {
        return Fail(Code::kInvalidArgument, "operation must be read, write, map or exec");
      }
      question.act = PolicyAssetAct{.asset = request.asset().asset(),
                                    .operation = static_cast<policy::Operation>(found - kOperations.begin())};
      return question;
    }
    case v1::ExplainPolicyRequest::kGpu:
      for (size_t bit = 0; !request.gpu().category().empty(); ++bit) {
        const std::string name = event::GpuCategoryName(bit);
        if (name.empty()) {
          return Fail(Code::kInvalidArgument,
                      "category must be debug, profile, foreign-memory, export, reconfigure, internal or raw-access");
        }
        if (name == request.gpu().category()) {
          question.act = PolicyGpuAct{.category = static_cast<uint8_t>(1U << bit)};
          return question;
        }
      }
      question.act = PolicyGpuAct{};
      return question;
    case v1::ExplainPolicyRequest::ACT_NOT_SET: break;
  }
  return Fail(Code::kInvalidArgument, "ask about one act: peer, asset or gpu");
}

void SetDecider(v1::PolicyDecider* to, const PolicyDecider& from) {
  to->set_policy(ToUtf8(from.policy));
  to->set_rule(ToUtf8(from.rule));
  to->set_at(ToUtf8(from.at));
  to->set_why(ToUtf8(from.why));
}

class PoliciesService final : public v1::Policies::Service {
 public:
  explicit PoliciesService(PolicyControl* control) : control_(control) {}

  grpc::Status Check(grpc::ServerContext*, const v1::CheckPoliciesRequest* request,
                     v1::CheckPoliciesResponse* response) override {
    const auto change = Change(*request, 0, true);
    if (!change) {
      return Answer(change.error());
    }
    SetProblems(response, change->problems);
    SetSet(response->mutable_set(), change->set, request->with_texts());
    return grpc::Status::OK;
  }

  grpc::Status Apply(grpc::ServerContext*, const v1::ApplyPoliciesRequest* request,
                     v1::ApplyPoliciesResponse* response) override {
    const auto change = Change(*request, request->expected_generation(), request->dry_run());
    if (!change) {
      return Answer(change.error());
    }
    SetProblems(response, change->problems);
    response->set_applied(change->applied);
    for (const std::string& file : change->written) {
      response->add_written(ToUtf8(file));
    }
    SetSet(response->mutable_set(), change->set, false);
    return grpc::Status::OK;
  }

  grpc::Status List(grpc::ServerContext*, const v1::ListPoliciesRequest* request, v1::ListPoliciesResponse* response) override {
    const auto set = InForce();
    if (!set) {
      return Answer(set.error());
    }
    SetSet(response->mutable_set(), *set, request->with_texts());
    for (const PolicyBudgetReport& budget : control_->Budgets()) {
      SetBudget(response->mutable_set()->add_budgets(), budget);
    }
    for (const std::string& problem : set->problems) {
      response->add_problems(ToUtf8(problem));
    }
    return grpc::Status::OK;
  }

  grpc::Status Get(grpc::ServerContext*, const v1::GetPolicyRequest* request, v1::GetPolicyResponse* response) override {
    const auto set = InForce();
    if (!set) {
      return Answer(set.error());
    }
    const auto found = std::ranges::find(set->policies, request->name(), &PolicyReport::name);
    if (found == set->policies.end()) {
      return {grpc::StatusCode::NOT_FOUND, "no policy " + config::Quoted(request->name()) + " is in force"};
    }
    SetPolicy(response->mutable_policy(), *found, true);
    for (const PolicyRuleReport& rule : found->rules) {
      v1::PolicyRule* out = response->add_rules();
      out->set_number(rule.number);
      out->set_text(ToUtf8(rule.text));
      out->set_at(ToUtf8(rule.at));
      out->set_deny(rule.deny);
      out->set_allowed(rule.counts.allowed);
      out->set_denied(rule.counts.denied);
      out->set_would_deny(rule.counts.would_deny);
    }
    for (const PolicyBudgetReport& budget : control_->Budgets()) {
      if (budget.policy == found->name) {
        SetBudget(response->add_budgets(), budget);
      }
    }
    return grpc::Status::OK;
  }

  grpc::Status Delete(grpc::ServerContext*, const v1::DeletePolicyRequest* request, v1::DeletePolicyResponse* response) override {
    const auto change = Whole([&] { return control_->Delete(request->name()); });
    if (!change) {
      return Answer(change.error());
    }
    response->set_file(change->written.empty() ? "" : ToUtf8(change->written.front()));
    SetSet(response->mutable_set(), change->set, false);
    return grpc::Status::OK;
  }

  grpc::Status Explain(grpc::ServerContext*, const v1::ExplainPolicyRequest* request,
                       v1::ExplainPolicyResponse* response) override {
    const auto question = Question(*request);
    if (!question) {
      return Answer(question.error());
    }
    const auto answer = control_ == nullptr ? Result<PolicyAnswer>(NotConfigured()) : control_->Explain(*question);
    if (!answer) {
      return Answer(answer.error());
    }
    response->set_action(answer->action == policy::Action::kDeny ? v1::VERDICT_ACTION_DENY
                         : answer->would_deny                    ? v1::VERDICT_ACTION_WOULD_DENY
                                                                 : v1::VERDICT_ACTION_ALLOW);
    SetDecider(response->mutable_decider(), answer->decider);
    if (answer->would_deny) {
      SetDecider(response->mutable_would_deny(), answer->would);
    }
    SetWho(response->mutable_subject(), answer->who);
    response->mutable_subject()->set_pid(question->pid);
    for (const PolicyAnswer::Selecting& one : answer->selecting) {
      v1::PolicySelecting* out = response->add_selecting();
      out->set_name(ToUtf8(one.name));
      out->set_mode(ModeName(one.mode));
      out->set_unknown(one.unknown);
    }
    return grpc::Status::OK;
  }

  grpc::Status Rollback(grpc::ServerContext*, const v1::RollbackPoliciesRequest*,
                        v1::RollbackPoliciesResponse* response) override {
    const auto change = Whole([&] { return control_->Rollback(); });
    if (!change) {
      return Answer(change.error());
    }
    for (const std::string& file : change->written) {
      response->add_written(ToUtf8(file));
    }
    SetSet(response->mutable_set(), change->set, false);
    return grpc::Status::OK;
  }

  grpc::Status Clear(grpc::ServerContext*, const v1::ClearPoliciesRequest*, v1::ClearPoliciesResponse*) override {
    const Status status = control_ == nullptr ? Status(NotConfigured()) : control_->Clear();
    return status ? grpc::Status::OK : Answer(status.error());
  }

 private:
  static std::unexpected<Error> NotConfigured() {
    return Fail(Code::kFailedPrecondition,
                "this moatd has no policies: write policies: {files: [/etc/moat/policies]} into its moatd.yaml, make that "
                "directory, and start it again");
  }

  template <typename Request>
  Result<PolicyChange> Change(const Request& request, uint32_t expected, bool dry_run) {
    if (control_ == nullptr) {
      return NotConfigured();
    }
    MOAT_ASSIGN(const std::vector<policy::Source> files, Files(request));
    return control_->Apply(files, expected, dry_run);
  }

  // A change that has no files of its own to blame: its problems are an error.
  template <typename Call>
  Result<PolicyChange> Whole(const Call& call) {
    if (control_ == nullptr) {
      return NotConfigured();
    }
    MOAT_ASSIGN(PolicyChange change, call());
    if (change.problems.empty()) {
      return change;
    }
    return Fail(Code::kFailedPrecondition,
                "nothing changed, it would leave mistakes: " + config::ToString(change.problems.front()) +
                    (change.problems.size() > 1 ? "; and more" : ""));
  }

  Result<PolicySetReport> InForce() {
    if (control_ == nullptr) {
      return NotConfigured();
    }
    return control_->List();
  }

  PolicyControl* const control_;  // null: no policies are configured
};

}  // namespace

std::unique_ptr<grpc::Service> MakePoliciesService(PolicyControl* control) { return std::make_unique<PoliciesService>(control); }

}  // namespace moat::api
