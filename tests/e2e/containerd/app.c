// SPDX-License-Identifier: Apache-2.0
// All that is in the images of the test. Tells when it began, and waits: a container's program, and the one that holds a pod together.
// With a port as its argument it connects to that port of 127.0.0.1 again and again, and tells "TIME ERRNO" when that ends otherwise than
// the last time.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void end(int signal) {
  (void)signal;
  _exit(0);
}

static long long now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int try(int port) {
  const struct sockaddr_in name = {
      .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  const struct linger none = {.l_onoff = 1, .l_linger = 0};  // no TIME_WAIT
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int error = connect(fd, (const struct sockaddr*)&name, sizeof(name)) == 0 ? 0 : errno;
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
  close(fd);
  return error;
}

int main(int argc, char** argv) {
  printf("%lld\n", now_ns());
  fflush(stdout);
  signal(SIGTERM, end);  // the first process of a pid namespace dies of no signal that it does not handle
  signal(SIGINT, end);
  for (int last = -1; argc > 1;) {
    const int error = try(atoi(argv[1]));
    if (error != last) {
      printf("%lld %d\n", now_ns(), error);
      fflush(stdout);
      last = error;
    }
    usleep(5000);
  }
  for (;;) {
    pause();
  }
}
