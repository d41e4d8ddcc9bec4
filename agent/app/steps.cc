// SPDX-License-Identifier: Apache-2.0
#include "agent/app/steps.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/time.h>
#include <unistd.h>

#include <string_view>

#include "agent/base/clock.h"

namespace moat::app {
namespace {

double MsSince(uint64_t begin_ns) { return static_cast<double>(MonotonicNs() - begin_ns) / 1e6; }

void SetAlarm(uint32_t ms) {
  const itimerval timer{{0, 0}, {ms / 1000, static_cast<suseconds_t>(ms % 1000) * 1000}};
  ::setitimer(ITIMER_REAL, &timer, nullptr);
}

volatile sig_atomic_t only_detaching = 0, code_after_detaching = 0;

// Nothing but what is safe in a signal handler: some thread may hold any lock.
void OnAlarm(int) {
  constexpr std::string_view kHangs = "moatd: stopping took too long; the kernel detaches what is left\n";
  constexpr std::string_view kDetaching = "moatd: ended but for the programs that the kernel still detaches\n";
  const std::string_view message = only_detaching != 0 ? kDetaching : kHangs;
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, message.data(), message.size());
  ::_exit(only_detaching != 0 ? code_after_detaching : 1);
}

}  // namespace

Status Steps::Start(std::vector<Step> steps) {
  for (Step& step : steps) {
    const uint64_t begin_ns = MonotonicNs();
    if (Status status = step.start(); !status) {
      return Fail(status.error().code, step.name + ": " + status.error().message);
    }
    spdlog::info("start {}: {:.1f} ms", step.name, MsSince(begin_ns));
    started_.push_back(std::move(step));
  }
  return {};
}

void Steps::Stop() {
  while (!started_.empty()) {
    const Step step = std::move(started_.back());
    started_.pop_back();
    if (step.stop) {
      const uint64_t begin_ns = MonotonicNs();
      step.stop();
      spdlog::info("stop {}: {:.1f} ms", step.name, MsSince(begin_ns));
    }
  }
}

StopGuard::StopGuard(uint32_t timeout_ms, int exit_code) {
  struct sigaction action{};
  action.sa_handler = OnAlarm;
  ::sigaction(SIGALRM, &action, nullptr);
  only_detaching = 0;
  code_after_detaching = exit_code;
  SetAlarm(timeout_ms);
}

StopGuard::~StopGuard() { SetAlarm(0); }

void StopGuard::OnlyDetaching() { only_detaching = 1; }

}  // namespace moat::app
