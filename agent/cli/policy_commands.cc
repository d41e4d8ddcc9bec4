// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/policy_commands.h"

#include <cstdio>

namespace moat::cli {
namespace {

constexpr const char* kFooter =
    "First steps:\n"
    "  moatctl policy check closed.yaml            is it good, together with what the agent has? Nothing changes\n"
    "  moatctl policy diff closed.yaml             what would change\n"
    "  moatctl policy apply closed.yaml            into the agent's files and into force\n"
    "  moatctl policy list                         what is in force, and how often it has decided\n"
    "  moatctl policy explain --unit vllm.service --to 10.1.2.3:443\n"
    "  moatctl policy rollback                     back to before; once more: forward again\n"
    "A document replaces the one of its kind and name in the agent's files; a new one becomes NAME.yaml in the first directory of\n"
    "policies.files. Files and what is in force change together, or neither does.\n"
    "Exit codes: 0 done, explain: allowed; 1 refused; 2 wrong usage; 3 no agent answers; 4 explain: denied; 5 explain: policies in\n"
    "dry-run would deny; 6 check, apply, diff: the policies have mistakes.";

constexpr const char* kExplainFooter =
    "Examples:\n"
    "  moatctl policy explain --pid 4711 --to 10.1.2.3:443            which rule lets it, or does not\n"
    "  moatctl policy explain --unit vllm.service --to [fd00::1]:53/udp --holds llama-70b\n"
    "  moatctl policy explain --cgroup /jobs/a --asset llama-70b --operation write\n"
    "  moatctl policy explain --executable /usr/bin/python3 --gpu-call debug\n"
    "It asks what is in force now. What a process holds is not looked up: --holds says it.\n"
    "Exit codes: 0 allowed, 4 denied, 5 allowed although policies in dry-run would deny.";

}  // namespace

CLI::App* AddPolicyCommands(CLI::App& app, Options& options,
                            const std::function<void(CLI::App*, std::vector<std::string>)>& add_output) {
  PolicyWords& words = options.policy;
  CLI::App* policy = app.add_subcommand("policy", "policies: check, apply, list, explain, roll back");
  policy->footer(kFooter);
  policy->require_subcommand(1);
  const auto add = [&](const char* name, const char* help) {
    CLI::App* command = policy->add_subcommand(name, help);
    add_output(command, {"human", "json"});
    command->add_flag("--json", options.json, "as --output json");
    return command;
  };
  const auto add_files = [&](CLI::App* command) {
    command->add_option("path", words.files, "files, or directories of *.yaml and *.yml files")->required()->type_name("PATH");
  };
  const auto add_name = [&](CLI::App* command) {
    command->add_option("name", words.name, "of the policy")->required()->type_name("NAME");
  };
  add_files(add("check", "are these policies good, together with those of the agent? Nothing changes"));
  CLI::App* apply = add("apply", "write policies into the agent's files and put them into force");
  add_files(apply);
  apply->add_flag("--dry-run", words.dry_run, "say what would be, change nothing");
  apply->add_option("--expected-generation", words.expected, "only if this generation is in force")->type_name("NUMBER");
  add("list", "what is in force, and how often it has decided");
  add_name(add("get", "one policy as it was written, and its rules with their counts"));
  add_name(add("delete", "remove a policy from its file and from force"));
  add_files(add("diff", "what these policies would change"));
  add("rollback", "files and what is in force as before the last change; once more: forward again");
  add("clear", "take every policy out of force, and keep nothing that would go on without moatd; the files stay")
      ->add_flag("--yes", words.yes, "yes, all of them");

  CLI::App* explain = add("explain", "may this process do that, and which rule says so?");
  explain->footer(kExplainFooter);
  CLI::Option* pid = explain->add_option("--pid", words.pid, "a process that lives; else what is told of it:");
  for (const auto& [name, field, help] : std::initializer_list<std::tuple<const char*, std::string*, const char*>>{
           {"--cgroup", &words.cgroup, "path of its cgroup"},
           {"--executable", &words.executable, "path of its program"},
           {"--unit", &words.unit, "its systemd unit"},
           {"--pod", &words.pod, "namespace of its pod"},
           {"--pod-container", &words.pod_container, "its container in the pod"},
           {"--container", &words.container, "name of its container"},
           {"--image", &words.image, "image of its container"},
           {"--slurm-account", &words.slurm_account, "account of its Slurm job"},
           {"--slurm-user", &words.slurm_user, "user of its Slurm job"},
           {"--slurm-partition", &words.slurm_partition, "partition of its Slurm job"},
           {"--slurm-job", &words.slurm_job, "its Slurm job"}}) {
    explain->add_option(name, *field, help)->excludes(pid);
  }
  explain->add_option("--label", words.labels, "NAME=VALUE, of the pod or container; may be repeated")->excludes(pid);
  explain->add_option("--holds", words.holds, "an asset that it has read; may be repeated");
  explain->add_option("--to", words.to, "where: 10.1.2.3:443, [fd00::1]:53/udp, 10.1.2.3/icmp");
  explain->add_option("--name", words.names, "a name under which it has learnt that address; may be repeated");
  explain->add_flag("--reply", words.reply, "an answer on an accepted connection");
  explain->add_option("--asset", words.asset, "an asset");
  explain->add_option("--operation", words.operation, "read, write, map or exec")
      ->check(CLI::IsMember({"read", "write", "map", "exec"}))
      ->capture_default_str();
  explain->add_flag("--gpu", words.gpu, "use of a GPU");
  explain->add_option("--gpu-call", words.gpu_call, "GPU calls of a category")
      ->check(CLI::IsMember({"debug", "profile", "foreign-memory", "export", "reconfigure", "internal", "raw-access"}));
  return policy;
}

int RunPolicy(const CLI::App& policy, const Options& options) {
  static constexpr std::pair<const char*, int (*)(const Options&)> kCommands[] = {
      {"check", RunPolicyCheck},       {"apply", RunPolicyApply},   {"list", RunPolicyList},
      {"get", RunPolicyGet},           {"delete", RunPolicyDelete}, {"diff", RunPolicyDiff},
      {"rollback", RunPolicyRollback}, {"clear", RunPolicyClear},   {"explain", RunPolicyExplain}};
  for (const auto& [name, run] : kCommands) {
    if (policy.got_subcommand(name)) {
      return run(options);
    }
  }
  return kExitUsage;
}

}  // namespace moat::cli
