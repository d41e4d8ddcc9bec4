// SPDX-License-Identifier: Apache-2.0
// moatctl: the command line.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "agent/cli/options.h"
#include "agent/cli/policy_commands.h"
#include "agent/cli/tls.h"

namespace {

using moat::cli::CommandWords;
using moat::cli::Options;

constexpr const char* kFooter =
    "Exit codes: 0 done, also when interrupted; 1 failed, or doctor found the agent not healthy; 2 wrong usage or a bad filter;\n"
    "3 the agent cannot be reached, or has ended: of doctor too, whatever it then finds out that an agent would see;\n"
    "4 policy explain: denied; 5 policy explain: would be denied, were it not for dry-run; 6 policies have mistakes.\n"
    "Environment: MOAT_ADDRESS as --address; MOAT_TLS_CA, _CERT, _KEY and _SERVER_NAME as --tls-...; NO_COLOR, when not empty, as --color never.";

constexpr const char* kDoctorFooter =
    "When no agent answers, runs \"moatd --doctor\" as this user: it loads each program and attaches none, so that the table shows\n"
    "what an agent started now would get. It has 10 s to answer. Only root, or who has moatd's capabilities, gets a good answer.\n"
    "Exit codes: 0 the agent is healthy; 1 it is not, or refused; 3 no agent answers, also when one would see everything:\n"
    "ask \"moatd --doctor\" itself for that, it exits with 0 or 1.";

CommandWords WordsOf(const CLI::App& app, const std::string& name) {
  CommandWords words{name, app.get_description(), {}, {}};
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    words.words.push_back(name.empty() ? "" : command->get_name());
    for (const CLI::Option* option : command->get_options()) {
      const std::string flag = option->get_lnames().empty() ? "" : "--" + option->get_lnames().front();
      const auto same = [&](const CommandWords::Option& known) { return known.name == flag; };
      if (!name.empty() && !flag.empty() && std::ranges::none_of(words.options, same)) {
        words.options.push_back({flag, option->get_description(), option->get_type_size() > 0});
      }
    }
  }
  for (const CLI::Option* option : app.get_options()) {
    const auto same = [&](const CommandWords::Option& known) { return known.name == "--" + option->get_lnames().front(); };
    if (!option->get_lnames().empty() && std::ranges::none_of(words.options, same)) {
      words.options.push_back({"--" + option->get_lnames().front(), option->get_description(), option->get_type_size() > 0});
    }
  }
  return words;
}

