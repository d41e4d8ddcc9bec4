// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

namespace moat::sink {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A name that is being looked up: glibc's thread writes to it until it is done.
struct Lookup {
  std::string host, port;
  addrinfo hints{};
  gaicb request{};

  Lookup(std::string name, uint16_t number) : host(std::move(name)), port(std::to_string(number)) {
    hints.ai_socktype = SOCK_STREAM;
    request = {.ar_name = host.c_str(),
               .ar_service = port.c_str(),
               .ar_request = &hints,
               .ar_result = nullptr,
               .__return = 0,
               .__glibc_reserved = {}};
  }
  ~Lookup() {
    if (request.ar_result != nullptr) {
      ::freeaddrinfo(request.ar_result);
    }
  }
  Lookup(const Lookup&) = delete;
  Lookup& operator=(const Lookup&) = delete;
};

Result<std::unique_ptr<Lookup>> LookUp(const std::string& host, uint16_t port, Deadline deadline) {
  auto lookup = std::make_unique<Lookup>(host, port);
  // An address needs no look-up.
  lookup->hints.ai_flags = AI_NUMERICSERV | AI_NUMERICHOST;
  if (::getaddrinfo(lookup->host.c_str(), lookup->port.c_str(), &lookup->hints, &lookup->request.ar_result) == 0) {
    return lookup;
  }
  lookup->hints.ai_flags = AI_NUMERICSERV;
  gaicb* requests[] = {&lookup->request};
  if (const int error = ::getaddrinfo_a(GAI_NOWAIT, requests, 1, nullptr); error != 0) {
    return Fail(Code::kUnavailable, std::string("the name cannot be looked up: ") + gai_strerror(error));
  }
  int error = EAI_INPROGRESS;
  while ((error = ::gai_error(&lookup->request)) == EAI_INPROGRESS) {
    const int left = MillisUntil(deadline);
    if (left == 0) {
      if (::gai_cancel(&lookup->request) == EAI_NOTCANCELED) {
        (void)lookup.release();  // its thread still uses it
      }
      return Fail(Code::kDeadlineExceeded, "the name server did not answer in time");
    }
    const timespec wait{.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1'000'000L};
    ::gai_suspend(requests, 1, &wait);
  }
  if (error != 0) {
    return Fail(Code::kUnavailable, std::string("the name cannot be looked up: ") + gai_strerror(error));
  }
  return lookup;
}

Result<Fd> ConnectTo(const addrinfo& address, Deadline deadline) {
  Fd fd(::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) {
    return FailErrno(errno, "no socket can be made");
  }
  // A receiver that is gone without a word shows after a minute without traffic; while bytes are on their way, deadlines do.
  const std::pair<std::pair<int, int>, int> options[] = {{{SOL_SOCKET, SO_KEEPALIVE}, 1},
                                                         {{IPPROTO_TCP, TCP_KEEPIDLE}, 30},
                                                         {{IPPROTO_TCP, TCP_KEEPINTVL}, 10},
                                                         {{IPPROTO_TCP, TCP_KEEPCNT}, 3},
                                                         {{IPPROTO_TCP, TCP_NODELAY}, 1}};
  for (const auto& [name, value] : options) {
    ::setsockopt(fd.get(), name.first, name.second, &value, sizeof value);
  }
  if (::connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0) {
    return fd;
  }
  if (errno != EINPROGRESS) {
    return FailErrno(errno, "it cannot be connected to");
  }
  pollfd poll{.fd = fd.get(), .events = POLLOUT, .revents = 0};
  for (;;) {
    const int left = MillisUntil(deadline);
    const int ready = ::poll(&poll, 1, left);
    if (ready > 0) {
      break;
    }
    if (ready == 0 && left == 0) {
      return Fail(Code::kDeadlineExceeded, "it did not answer in time");
    }
  }
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    return FailErrno(error, "it cannot be connected to");
  }
  return fd;
}

}  // namespace

int MillisUntil(Deadline deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
  return static_cast<int>(std::clamp<milliseconds::rep>(left, 0, 3'600'000));
}

Result<Fd> ConnectTcp(const std::string& host, uint16_t port, Deadline deadline) {
  MOAT_ASSIGN(const auto lookup, LookUp(host, port, deadline));
  int count = 0;
  for (const addrinfo* address = lookup->request.ar_result; address != nullptr; address = address->ai_next) {
    ++count;
  }
  Result<Fd> last = Fail(Code::kUnavailable, "the name has no address");
  for (const addrinfo* address = lookup->request.ar_result; address != nullptr; address = address->ai_next, --count) {
    // An address that swallows packets leaves time for the next one.
    const auto now = steady_clock::now();
    last = ConnectTo(*address, std::min(deadline, now + (deadline - now) / count));
    if (last) {
      break;
    }
  }
  return last;
}

}  // namespace moat::sink
