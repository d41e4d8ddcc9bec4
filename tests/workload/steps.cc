// SPDX-License-Identifier: Apache-2.0
#include "tests/workload/steps.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

#include "agent/base/fd.h"

namespace moat::workload {
namespace {

constexpr size_t kBlock = 4096;  // O_DIRECT wants addresses, lengths and offsets in multiples of the block

[[noreturn]] void Die(const std::string& what) { throw Failure(what + ": " + std::strerror(errno)); }

uint64_t Number(const char* text) {
  std::string_view digits(text);
  const bool hex = digits.starts_with("0x");
  digits.remove_prefix(hex ? 2 : 0);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    throw Failure(std::string("'") + text + "' is not a number");
  }
  return value;
}

uint64_t NumberAt(Args args, size_t index, uint64_t otherwise) { return index < args.size() ? Number(args[index]) : otherwise; }

Fd Open(const char* path, int flags) {
  Fd fd(::open(path, flags | O_CLOEXEC, 0600));
  if (!fd) {
    Die(std::string("open ") + path);
  }
  return fd;
}

void ReadAll(const char* path, size_t chunk, int flags) {
  const Fd fd = Open(path, O_RDONLY | flags);
  chunk = std::max(kBlock, (chunk + kBlock - 1) / kBlock * kBlock);
  const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(kBlock, chunk), &std::free);
  uint64_t bytes = 0;
  uint64_t reads = 0;
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer.get(), chunk);
    if (n < 0) {
      Die(std::string("read ") + path);
    }
    if (n == 0) {
      break;
    }
    reads++;
    bytes += static_cast<uint64_t>(n);
  }
  std::printf("%s %s: %lu bytes in %lu reads\n", flags == 0 ? "read" : "direct", path, bytes, reads);
}

void Read(Args args) { ReadAll(args[0], NumberAt(args, 1, 65536), 0); }
void Direct(Args args) { ReadAll(args[0], NumberAt(args, 1, 65536), O_DIRECT); }

void Map(Args args) {
  const Fd fd = Open(args[0], O_RDONLY);
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0 || st.st_size == 0) {
    Die(std::string("fstat ") + args[0] + " (an empty file cannot be mapped)");
  }
  const auto length = static_cast<size_t>(st.st_size);
  void* map = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (map == MAP_FAILED) {
    Die(std::string("mmap ") + args[0]);
  }
  uint64_t sum = 0;
  for (size_t at = 0; at < length; at += kBlock) {
    sum += static_cast<const volatile unsigned char*>(map)[at];
  }
  ::munmap(map, length);
  std::printf("map %s: %zu bytes mapped, each page touched (sum %lu)\n", args[0], length, sum);
}

void Write(Args args) {
  const Fd fd = Open(args[0], O_WRONLY | O_CREAT | O_APPEND);
  const std::vector<char> bytes(Number(args[1]), 'w');
  if (::write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    Die(std::string("write ") + args[0]);
  }
  std::printf("write %s: %zu bytes in 1 write\n", args[0], bytes.size());
}

void Rename(Args args) {
  if (::rename(args[0], args[1]) != 0) {
    Die(std::string("rename ") + args[0]);
  }
  std::printf("rename %s %s\n", args[0], args[1]);
}

void Unlink(Args args) {
  if (::unlink(args[0]) != 0) {
    Die(std::string("unlink ") + args[0]);
  }
  std::printf("unlink %s\n", args[0]);
}

void Ioctl(Args args) {
  const Fd fd = Open(args[0], O_RDWR);
  const uint64_t command = Number(args[1]);
  const uint64_t count = NumberAt(args, 2, 1);
  alignas(8) unsigned char parameters[128];
  for (size_t i = 0; i < sizeof(parameters); i++) {
    parameters[i] = static_cast<unsigned char>(i);
  }
  uint64_t refused = 0;  // a stand-in such as /dev/null refuses all of them; the call is made all the same
  for (uint64_t i = 0; i < count; i++) {
    refused += ::ioctl(fd.get(), command, parameters) < 0 ? 1 : 0;
  }
  std::printf("ioctl %s 0x%lx: %lu calls, %lu refused\n", args[0], command, count, refused);
}

// A socket for a numeric address; connected when asked.
Fd Socket(const char* host, const char* port, int type, bool connect, sockaddr_storage* address, socklen_t* length) {
  addrinfo hints{};
  hints.ai_socktype = type;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host, port, &hints, &found); error != 0) {
    throw Failure(std::string(host) + " port " + port + ": " + ::gai_strerror(error) + " (give an address, not a name)");
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  std::memcpy(address, found->ai_addr, found->ai_addrlen);
  *length = found->ai_addrlen;
  Fd fd(::socket(found->ai_family, type | SOCK_CLOEXEC, 0));
  if (!fd || (connect && ::connect(fd.get(), found->ai_addr, found->ai_addrlen) != 0)) {
    Die(std::string("connect ") + host + " port " + port);
  }
  return fd;
}

void Connect(Args args) {
  sockaddr_storage address{};
  socklen_t length = 0;
  const Fd fd = Socket(args[0], args[1], SOCK_STREAM, true, &address, &length);
  const std::vector<char> bytes(NumberAt(args, 2, 0), 'c');
  size_t sent = 0;
  while (sent < bytes.size()) {
    const ssize_t n = ::send(fd.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n < 0) {
      Die(std::string("send to ") + args[0]);
    }
    sent += static_cast<size_t>(n);
  }
  // The other side reads to the end before it closes: the bytes have then arrived.
  ::shutdown(fd.get(), SHUT_WR);
  char end = 0;
  (void)::recv(fd.get(), &end, 1, 0);
  std::printf("connect %s %s: %zu bytes sent\n", args[0], args[1], sent);
}