bool WantsColor(const std::string& when) {
  const char* no_color = std::getenv("NO_COLOR");
  if (when != "auto") {
    return when == "always";
  }
  return isatty(STDOUT_FILENO) && !(no_color && *no_color);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  std::string color = "auto", output = "human", shell, for_text;

  CLI::App app("Shows what moatd sees: processes, model weights, GPU calls and network.", "moatctl");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", "moatctl " MOAT_VERSION);
  app.add_option("--address", options.address, "the agent's socket: unix:///PATH, or HOST:PORT for TLS")
      ->envname("MOAT_ADDRESS")
      ->capture_default_str();
  app.add_option("--tls-ca", options.tls.ca, "with HOST:PORT: the CA of the agent's certificate (PEM)")->envname("MOAT_TLS_CA");
  app.add_option("--tls-cert", options.tls.certificate, "our certificate (PEM)")->envname("MOAT_TLS_CERT");
  app.add_option("--tls-key", options.tls.key, "its key (PEM)")->envname("MOAT_TLS_KEY");
  app.add_option("--tls-server-name", options.tls.server_name, "the name in the agent's certificate, when it is not HOST")
      ->envname("MOAT_TLS_SERVER_NAME");
  app.add_option("--color", color, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  auto add_output = [&](CLI::App* command, std::vector<std::string> formats) {
    command->add_option("-o,--output", output, "how to print")->check(CLI::IsMember(std::move(formats)))->capture_default_str();
  };

  CLI::App* watch = app.add_subcommand("watch", "live events");
  add_output(watch, {"human", "json", "none"});
  watch->add_option(
      "--kind", options.kinds,
      "only this kind (exec, file_open, ...) or domain (process, file, gpu, net, policy); may be repeated, as all filters");
  watch->add_option("--pid", options.pids, "only this process");
  watch->add_option("--cgroup", options.cgroups, "only this cgroup path and below");
  watch->add_option("--asset", options.assets, "only this asset, and what processes that hold its label do");
  watch->add_option("--device", options.devices, "only this device path or class");
  watch->add_option("--dest", options.destinations, "only this destination: 10.0.0.0/8, 10.1.2.3:443, [fd00::/8]:443, *:53");
  watch->add_option("--count", options.count, "stop after so many events")->check(CLI::PositiveNumber);
  watch->add_option("--for", for_text, "stop after a time: 500ms, 10s, 5m, 1h");
  watch->add_option("--since", options.since, "resume after this cursor, or with the oldest event in memory: oldest");
  watch->add_flag("--reconnect", options.reconnect, "when the agent goes, wait for it and resume");

  CLI::App* findings = app.add_subcommand("findings", "what the agent has concluded: who did what, and what to do about it");
  add_output(findings, {"human", "json"});
  findings->add_option("id", options.findings.id, "all about this one; the beginning of its id will do");
  findings->add_flag("-f,--follow", options.findings.follow, "those in memory, then new ones and updates as they come");
  findings->add_option("--min-severity", options.findings.min_severity, "info, low, medium, high or critical");
  findings->add_option("--kind", options.findings.kinds, "only this kind (canary-touched, ...); may be repeated");
  findings->add_option("--for", for_text, "with -f: stop after a time: 500ms, 10s, 5m, 1h");
  findings->add_option("--count", options.count, "with -f: stop after so many")->check(CLI::PositiveNumber);
  findings->add_option("--since", options.since, "with -f: resume after this cursor");
  findings->add_flag("--reconnect", options.reconnect, "with -f: when the agent goes, wait for it and resume");
  findings->add_option("--limit", options.findings.limit, "only so many, those seen last");
  CLI::App* status = app.add_subcommand("status", "the agent: hooks, ledger, assets, devices");
  add_output(status, {"human", "json"});
  CLI::App* doctor = app.add_subcommand("doctor", "what this kernel offers, what each event uses, and what stays unseen");
  doctor->footer(kDoctorFooter);
  add_output(doctor, {"human", "json"});
  doctor->add_option("--moatd", options.moatd, "the program to ask when no agent answers; else the one beside moatctl or on PATH")
      ->type_name("PATH");
  CLI::App* policy = moat::cli::AddPolicyCommands(app, options, add_output);
  struct Lister {
    const char *name, *help, *what;  // what: that --name chooses; null: nothing
    int (*run)(const Options&);
    CLI::App* command = nullptr;
  };
  Lister listers[] = {
      {"workloads", "who runs here: what they started, hold, sent, and were denied, since the agent started", nullptr,
       moat::cli::RunWorkloads},
      {"assets", "what is protected, and who has read or changed it", "only this asset", moat::cli::RunAssets},
      {"devices", "accelerators, and who has used them", "only this device path or class", moat::cli::RunDevices},
      {"gpus", "who holds accelerators now: memory, calls, the last sensitive one", nullptr, moat::cli::RunGpus},
      {"flows", "who has talked to whom", "only this peer's address", moat::cli::RunFlows},
  };
  for (Lister& lister : listers) {
    lister.command = app.add_subcommand(lister.name, lister.help);
    add_output(lister.command, {"human", "json"});
    lister.command->add_option("--cgroup", options.inventory.cgroup, "only this cgroup path and below");
    lister.command->add_option("--limit", options.inventory.limit, "only so many rows, those seen last");
    if (lister.what != nullptr) {
      lister.command->add_option("--name", options.inventory.name, lister.what);
    }
  }
  CLI::App* completion = app.add_subcommand("completion", "a completion script for your shell");
  completion->add_option("shell", shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? moat::cli::kExitOk : moat::cli::kExitUsage;
  }
  if (!for_text.empty() && !moat::cli::ParseDuration(for_text, &options.for_ms)) {
    std::fprintf(stderr, "moatctl: --for %s is not a duration: write 500ms, 10s, 5m or 1h\n", for_text.c_str());
    return moat::cli::kExitUsage;
  }
  options.color = WantsColor(color);
  options.json = options.json || output == "json";
  options.discard = output == "none";

  if (!*completion) {
    if (const int code = moat::cli::ReadTls(options); code != moat::cli::kExitOk) {
      return code;
    }
  }
  if (*watch) {
    return RunWatch(options);
  }
  if (*findings) {
    return RunFindings(options);
  }
  if (*status) {
    return RunStatus(options);
  }
  if (*doctor) {
    return RunDoctor(options);
  }
  if (*policy) {
    return moat::cli::RunPolicy(*policy, options);
  }
  for (const Lister& lister : listers) {
    if (*lister.command) {
      return lister.run(options);
    }
  }
  std::vector<CommandWords> commands{WordsOf(app, "")};
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(WordsOf(*command, command->get_name()));
  }
  std::fputs(moat::cli::Completion(shell, commands).c_str(), stdout);
  return moat::cli::kExitOk;
}
