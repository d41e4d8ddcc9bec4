// SPDX-License-Identifier: Apache-2.0
// moatd: the agent of a host.
#include <malloc.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "agent/app/app.h"
#include "agent/app/doctor.h"
#include "agent/app/signals.h"
#include "agent/app/steps.h"
#include "agent/base/version.h"
#include "agent/policy/parse.h"
#include "agent/probe/pins.h"

namespace moat::app {
namespace {

constexpr int kLookAgainSeconds = 2;
constexpr int kExitFailed = 1;
constexpr int kExitUnseen = 1;           // --doctor
constexpr int kExitConfig = 2;         // the file or the command line is wrong
constexpr uint32_t kStopLimitMs = 4500;  // of the 5 s that are promised

constexpr const char* kFooter = R"(
First steps:
  moatd --check --config FILE     is the file good? every mistake is told with its line
  moatd --check-policy PATH...    are these policies good? files or folders of them; nothing is applied
  moatd --config FILE             run; as root, or with CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH
                                  and CAP_SYSLOG; some kernels ask CAP_SYS_ADMIN for kprobes and fanotify: moatctl doctor tells
  moatd --unload                  what an earlier moatd left enforced ends: policies go on without moatd until then
  moatctl watch                   in another terminal: what it sees
  moatctl doctor                  what this kernel offers, and what stays unseen; also when moatd does not run

moatd --doctor is what moatctl doctor asks then: it loads each program, so that the kernel's refusals show, attaches none, prints
moat.v1.AgentStatus as JSON and ends. It needs no scope; without --config, and without the file that is read by default, every
setting has its default. In what it prints, "attached" means: would be.

Signals: SIGHUP reads the assets and api.tcp again; SIGTERM and SIGINT end it, leaving nothing attached, but for policies: what is enforced goes
on (policies.pins). It reads and answers nothing any more within 5 s; where the kernel needs longer to detach programs, the process ends
with the last of them.
Exit codes: 0 ended by a signal (--check, --check-policy: what was given is good; --doctor: every event would have a backend), 1 could not start (--doctor:
not every event would), 2 the configuration or the command line is wrong.
The file, with every setting and its default, is deploy/config/moatd.yaml in the sources.)";

void StartLog(const std::string& level) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("moatd"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  spdlog::set_level(spdlog::level::from_str(level));
}

// Memory for full batches comes and goes with floods. By default glibc raises the size from which it gives memory back at once as
// soon as such a piece is freed, and keeps an arena per thread: 20 MiB that nobody uses any more.
void TameAllocator() {
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
  ::mallopt(M_ARENA_MAX, 2);
}

int CheckPolicies(const std::vector<std::string>& paths) {
  const policy::Parsed parsed = policy::ParseAndCheck(paths);
  for (const config::Problem& problem : parsed.problems) {
    std::fprintf(stderr, "%s\n", config::ToString(problem).c_str());
  }
  if (!parsed.problems.empty()) {
    return kExitConfig;
  }
  std::printf("good: %zu policies, %zu assets\n", parsed.set.policies.size(), parsed.set.assets.size());
  return 0;
}

int Unload(const config::Config& config) {
  const Result<size_t> links = probe::Pins::Unload(config.policy_pins);
  if (!links) {
    std::fprintf(stderr, "%s\n", links.error().message.c_str());
    return kExitFailed;
  }
  std::printf("%zu programs are no longer kept in %s%s\n", *links, config.policy_pins.c_str(),
              *links > 0 ? "; a moatd that runs goes on with its own" : "");
  return 0;
}

int Run(const AppOptions& options, config::Config config) {
  TameAllocator();
  StartLog(config.log_level);
  BlockSignals();
  spdlog::info("moatd {}, scope {}, socket {}", kVersion, config.scope, config.socket);
  const std::unique_ptr<App> app = App::Create(options, std::move(config));
  int exit_code = 0;
  if (Status status = app->Start(); status) {
    spdlog::info("ready");
    TellReady();
    for (Signal signal; (signal = NextSignal(kLookAgainSeconds)) != Signal::kStop;) {
      signal == Signal::kReload ? app->Reload() : app->LookAgain();
    }
  } else {
    spdlog::error("cannot start: {}", status.error().message);
    exit_code = kExitFailed;
  }
  const StopGuard guard(kStopLimitMs, exit_code);
  app->Stop();
  spdlog::info("ended");
  return exit_code;
}

int Main(int argc, char** argv) {
  CLI::App cli{"moatd watches who touches accelerators, who touches model weights, and what leaves over the network."};
  cli.footer(kFooter);
  AppOptions options{.config_path = "/etc/moat/moatd.yaml", .record_path = ""};
  bool check = false, doctor = false, unload = false;
  const CLI::Option* config_option =
      cli.add_option("-c,--config", options.config_path, "Configuration file")->type_name("FILE")->capture_default_str();
  CLI::Option* check_option = cli.add_flag("--check", check, "Check the configuration and end");
  CLI::Option* record_option =
      cli.add_option("--record", options.record_path, "Also write every raw record to FILE, for the replay tests")
          ->type_name("FILE");
  std::vector<std::string> policies;
  CLI::Option* policy_option = cli.add_option("--check-policy", policies, "Check policies and the assets that they name, and end")
                                   ->type_name("PATH...")
                                   ->excludes(check_option)
                                   ->excludes(record_option);
  cli.add_flag("--doctor", doctor, "Print what each event would get on this kernel, attach nothing, and end")
      ->excludes(check_option)
      ->excludes(record_option)
      ->excludes(policy_option);
  cli.add_flag("--unload", unload, "End what an earlier moatd left enforced (see policies.pins), and end")
      ->excludes(check_option)
      ->excludes(record_option)
      ->excludes(policy_option);
  cli.set_version_flag("--version", std::string("moatd ") + kVersion);
  try {
    cli.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return cli.exit(e) == 0 ? 0 : kExitConfig;
  }
  if (!policies.empty()) {
    return CheckPolicies(policies);
  }
  std::error_code error;  // a file that cannot be looked at is not a file that is not there: Load tells it
  const bool defaults =
      (doctor || unload) && config_option->empty() && !std::filesystem::exists(options.config_path, error) && !error;
  config::Loaded loaded = defaults ? config::Loaded() : config::Load(options.config_path);
  for (const config::Problem& problem : loaded.problems) {
    std::fprintf(stderr, "%s\n", config::ToString(problem).c_str());
  }
  if (!loaded.problems.empty()) {
    return kExitConfig;
  }
  if (unload) {
    return Unload(loaded.config);
  }
  if (check) {
    std::printf("%s: good, %zu assets\n", options.config_path.c_str(), loaded.config.assets.size());
    return 0;
  }
  if (doctor) {
    StartLog(loaded.config.log_level);
    return PrintDoctor(loaded.config) ? 0 : kExitUnseen;
  }
  return Run(options, std::move(loaded.config));
}

}  // namespace
}  // namespace moat::app

int main(int argc, char** argv) {
  const int code = moat::app::Main(argc, argv);
  // All of ours has ended; gRPC's threads have not (agent/api/server.cc), and must not run beside the destructors of globals.
  spdlog::shutdown();
  std::fflush(nullptr);
  _exit(code);
}