void Udp(Args args) {
  sockaddr_storage address{};
  socklen_t length = 0;
  const Fd fd = Socket(args[0], args[1], SOCK_DGRAM, false, &address, &length);
  const std::vector<char> bytes(Number(args[2]), 'u');
  const uint64_t count = NumberAt(args, 3, 1);
  for (uint64_t i = 0; i < count; i++) {
    if (::sendto(fd.get(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&address), length) < 0) {
      Die(std::string("sendto ") + args[0]);
    }
  }
  std::printf("udp %s %s: %lu datagrams of %zu bytes\n", args[0], args[1], count, bytes.size());
}

// A loopback listener that reads and forgets, until it is killed. Prints its port first.
void Sink(Args) {
  const Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  if (!listener || ::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::listen(listener.get(), 64) != 0 || ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    Die("listen on loopback");
  }
  std::printf("%u\n", ntohs(address.sin_port));
  std::vector<char> buffer(1 << 16);
  for (;;) {
    const Fd peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    while (peer && ::recv(peer.get(), buffer.data(), buffer.size(), 0) > 0) {
    }
  }
}

void Sleep(Args args) { std::this_thread::sleep_for(std::chrono::milliseconds(Number(args[0]))); }

// Waits for a child; its failure is ours.
void Wait(pid_t pid, const char* what) {
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw Failure(std::string(what) + ": the child failed");
  }
}

[[noreturn]] void Exec(Args args) {
  std::vector<char*> argv(args.begin(), args.end());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  Die(std::string("exec ") + args[0]);
}

void Fork(Args rest) {
  const pid_t pid = ::fork();
  if (pid < 0) {
    Die("fork");
  }
  if (pid == 0) {
    int status = 0;
    try {
      RunSteps(rest);
    } catch (const Failure& failure) {
      std::fprintf(stderr, "moat-workload: in the child: %s\n", failure.what());
      status = 1;
    }
    std::fflush(stdout);
    ::_exit(status);
  }
  Wait(pid, "fork");
}

struct Step {
  const char* name;
  size_t min, max;  // arguments
  void (*run)(Args);
  const char* usage;
};

constexpr size_t kAny = SIZE_MAX;
constexpr Step kSteps[] = {
    {"read", 1, 2, Read, "read FILE [CHUNK]            open, read to the end in chunks (65536), close"},
    {"direct", 1, 2, Direct, "direct FILE [CHUNK]          the same with O_DIRECT"},
    {"map", 1, 1, Map, "map FILE                     open, mmap it whole (read, shared), touch each page, unmap"},
    {"write", 2, 2, Write, "write FILE BYTES             append in one write; makes the file"},
    {"rename", 2, 2, Rename, "rename FROM TO"},
    {"unlink", 1, 1, Unlink, "unlink FILE"},
    {"ioctl", 2, 3, Ioctl, "ioctl DEVICE COMMAND [COUNT] open, COUNT calls with 128 bytes of parameters (0, 1, 2, ...), close"},
    {"connect", 2, 3, Connect, "connect ADDRESS PORT [BYTES] TCP; sends BYTES, waits until the other side has read them"},
    {"udp", 3, 4, Udp, "udp ADDRESS PORT BYTES [COUNT]  COUNT unconnected datagrams"},
    {"sink", 0, 0, Sink, "sink                         listens on 127.0.0.1, prints the port, reads and forgets until killed"},
    {"sleep", 1, 1, Sleep, "sleep MILLISECONDS"},
    {"fork", 1, kAny, nullptr, "fork STEP [+ STEP]...     the rest in a child; waits for it"},
    {"exec", 1, kAny, nullptr, "exec PROGRAM [ARG]...        the rest of the line; does not return"},
};

}  // namespace

std::string Usage() {
  std::string text =
      "usage: moat-workload [--cgroup DIRECTORY] STEP [+ STEP]...\n\n"
      "Does exactly what it is told, in one process, and prints one line a step. --cgroup: joins that cgroup first.\n\n";
  for (const Step& step : kSteps) {
    text += std::string("  ") + step.usage + "\n";
  }
  return text + "\nExit status: 0 all done, 1 a step failed, 2 no argument.\n";
}

void RunSteps(Args words) {
  while (!words.empty()) {
    const Step* step = std::ranges::find_if(kSteps, [&](const Step& s) { return std::strcmp(s.name, words[0]) == 0; });
    if (step == std::end(kSteps)) {
      throw Failure(std::string("no step '") + words[0] + "'; see --help");
    }
    const bool takes_rest = step->run == nullptr;
    const auto end =
        takes_rest ? words.end() : std::ranges::find_if(words, [](const char* w) { return std::strcmp(w, "+") == 0; });
    const Args args(words.begin() + 1, end);
    if (args.size() < step->min || args.size() > step->max) {
      throw Failure(std::string("usage: ") + step->usage);
    }
    if (!takes_rest) {
      step->run(args);
    } else if (std::strcmp(step->name, "fork") == 0) {
      std::fflush(stdout);
      Fork(args);
    } else {
      std::fflush(stdout);
      Exec(args);
    }
    words = Args(end == words.end() ? end : end + 1, words.end());
  }
}

}  // namespace moat::workload
