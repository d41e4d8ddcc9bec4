// SPDX-License-Identifier: Apache-2.0
#include "agent/app/resolvers.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <sstream>

namespace moat::app {
namespace {

constexpr size_t kMax = 64;  // rows of the kernel's table

// "10.0.0.53", "fe80::1%eth0": the zone says by which way, not who.
std::optional<policy::Resolver> Parse(std::string text) {
  text = text.substr(0, text.find('%'));
  policy::Resolver resolver;
  if (inet_pton(AF_INET, text.c_str(), resolver.address.data()) == 1) {
    return resolver;
  }
  resolver.v6 = true;
  if (inet_pton(AF_INET6, text.c_str(), resolver.address.data()) == 1) {
    return resolver;
  }
  return std::nullopt;
}

bool IsLoopback(const policy::Resolver& resolver) {
  constexpr std::array<uint8_t, 16> kLoopback6{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return resolver.v6 ? resolver.address == kLoopback6 : resolver.address[0] == 127;
}

// A server of this host: its answers come over the loopback device, whatever its address.
bool IsLocal(const policy::Resolver& resolver) {
  if (IsLoopback(resolver)) {
    return true;
  }
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) {
    return false;
  }
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> guard(list, freeifaddrs);
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr) {
      continue;
    }
    if (!resolver.v6 && at->ifa_addr->sa_family == AF_INET &&
        std::memcmp(&reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr, resolver.address.data(), 4) == 0) {
      return true;
    }
    if (resolver.v6 && at->ifa_addr->sa_family == AF_INET6 &&
        std::memcmp(&reinterpret_cast<const sockaddr_in6*>(at->ifa_addr)->sin6_addr, resolver.address.data(), 16) == 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::vector<policy::Resolver> FindResolvers(const std::vector<std::string>& configured, const std::string& resolv_conf) {
  std::vector<policy::Resolver> found;
  const auto add = [&found](const std::string& text) {
    std::optional<policy::Resolver> resolver = Parse(text);
    if (!resolver || found.size() == kMax) {
      return;
    }
    resolver->local = IsLocal(*resolver);
    if (std::ranges::find(found, *resolver) == found.end()) {
      found.push_back(*resolver);
    }
  };
  std::ranges::for_each(configured, add);
  std::ifstream file(resolv_conf);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string key, address;
    if (words >> key >> address && key == "nameserver") {
      add(address);
    }
  }
  return found;
}

}  // namespace moat::app
