// SPDX-License-Identifier: Apache-2.0
// Loopback sockets for the net tests. What happens in a workload is checked there (MOAT_CHILD_CHECK); ports are the kernel's.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/bpf/inspect.h"

namespace moat::test {

// "127.0.0.1", "::1" or "::ffff:127.0.0.1", and a port.
struct Name {
  sockaddr_storage storage{};
  socklen_t length = 0;
  Name(const char* address, uint16_t port) {
    if (std::strchr(address, ':') != nullptr) {
      auto* to = reinterpret_cast<sockaddr_in6*>(&storage);
      to->sin6_family = AF_INET6;
      to->sin6_port = htons(port);
      MOAT_CHILD_CHECK(inet_pton(AF_INET6, address, &to->sin6_addr) == 1);
      length = sizeof(*to);
    } else {
      auto* to = reinterpret_cast<sockaddr_in*>(&storage);
      to->sin_family = AF_INET;
      to->sin_port = htons(port);
      MOAT_CHILD_CHECK(inet_pton(AF_INET, address, &to->sin_addr) == 1);
      length = sizeof(*to);
    }
  }
  int family() const { return storage.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

inline uint16_t PortOf(int fd) {
  sockaddr_in6 name{};
  socklen_t length = sizeof(name);
  MOAT_CHILD_CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) == 0);
  return ntohs(name.sin6_port);  // at the same place in both families
}

// A socket bound to a free port of the address.
inline int Bound(const char* address, int type) {
  const Name name(address, 0);
  const int fd = socket(name.family(), type, 0);
  MOAT_CHILD_CHECK(fd >= 0 && bind(fd, name.get(), name.length) == 0);
  return fd;
}

inline int Listening(const char* address) {
  const int fd = Bound(address, SOCK_STREAM);
  MOAT_CHILD_CHECK(listen(fd, 64) == 0);
  return fd;
}

// A new socket connected to the address; type SOCK_STREAM or SOCK_DGRAM.
inline int Connected(const char* address, uint16_t port, int type) {
  const Name name(address, port);
  const int fd = socket(name.family(), type, 0);
  MOAT_CHILD_CHECK(fd >= 0 && connect(fd, name.get(), name.length) == 0);
  return fd;
}

inline void SendAll(int fd, size_t bytes) {
  const std::string block(bytes, 's');
  MOAT_CHILD_CHECK(send(fd, block.data(), bytes, 0) == static_cast<ssize_t>(bytes));
}

inline void TakeAll(int fd, size_t bytes) {
  std::string block(bytes, 0);
  MOAT_CHILD_CHECK(recv(fd, block.data(), bytes, MSG_WAITALL) == static_cast<ssize_t>(bytes));
}

// TCP over loopback, both ends in this process: .client has connected to .listener, .server was accepted.
struct Pair {
  int listener, client, server;
  explicit Pair(const char* listen_on = "127.0.0.1", const char* connect_to = nullptr) {
    listener = Listening(listen_on);
    client = Connected(connect_to != nullptr ? connect_to : listen_on, PortOf(listener), SOCK_STREAM);
    server = accept(listener, nullptr, nullptr);
    MOAT_CHILD_CHECK(server >= 0);
  }
  ~Pair() {
    for (const int fd : {client, server, listener}) {
      close(fd);
    }
  }
};

inline std::string AddressOf(const uint8_t (&address)[16], uint16_t family) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(family, address, text, sizeof(text));
  return text;
}

// "127.0.0.1:1 > 127.0.0.1:2 tcp"
inline std::string ToString(const moat_endpoints& ep) {
  return AddressOf(ep.local, ep.family) + ":" + std::to_string(ep.local_port) + " > " + AddressOf(ep.remote, ep.family) + ":" +
         std::to_string(ep.remote_port) +
         (ep.protocol == IPPROTO_TCP   ? " tcp"
          : ep.protocol == IPPROTO_UDP ? " udp"
                                       : " other");
}

class NetBpfTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    config().process = config().file = config().gpu = false;
  }

  std::vector<moat_net_event> Events(moat_kind kind) { return Of<moat_net_event>(kind); }
  std::vector<moat_net_close> Closes() { return Of<moat_net_close>(MOAT_KIND_NET_CLOSE); }
  // The close of a socket; fails the test unless there is exactly one.
  moat_net_close CloseOf(uint64_t cookie) {
    std::vector<moat_net_close> found;
    for (const moat_net_close& close : Closes()) {
      if (close.cookie == cookie) {
        found.push_back(close);
      }
    }
    EXPECT_EQ(found.size(), 1u) << "closes of socket " << cookie << "; all: " << Summary();
    return found.empty() ? moat_net_close{} : found.front();
  }
  // TCP may end in soft-irq after the last close(), when a packet is sent again even seconds after it.
  void WaitForCloses(size_t count) {
    for (int i = 0; i < 2000 && Closes().size() < count; ++i) {
      usleep(5000);
      DrainAll();
    }
    EXPECT_EQ(Closes().size(), count) << Summary();
    for (const auto& [cookie, flow] : MapRows<uint64_t, moat_flow>("moat_flows")) {
      ADD_FAILURE() << "flow left: socket " << cookie << ", " << ToString(flow.ep) << ", flags " << flow.net_flags;
    }
  }
};

}  // namespace moat::test
