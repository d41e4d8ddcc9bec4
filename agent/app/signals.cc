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

Signal NextSignal() {
  const sigset_t set = OurSignals();
  int number = 0;
  while (::sigwait(&set, &number) != 0) {
  }
  return number == SIGHUP ? Signal::kReload : Signal::kStop;
}

}  // namespace moat::app
