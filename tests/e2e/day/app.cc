// SPDX-License-Identifier: Apache-2.0
// moat_day_app FILE: all that is in the images of the day's pods. Does what the lines of FILE say, as they come, and prints a line about each:
// the line's number, errno of what it came to, and a figure.
//   read PATH              bytes read
//   copy FROM TO           bytes written
//   send ADDRESS PORT N    bytes sent
//   serve PORT             answers each caller with a block of bytes from then on
//   gpu NAME               calls of a scenario of moat-gpu-workload: errno EPERM and how many, if any were refused; 0 and how many, if none
//   open PATH              the descriptor is closed again
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/workload/gpu_scenarios.h"

namespace {

struct Outcome {
  int error = 0;
  unsigned long long figure = 0;
};

Outcome Copy(const std::string& from, const std::string& to) {
  std::vector<char> block(1 << 20);
  Outcome done;
  const int in = ::open(from.c_str(), O_RDONLY | O_CLOEXEC);
  const int out = in < 0 || to.empty() ? -1 : ::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (in < 0 || (out < 0 && !to.empty())) {
    return {.error = errno};
  }
  for (ssize_t got = 0; (got = ::read(in, block.data(), block.size())) != 0;) {
    if (got < 0 || (out >= 0 && ::write(out, block.data(), static_cast<size_t>(got)) != got)) {
      done.error = errno;
      break;
    }
    done.figure += static_cast<unsigned long long>(got);
  }
  ::close(in);
  ::close(out);
  return done;
}

sockaddr_in Name(const std::string& address, int port) {
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, address.c_str(), &name.sin_addr);
  return name;
}

Outcome Send(const std::string& address, int port, size_t bytes) {
  const sockaddr_in name = Name(address, port);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Outcome done;
  const std::vector<char> block(1 << 16, 'w');
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
    done.error = errno;
  }
  while (done.error == 0 && done.figure < bytes) {
    const ssize_t sent = ::send(fd, block.data(), block.size(), MSG_NOSIGNAL);
    sent < 0 ? void(done.error = errno) : void(done.figure += static_cast<unsigned long long>(sent));
  }
  ::close(fd);
  return done;
}

Outcome Serve(int port) {
  const sockaddr_in name = Name("0.0.0.0", port);
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0 || ::listen(fd, 16) != 0) {
    return {.error = errno};
  }
  std::thread([fd] {
    const std::string answer(4096, 'a');
    for (int peer = 0; (peer = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC)) >= 0; ::close(peer)) {
      (void)!::write(peer, answer.data(), answer.size());
    }
  }).detach();
  return {};
}

// In a child: the scenario's descriptors stay open until the process that plays it ends.
Outcome Gpu(const std::string& name) {
  const moat::gpu::Scenario* const scenario = moat::gpu::FindScenario(name);
  const int figures = ::memfd_create("figures", 0);
  if (scenario == nullptr || figures < 0) {
    return {.error = EINVAL};
  }
  const pid_t child = ::fork();
  if (child == 0) {
    moat::gpu::Setting setting = moat::gpu::DefaultSetting();
    setting.out = figures;
    try {
      moat::gpu::Play(*scenario, setting);
    } catch (const moat::gpu::Failure&) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  std::ifstream lines("/proc/self/fd/" + std::to_string(figures));
  unsigned long long pid = 0, calls = 0, refused = 0, all = 0, denied = 0;
  for (std::string call; lines >> pid >> call >> calls >> refused;) {
    all += calls;
    denied += refused;
  }
  ::close(figures);
  return status != 0 ? Outcome{.error = EIO} : denied != 0 ? Outcome{.error = EPERM, .figure = denied} : Outcome{.figure = all};
}

Outcome Do(const std::string& line) {
  std::istringstream words(line);
  std::string verb, first, second;
  size_t bytes = 0;
  words >> verb >> first >> second >> bytes;
  if (verb == "read" || verb == "copy") {
    return Copy(first, second);
  }
  if (verb == "send") {
    return Send(first, std::atoi(second.c_str()), bytes);
  }
  if (verb == "serve") {
    return Serve(std::atoi(first.c_str()));
  }
  if (verb == "gpu") {
    return Gpu(first);
  }
  if (verb == "open") {
    const int fd = ::open(first.c_str(), O_RDONLY | O_CLOEXEC);
    const Outcome done{.error = fd < 0 ? errno : 0};
    ::close(fd);
    return done;
  }
  return {.error = EINVAL};
}

}  // namespace

int main(int argc, char** argv) {
  // The first process of a pid namespace dies of no signal that it does not handle.
  for (const int number : {SIGTERM, SIGINT}) {
    ::signal(number, [](int) { ::_exit(0); });
  }
  std::printf("0 0 0\n");
  std::fflush(stdout);
  if (argc < 2) {
    for (;;) {
      ::pause();  // the one that holds a pod together
    }
  }
  std::ifstream file(argv[1]);
  std::string line;
  for (unsigned long long number = 1;;) {
    // A line is there with its end.
    const auto at = file.tellg();
    if (!std::getline(file, line) || file.eof()) {
      file.clear();
      file.seekg(at);
      ::usleep(2000);
      continue;
    }
    const Outcome done = Do(line);
    std::printf("%llu %d %llu\n", number++, done.error, done.figure);
    std::fflush(stdout);
  }
}
