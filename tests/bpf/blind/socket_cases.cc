// SPDX-License-Identifier: Apache-2.0
// Ways to send: datagrams to 23 destinations, 127.0.0.1 to .23, which all arrive; and the bytes of a stream.
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip_icmp.h>

#include <algorithm>

#include "agent/base/fd.h"
#include "tests/bpf/blind/case.h"
#include "tests/bpf/blind/network.h"
#include "tests/bpf/blind/passing.h"
#include "tests/bpf/blind/uring.h"
#include "tests/bpf/net_kit.h"

namespace moat::test {
namespace {

constexpr int kExperimentalIp = 253;            // RFC 3692: for experiments, so nobody here listens to it
constexpr uint16_t kExperimentalEther = 0x88b5;  // IEEE 802: likewise

// Destination i of 23; the port does not matter to raw sockets.
Name To(int i, uint16_t port) { return {("127.0.0." + std::to_string(i + 1)).c_str(), port}; }

// The payload of message i: its number, and filling.
std::string Payload(int i) { return std::string(1, static_cast<char>('A' + i)) + std::string(kChunk - 1, 'p'); }

// 23 messages arrive on fd, in order; each holds its payload after `skip` bytes of headers.
void Arrive(int fd, size_t skip = 0) {
  for (int i = 0; i < kTimes; ++i) {
    char room[2 * kChunk];
    pollfd ready{fd, POLLIN, 0};
    MOAT_CHILD_CHECK(poll(&ready, 1, 5000) == 1);
    MOAT_CHILD_CHECK(recv(fd, room, sizeof(room), 0) == static_cast<ssize_t>(skip + kChunk));
    MOAT_CHILD_CHECK(std::string(room + skip, kChunk) == Payload(i));
  }
}

void SendTo(int fd, const std::string& message, const Name& to) {
  MOAT_CHILD_CHECK(sendto(fd, message.data(), message.size(), 0, to.get(), to.length) == static_cast<ssize_t>(message.size()));
}

void Udp(Stage&) {
  const int receiver = Bound("0.0.0.0", SOCK_DGRAM), sender = socket(AF_INET, SOCK_DGRAM, 0);
  for (int i = 0; i < kTimes; ++i) {
    SendTo(sender, Payload(i), To(i, PortOf(receiver)));
  }
  Arrive(receiver);
}

// 23 messages with the headers that sendmsg, sendmmsg and io_uring take.
class Messages {
 public:
  explicit Messages(uint16_t port) {
    for (int i = 0; i < kTimes; ++i) {
      names_.push_back(To(i, port));
      payloads_.push_back(Payload(i));
    }
    for (int i = 0; i < kTimes; ++i) {
      parts_.push_back({payloads_[i].data(), kChunk});
    }
    for (int i = 0; i < kTimes; ++i) {
      mmsghdr message{};
      message.msg_hdr.msg_name = &names_[i].storage;
      message.msg_hdr.msg_namelen = names_[i].length;
      message.msg_hdr.msg_iov = &parts_[i];
      message.msg_hdr.msg_iovlen = 1;
      all.push_back(message);
    }
  }
  std::vector<mmsghdr> all;

