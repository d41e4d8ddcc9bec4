// SPDX-License-Identifier: Apache-2.0
#include "agent/api/listen.h"

#include <arpa/inet.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

namespace moat::api {
namespace {

constexpr int kBacklog = 256;

bool IsMapped(const in6_addr& address) { return IN6_IS_ADDR_V4MAPPED(&address); }

std::string HostText(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text.data(), text.size());
    return text.data();
  }
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  if (IsMapped(v6)) {
    inet_ntop(AF_INET, &v6.s6_addr[12], text.data(), text.size());
    return text.data();
  }
  inet_ntop(AF_INET6, &v6, text.data(), text.size());
  return std::string("[") + text.data() + "]";
}

uint16_t PortOf(const sockaddr_storage& address) {
  return ntohs(address.ss_family == AF_INET ? reinterpret_cast<const sockaddr_in&>(address).sin_port
                                            : reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
}

}  // namespace

Result<Fd> ListenTcp(const std::string& address, const std::string& setting, uint16_t* port) {
  const size_t colon = address.rfind(':');
  const bool v6 = address.starts_with('[');
  sockaddr_storage where{};
  socklen_t size = v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  uint16_t number = 0;
  const std::string host = colon == std::string::npos ? "" : v6 ? address.substr(1, colon - 2) : address.substr(0, colon);
  if (colon != std::string::npos) {
    std::from_chars(address.data() + colon + 1, address.data() + address.size(), number);
  }
  void* const to = v6 ? static_cast<void*>(&reinterpret_cast<sockaddr_in6&>(where).sin6_addr)
                      : &reinterpret_cast<sockaddr_in&>(where).sin_addr;
  where.ss_family = v6 ? AF_INET6 : AF_INET;
  (v6 ? reinterpret_cast<sockaddr_in6&>(where).sin6_port : reinterpret_cast<sockaddr_in&>(where).sin_port) = htons(number);
  if (inet_pton(where.ss_family, host.c_str(), to) != 1) {
    return Fail(Code::kInvalidArgument, setting + ": " + address + " is no address and port");
  }
  Fd fd(socket(where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1, off = 0;
  if (!fd || setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      (v6 && setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0) ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&where), size) != 0 || listen(fd.get(), kBacklog) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&where), &size) != 0) {
    return FailErrno(errno, setting + ": cannot listen on " + address);
  }
  *port = PortOf(where);
  return fd;
}

std::string AddressText(const sockaddr_storage& address) { return HostText(address) + ":" + std::to_string(PortOf(address)); }

std::string SourceOf(const sockaddr_storage& address) {
  const in6_addr& v6 = reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  return address.ss_family == AF_INET6 && !IsMapped(v6) ? std::string(reinterpret_cast<const char*>(&v6), 8) : HostText(address);
}

}  // namespace moat::api
