// SPDX-License-Identifier: Apache-2.0
// Ways to connect: 23 connections over loopback, each accepted, and each carries one byte to its other end.
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <functional>

#include "agent/base/fd.h"
#include "tests/bpf/blind/case.h"
#include "tests/bpf/blind/network.h"
#include "tests/bpf/blind/uring.h"
#include "tests/bpf/net_kit.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

namespace moat::test {
namespace {

struct Ends {
  const char* listen_on = "127.0.0.1";
  const char* connect_to = "127.0.0.1";
  int protocol = IPPROTO_TCP;
};

int Socket(const char* address, int protocol) { return socket(Name(address, 0).family(), SOCK_STREAM | SOCK_CLOEXEC, protocol); }

// Reset at the last close: no TIME_WAIT that outlives the workload.
void ResetOnClose(int fd) {
  const linger now{1, 0};
  MOAT_CHILD_CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
}

// connect gets a new socket and the listener's name, and must leave it connected with the byte 'x' on its way.
auto Connecting(const Ends& ends, std::function<void(int, const Name&)> connect) {
  return [ends, connect](Stage&) {
    const Name any(ends.listen_on, 0);
    const int listener = Socket(ends.listen_on, ends.protocol);
    MOAT_CHILD_CHECK(listener >= 0 && bind(listener, any.get(), any.length) == 0 && listen(listener, kTimes) == 0);
    const int queue = kTimes;
    MOAT_CHILD_CHECK(ends.protocol != IPPROTO_TCP || setsockopt(listener, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof(queue)) == 0);
    const Name to(ends.connect_to, PortOf(listener));
    for (int i = 0; i < kTimes; ++i) {
      const int client = Socket(ends.connect_to, ends.protocol);
      MOAT_CHILD_CHECK(client >= 0);
      connect(client, to);
      const int server = accept(listener, nullptr, nullptr);
      char byte = 0;
      MOAT_CHILD_CHECK(server >= 0 && recv(server, &byte, 1, 0) == 1 && byte == 'x');
      // A handshake of MPTCP that fell back to TCP gives a socket of TCP.
      int protocol = 0;
      socklen_t length = sizeof(protocol);
      MOAT_CHILD_CHECK(getsockopt(server, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 && protocol == ends.protocol);
      ResetOnClose(client);
      close(client);
      close(server);
    }
  };
}

void Plain(int fd, const Name& to) { MOAT_CHILD_CHECK(connect(fd, to.get(), to.length) == 0 && send(fd, "x", 1, 0) == 1); }

// Connects and sends in one call. The first handshake brings a cookie of the server, and the others carry the byte in their SYN.
void FastOpen(Stage& stage) {
  OwnNetwork();
  WriteFile("/proc/sys/net/ipv4/tcp_fastopen", "3");  // of this network namespace: clients and servers
  int with_data = 0;
  Connecting({}, [&with_data](int fd, const Name& to) {
    MOAT_CHILD_CHECK(sendto(fd, "x", 1, MSG_FASTOPEN, to.get(), to.length) == 1);
    tcp_info info{};
    socklen_t length = sizeof(info);
    MOAT_CHILD_CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
    with_data += (info.tcpi_options & TCPI_OPT_SYN_DATA) != 0 ? 1 : 0;
  })(stage);
  MOAT_CHILD_CHECK(with_data == kTimes - 1);
}

void ByUring(int fd, const Name& to) {
  Uring ring;
  MOAT_CHILD_CHECK(ring.Do(Sqe(IORING_OP_CONNECT, fd, to.get(), 0, to.length)) == 0 && send(fd, "x", 1, 0) == 1);
}

std::string Lacks(const Ends& ends) {
  const Name name(ends.listen_on, 0);
  const Fd fd(Socket(ends.listen_on, ends.protocol));
  const bool can = fd && bind(fd.get(), name.get(), name.length) == 0;
  return can ? ""
             : "no sockets of protocol " + std::to_string(ends.protocol) + " on " + ends.listen_on + ": " + std::strerror(errno);
}

sockaddr_vm VsockName(unsigned cid, unsigned port) {
  sockaddr_vm name{};
  name.svm_family = AF_VSOCK;
  name.svm_cid = cid;
  name.svm_port = port;
  return name;
}

// A listener on a port of the kernel's choice, and that port; -1: errno says why not.
int VsockListener(unsigned& port) {
  const int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_vm name = VsockName(VMADDR_CID_LOCAL, VMADDR_PORT_ANY);
  socklen_t length = sizeof(name);
  auto* at = reinterpret_cast<sockaddr*>(&name);
  if (fd < 0 || bind(fd, at, length) != 0 || listen(fd, kTimes) != 0 || getsockname(fd, at, &length) != 0) {
    return -1;
  }
  port = name.svm_port;
  return fd;
}

// Connecting to the own machine needs the loopback transport (vsock_loopback, 5.6). Without it the kernel would take the number
// of the local machine for one of the hypervisor's, so it is asked by a bind, which sends nothing.
std::string VsockLacks() {
  unsigned port = 0;
  const Fd listener(VsockListener(port));
  return listener ? "" : std::string("vsock to the own machine: ") + std::strerror(errno);
}

void VsockConnects(Stage&) {
  unsigned port = 0;
  const int listener = VsockListener(port);
  MOAT_CHILD_CHECK(listener >= 0);
  for (int i = 0; i < kTimes; ++i) {
    const int client = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_vm name = VsockName(VMADDR_CID_LOCAL, port);
    MOAT_CHILD_CHECK(client >= 0 && connect(client, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0);
    const int server = accept(listener, nullptr, nullptr);
    char byte = 0;
    MOAT_CHILD_CHECK(server >= 0 && send(client, "x", 1, 0) == 1 && recv(server, &byte, 1, 0) == 1 && byte == 'x');
    close(client);
    close(server);
  }
}

void UringAccepts(Stage&) {
  Uring ring;
  const int listener = Listening("127.0.0.1");
  for (int i = 0; i < kTimes; ++i) {
    const int client = Connected("127.0.0.1", PortOf(listener), SOCK_STREAM);
    const int server = ring.Do(Sqe(IORING_OP_ACCEPT, listener, nullptr, 0));
    char byte = 0;
    MOAT_CHILD_CHECK(server >= 0 && send(client, "x", 1, 0) == 1 && recv(server, &byte, 1, 0) == 1 && byte == 'x');
    ResetOnClose(client);
    close(client);
    close(server);
  }
}

}  // namespace

void AddNetCases(std::vector<BlindSpot>& cases) {
  const Truth connects = {.connects = kTimes}, both = {.connects = kTimes, .bytes_out = kTimes};
  const auto add = [&](const char* name, std::vector<const char*> events, const char* exposure, std::function<void(Stage&)> act,
                       const Truth& truth, std::function<std::string()> unavailable = {}) {
    if (truth.bytes_out && std::ranges::find(events, std::string_view("net.sent")) == events.end()) {
      events.push_back("net.sent");
    }
    cases.push_back({.name = name,
                     .group = Group::kNet,
                     .events = std::move(events),
                     .exposure = exposure,
                     .unavailable = std::move(unavailable),
                     .act = std::move(act),
                     .truth = truth});
  };
  const Ends v4, v6 = {"::1", "::1"}, mapped = {"127.0.0.1", "::ffff:127.0.0.1"};
  const Ends mptcp = {.protocol = IPPROTO_MPTCP}, sctp = {.protocol = IPPROTO_SCTP};
  add("TCP connect", {"net.connect4"}, "", Connecting(v4, Plain), connects);
  add("TCP connect v6", {"net.connect6"}, "", Connecting(v6, Plain), connects, [v6] { return Lacks(v6); });
  add("TCP connect to a mapped address", {"net.connect6"}, "", Connecting(mapped, Plain), connects, [v6] { return Lacks(v6); });
  add("TCP Fast Open", {"net.connect4"}, "tfo", FastOpen, both);
  add("MPTCP connect", {"net.connect4"}, "mptcp", Connecting(mptcp, Plain), both, [mptcp] { return Lacks(mptcp); });
  add("SCTP connect", {"net.other_connect", "net.connect4"}, "sctp", Connecting(sctp, Plain), both,
      [sctp] { return Lacks(sctp); });
  add("io_uring connect", {"net.connect4"}, "io_uring", Connecting(v4, ByUring), connects,
      [] { return UringLacks({IORING_OP_CONNECT}); });
  add("vsock connect", {"net.other_connect", "net.connect4"}, "vsock", VsockConnects, both, VsockLacks);
  add("accept", {"net.accept"}, "", Connecting(v4, Plain), {.accepts = kTimes});
  add("io_uring accept", {"net.accept"}, "io_uring", UringAccepts, {.accepts = kTimes},
      [] { return UringLacks({IORING_OP_ACCEPT}); });
}

}  // namespace moat::test
