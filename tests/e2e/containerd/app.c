// SPDX-License-Identifier: Apache-2.0
// All that is in the images of the test. Tells when it began, and waits: a container's program, and the one that holds a pod together.
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void end(int signal) {
  (void)signal;
  _exit(0);
}

int main(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
  fflush(stdout);
  signal(SIGTERM, end);  // the first process of a pid namespace dies of no signal that it does not handle
  signal(SIGINT, end);
  for (;;) {
    pause();
  }
}
