// SPDX-License-Identifier: Apache-2.0
#include "agent/app/signals.h"

#include <pthread.h>
#include <signal.h>

#include <initializer_list>

namespace moat::app {
namespace {

sigset_t OurSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    ::sigaddset(&set, number);
  }
  return set;
}

}  // namespace

void BlockSignals() {
  const sigset_t set = OurSignals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

Signal NextSignal(int seconds) {
  const sigset_t set = OurSignals();
  const timespec limit{.tv_sec = seconds, .tv_nsec = 0};
  const int number = ::sigtimedwait(&set, nullptr, &limit);
  return number < 0 ? Signal::kNone : number == SIGHUP ? Signal::kReload : Signal::kStop;
}

}  // namespace moat::app
