// SPDX-License-Identifier: Apache-2.0
#include "tests/scenarios/stage.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

namespace moat::scenarios {
namespace {

constexpr const char* kOwnAddress = "10.66.0.2";

sockaddr_in Name(const char* address, uint16_t port) {
  sockaddr_in name{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {}, .sin_zero = {}};
  Check(inet_pton(AF_INET, address, &name.sin_addr) == 1);
  return name;
}

int Connected(const char* address, uint16_t port, int* error) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in own = Name(kOwnAddress, 0), peer = Name(address, port);
  Check(fd >= 0 && ::bind(fd, reinterpret_cast<const sockaddr*>(&own), sizeof(own)) == 0);
  *error = ::connect(fd, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) == 0 ? 0 : errno;
  return fd;
}

}  // namespace

void Check(bool ok) {
  if (!ok) {
    ::_exit(1);
  }
}

void ReadFile(const std::string& path, double share) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info{};
  Check(fd >= 0 && ::fstat(fd, &info) == 0);
  std::vector<char> block(1 << 20);
  for (auto left = static_cast<ssize_t>(static_cast<double>(info.st_size) * share); left > 0;) {
    const ssize_t got = ::read(fd, block.data(), std::min<size_t>(block.size(), static_cast<size_t>(left)));
    Check(got > 0);
    left -= got;
  }
  ::close(fd);
}

void Send(const char* address, uint16_t port, size_t bytes) {
  int error = 0;
  const int fd = Connected(address, port, &error);
  Check(error == 0);
  const std::vector<char> block(1 << 20, 'x');
  while (bytes > 0) {
    const ssize_t sent = ::send(fd, block.data(), std::min(block.size(), bytes), MSG_NOSIGNAL);
    Check(sent > 0);
    bytes -= static_cast<size_t>(sent);
  }
  ::close(fd);
}

void TrySend(const char* address, uint16_t port, size_t bytes) {
  int error = 0;
  const int fd = Connected(address, port, &error);
  const timeval half{0, 500'000};
  const int room = 64 << 10;  // so that what cannot leave is noticed
  Check(::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &half, sizeof(half)) == 0 &&
        ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0);
  const std::vector<char> block(1 << 16, 'x');
  while (error == 0 && bytes > 0) {
    const ssize_t sent = ::send(fd, block.data(), std::min(block.size(), bytes), MSG_NOSIGNAL);
    error = sent <= 0 ? errno : 0;
    bytes -= static_cast<size_t>(std::max<ssize_t>(sent, 0));
  }
  ::close(fd);
}

void Ask(const char* address, const std::string& name) {
  std::string message("\x42\x42\1\0\0\1\0\0\0\0\0\0", 12);
  for (size_t begin = 0; begin < name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    message += static_cast<char>(end - begin);
    message.append(name, begin, end - begin);
    begin = end + 1;
  }
  message.append("\0\0\x10\0\1", 5);
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const sockaddr_in own = Name(kOwnAddress, 0), peer = Name(address, 53);
  Check(fd >= 0 && ::bind(fd, reinterpret_cast<const sockaddr*>(&own), sizeof(own)) == 0);
  // Unconnected: that nobody listens there is then no error
  Check(::sendto(fd, message.data(), message.size(), 0, reinterpret_cast<const sockaddr*>(&peer), sizeof(peer)) ==
        static_cast<ssize_t>(message.size()));
  ::close(fd);
}

int Call(const char* address, uint16_t port) {
  int error = 0;
  ::close(Connected(address, port, &error));
  return error;
}

int Connect(const char* address, uint16_t port) {
  int error = 0;
  const int fd = Connected(address, port, &error);
  Check(error == 0 && ::fcntl(fd, F_SETFD, 0) == 0);
  return fd;
}

void RunWith(int input, int output, const std::vector<std::string>& argv) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    Check(::dup2(input, STDIN_FILENO) >= 0 && ::dup2(output, STDOUT_FILENO) >= 0 && ::dup2(output, STDERR_FILENO) >= 0);
    Execute(argv.front(), argv);
  }
  int status = 0;
  Check(pid > 0 && ::waitpid(pid, &status, 0) == pid && !(WIFEXITED(status) && WEXITSTATUS(status) == 127));
}

void InChild(const std::function<void()>& work) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    work();
    ::_exit(0);
  }
  int status = 1;
  Check(pid > 0 && ::waitpid(pid, &status, 0) == pid && status == 0);
}

void Execute(const std::string& program, const std::vector<std::string>& argv) {
  std::vector<char*> words;
  for (const std::string& arg : argv) {
    words.push_back(const_cast<char*>(arg.c_str()));
  }
  words.push_back(nullptr);
  ::execv(program.c_str(), words.data());
  ::_exit(127);
}

void RunAs(const std::string& program, const std::vector<std::string>& argv) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, STDIN_FILENO);
    ::dup2(null, STDOUT_FILENO);
    ::dup2(null, STDERR_FILENO);
    Execute(program, argv);
  }
  int status = 0;
  Check(pid > 0 && ::waitpid(pid, &status, 0) == pid && !(WIFEXITED(status) && WEXITSTATUS(status) == 127));
}

void Run(const std::vector<std::string>& argv) { RunAs(argv.front(), argv); }

std::string CopyOf(const Site& site, const std::string& program, const std::string& name) {
  const std::string copy = site.scratch + "/" + name;
  std::error_code error;
  std::filesystem::copy_file(program, copy, std::filesystem::copy_options::overwrite_existing, error);
  Check(!error && ::chmod(copy.c_str(), 0755) == 0);
  return copy;
}

}  // namespace moat::scenarios