 private:
  std::vector<Name> names_;
  std::vector<std::string> payloads_;
  std::vector<iovec> parts_;
};

void Sendmmsg(Stage&) {
  const int receiver = Bound("0.0.0.0", SOCK_DGRAM), sender = socket(AF_INET, SOCK_DGRAM, 0);
  Messages messages(PortOf(receiver));
  MOAT_CHILD_CHECK(sendmmsg(sender, messages.all.data(), kTimes, 0) == kTimes);
  Arrive(receiver);
}

void UringSendmsg(Stage&) {
  const int receiver = Bound("0.0.0.0", SOCK_DGRAM), sender = socket(AF_INET, SOCK_DGRAM, 0);
  Uring ring;
  Messages messages(PortOf(receiver));
  for (const mmsghdr& message : messages.all) {
    MOAT_CHILD_CHECK(ring.Do(Sqe(IORING_OP_SENDMSG, sender, &message.msg_hdr, 1)) == int{kChunk});
  }
  Arrive(receiver);
}

void RawIp(Stage&) {
  const int receiver = socket(AF_INET, SOCK_RAW, kExperimentalIp), sender = socket(AF_INET, SOCK_RAW, kExperimentalIp);
  MOAT_CHILD_CHECK(receiver >= 0 && sender >= 0);
  for (int i = 0; i < kTimes; ++i) {
    SendTo(sender, Payload(i), To(i, 0));
  }
  Arrive(receiver, sizeof(iphdr));
}

uint16_t Checksum(const std::string& message) {
  uint32_t sum = 0;
  for (size_t i = 0; i < message.size(); ++i) {
    sum += static_cast<uint32_t>(static_cast<unsigned char>(message[i])) << (i % 2 == 0 ? 8 : 0);
  }
  sum = (sum >> 16) + (sum & 0xffff);
  sum += sum >> 16;
  return htons(static_cast<uint16_t>(~sum));
}

std::string Echo(int i) {
  icmphdr header{};
  header.type = ICMP_ECHO;
  header.un.echo.sequence = htons(static_cast<uint16_t>(i));
  std::string message = std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + Payload(i);
  header.checksum = Checksum(message);  // a ping socket makes its own; a raw one does not
  message.replace(0, sizeof(header), reinterpret_cast<const char*>(&header), sizeof(header));
  return message;
}

// Whoever may make ping sockets is a setting of the network namespace; its default is nobody.
void Ping(Stage&) {
  OwnNetwork();
  WriteFile("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
  const int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
  MOAT_CHILD_CHECK(fd >= 0);
  for (int i = 0; i < kTimes; ++i) {
    SendTo(fd, Echo(i), To(i, 0));
  }
  Arrive(fd, sizeof(icmphdr));  // the echoes
}

void RawIcmp(Stage&) {
  OwnNetwork();
  const int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  MOAT_CHILD_CHECK(fd >= 0);
  // A raw socket sees the requests too: only the echoes count. ICMP_FILTER (linux/icmp.h): a bit for each type to be dropped.
  const uint32_t drop = ~(1u << ICMP_ECHOREPLY);
  MOAT_CHILD_CHECK(setsockopt(fd, SOL_RAW, 1, &drop, sizeof(drop)) == 0);
  for (int i = 0; i < kTimes; ++i) {
    SendTo(fd, Echo(i), To(i, 0));
  }
  Arrive(fd, sizeof(iphdr) + sizeof(icmphdr));
}

// Frames to 23 addresses of hardware, through no protocol of the kernel's.
void Packet(Stage&) {
  OwnNetwork();
  const int receiver = socket(AF_PACKET, SOCK_DGRAM, htons(kExperimentalEther)), sender = socket(AF_PACKET, SOCK_DGRAM, 0);
  MOAT_CHILD_CHECK(receiver >= 0 && sender >= 0);
  for (int i = 0; i < kTimes; ++i) {
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_protocol = htons(kExperimentalEther);
    to.sll_ifindex = static_cast<int>(if_nametoindex("lo"));
    to.sll_halen = ETH_ALEN;
    to.sll_addr[0] = 2;  // locally administered
    to.sll_addr[5] = static_cast<unsigned char>(i);
    const std::string frame = Payload(i);
    MOAT_CHILD_CHECK(sendto(sender, frame.data(), kChunk, 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == ssize_t{kChunk});
  }
  Arrive(receiver);
}

// 23 sends on a connected stream, looked at when they arrive.
template <typename Send>
auto Streaming(Send send) {
  return [send](Stage& stage) {
    const Pair pair;
    for (int i = 0; i < kTimes; ++i) {
      MOAT_CHILD_CHECK(send(stage, pair.client) == static_cast<ssize_t>(kChunk));
      std::string got(kChunk, 0);
      MOAT_CHILD_CHECK(recv(pair.server, got.data(), kChunk, MSG_WAITALL) == ssize_t{kChunk} && got == std::string(kChunk, 'o'));
    }
  };
}

const std::string& Block() {
  static const std::string block(kChunk, 'o');  // as the stage's other file is filled
  return block;
}

ssize_t BySendfile(const Stage& stage, int socket) {
  static const int file = MustOpen(stage.other, O_RDONLY);
  return sendfile(socket, file, nullptr, kChunk);
}

ssize_t BySplice(const Stage& stage, int socket) {
  int pipe[2];
  const int file = MustOpen(stage.other, O_RDONLY);
  MOAT_CHILD_CHECK(pipe2(pipe, O_CLOEXEC) == 0 && splice(file, nullptr, pipe[1], nullptr, kChunk, 0) == ssize_t{kChunk});
  const ssize_t sent = splice(pipe[0], nullptr, socket, nullptr, kChunk, 0);
  for (const int fd : {pipe[0], pipe[1], file}) {
    close(fd);
  }
  return sent;
}

ssize_t ByUring(const Stage&, int socket) {
  static Uring ring;
  return ring.Do(Sqe(IORING_OP_SEND, socket, Block().data(), kChunk));
}

// A connection of the test's own, outside the scope: the workload gets its client end in a message.
void SendConnection(Stage& stage) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
  Pair connection;
  SendFd(pair[0], std::exchange(connection.client, -1));
  close(pair[0]);
  stage.peer = pair[1];
  stage.fd = std::exchange(connection.server, -1);
}

void UseConnection(Stage& stage) {
  const int client = ReceiveFd(stage.peer);
  for (int i = 0; i < kTimes; ++i) {
    SendAll(client, kChunk);
    TakeAll(stage.fd, kChunk);
  }
  const linger now{1, 0};
  MOAT_CHILD_CHECK(setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
}

}  // namespace

void AddSocketCases(std::vector<BlindSpot>& cases) {
  const Truth datagrams = {.sends = kTimes, .bytes_out = kTimes * kChunk}, stream = {.bytes_out = kTimes * kChunk};
  const Truth pings = {.sends = kTimes, .bytes_out = kTimes * (kChunk + sizeof(icmphdr))};
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
  const auto no = [](int family, int type, int protocol) {
    return [=]() -> std::string {
      const Fd fd(socket(family, type, protocol));
      return fd ? "" : std::string("socket: ") + std::strerror(errno);
    };
  };
  add("UDP sendto", {"net.sendmsg4"}, "bytes", Udp, datagrams);
  add("UDP sendmmsg", {"net.sendmsg4"}, "sendmmsg", Sendmmsg, datagrams);
  add("io_uring sendmsg", {"net.sendmsg4"}, "io_uring", UringSendmsg, datagrams, [] { return UringLacks({IORING_OP_SENDMSG}); });
  add("raw IP socket", {"net.other_send", "net.sendmsg4"}, "raw_socket", RawIp, datagrams);
  add("ICMP ping socket", {"net.other_send", "net.sendmsg4"}, "icmp", Ping, pings);
  add("raw ICMP socket", {"net.other_send", "net.sendmsg4"}, "icmp", RawIcmp, pings);
  add("packet socket", {"net.other_send", "net.sendmsg4"}, "packet", Packet, datagrams, no(AF_PACKET, SOCK_DGRAM, 0));
  add("send", {"net.sent"}, "bytes", Streaming([](Stage&, int socket) { return send(socket, Block().data(), kChunk, 0); }),
      stream);
  add("sendfile to a socket", {"net.sent"}, "bytes", Streaming(BySendfile), stream);
  add("splice to a socket", {"net.sent"}, "bytes", Streaming(BySplice), stream);
  add("io_uring send", {"net.sent"}, "io_uring", Streaming(ByUring), stream, [] { return UringLacks({IORING_OP_SEND}); });
  cases.push_back({.name = "send on a received socket",
                   .group = Group::kNet,
                   .events = {"net.sent"},
                   .exposure = "passed_fd",
                   .setup = SendConnection,
                   .act = UseConnection,
                   .cleanup =
                       [](Stage& stage) {
                         close(stage.fd);
                         close(stage.peer);
                       },
                   .truth = stream});
}

}  // namespace moat::test
