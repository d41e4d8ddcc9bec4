// SPDX-License-Identifier: Apache-2.0
#include "agent/app/signals.h"

#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string_view>

#include "agent/base/fd.h"

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

// sd_notify(3), whose library would be one more for these few lines.
void TellReady() {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const size_t size = path == nullptr ? 0 : std::strlen(path);
  if (size < 2 || size >= sizeof address.sun_path) {
    return;
  }
  std::memcpy(address.sun_path, path, size);
  if (path[0] == '@') {
    address.sun_path[0] = '\0';  // of the abstract name space, which knows no end but its length
  }
  constexpr std::string_view kReady = "READY=1";
  const Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
  if (::sendto(fd.get(), kReady.data(), kReady.size(), 0, reinterpret_cast<const sockaddr*>(&address), length) < 0) {
    spdlog::warn("the service manager does not hear that moatd is ready: {}", std::strerror(errno));
  }
}

}  // namespace moat::app
