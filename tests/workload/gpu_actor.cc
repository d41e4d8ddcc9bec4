// SPDX-License-Identifier: Apache-2.0
#include "tests/workload/gpu_actor.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "agent/base/fd.h"

namespace moat::gpu {
namespace {

[[noreturn]] void Die(const std::string& what) { throw Failure(what + ": " + std::strerror(errno)); }

uint64_t Pointer(void* at) { return reinterpret_cast<uint64_t>(at); }

// A message of one number, and at most one descriptor.
struct Message {
  uint32_t number = 0;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part{&number, sizeof(number)};
  msghdr header{};
  Message() {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
  }
  void WithFd() {
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    *CMSG_FIRSTHDR(&header) = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  }
};

}  // namespace

void Peer::Send(uint32_t number) const {
  Message message;
  message.number = number;
  if (sendmsg(socket_, &message.header, MSG_NOSIGNAL) != sizeof(number)) {
    Die("to the process beside");
  }
}

uint32_t Peer::Receive() const {
  Message message;
  if (recvmsg(socket_, &message.header, 0) != sizeof(message.number)) {
    throw Failure("the process beside has ended");
  }
  return message.number;
}

void Peer::SendFd(int fd) const {
  Message message;
  message.WithFd();
  std::memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message.header)), &fd, sizeof(fd));
  if (sendmsg(socket_, &message.header, MSG_NOSIGNAL) != sizeof(message.number)) {
    Die("a descriptor to the process beside");
  }
}

int Peer::ReceiveFd() const {
  Message message;
  message.WithFd();
  int fd = -1;
  if (recvmsg(socket_, &message.header, MSG_CMSG_CLOEXEC) != sizeof(message.number) ||
      CMSG_FIRSTHDR(&message.header) == nullptr) {
    throw Failure("no descriptor came from the process beside");
  }
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message.header)), sizeof(fd));
  return fd;
}

int Actor::Open(std::string_view node) {
  const auto found = setting_.nodes.find(node);
  if (found == setting_.nodes.end()) {
    throw Failure("there is no device \"" + std::string(node) + "\"");
  }
  const int fd = open(found->second.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    Die(found->second);
  }
  return fd;
}

void Actor::Call(int fd, const char* name, uint32_t word, void* params) { Count(name, ioctl(fd, word, params) != 0); }

void Actor::Count(const char* name, bool refused) {
  Figures& figures = figures_[name];
  ++figures.calls;
  figures.refused += refused ? 1 : 0;
}

void Actor::Do(int fd, const Command& command) {
  std::vector<std::byte> params(_IOC_SIZE(command.word) + sizeof(uint64_t));
  Call(fd, command.name, command.word, params.data());
}

void Actor::Beside(const std::function<void(Actor&, const Peer&)>& there, const std::function<void(const Peer&)>& here) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    Die("socketpair");
  }
  Fd mine(ends[0]);
  Fd theirs(ends[1]);
  const pid_t child = fork();
  if (child < 0) {
    Die("fork");
  }
  if (child == 0) {
    int status = 0;
    mine.Reset();
    try {
      Actor other(setting_);
      there(other, Peer(theirs.get()));
      other.Tell();
    } catch (const Failure& failure) {
      std::fprintf(stderr, "in the process beside: %s\n", failure.what());
      status = 1;
    }
    _exit(status);
  }
  theirs.Reset();
  std::string why;
  try {
    here(Peer(mine.get()));
  } catch (const Failure& failure) {  // not before the child has ended
    why = failure.what();
    mine.Reset();
  }
  int status = -1;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!why.empty() || status != 0) {
    throw Failure(why.empty() ? "the process beside has failed" : why);
  }
}

void Actor::Tell() {
  std::string lines;
  for (const auto& [name, figures] : figures_) {
    lines += std::to_string(getpid()) + " " + name + " " + std::to_string(figures.calls) + " " + std::to_string(figures.refused) +
             "\n";
  }
  if (write(setting_.out, lines.data(), lines.size()) != static_cast<ssize_t>(lines.size())) {
    Die("the figures");
  }
}

uint32_t Actor::NewClientHandle() { return 0xc1d00000u | (static_cast<uint32_t>(getpid()) & 0x7fff) << 5 | (++clients_ & 0x1f); }

Rm::Rm(Actor& actor, int fd) : actor_(actor), fd_(fd), client_(actor.NewClientHandle()) {
  const NVOS64_PARAMETERS words{.hRoot = client_, .hObjectNew = client_, .hClass = NV01_ROOT_CLIENT.id};
  actor_.Escaped(fd_, {NV01_ROOT_CLIENT.name, NV_ESC_RM_ALLOC.number}, words);
}

uint32_t Rm::Alloc(const RmClass& of, uint32_t parent) { return AllocWith(of, parent, nullptr); }

uint32_t Rm::AllocWith(const RmClass& of, uint32_t parent, void* params) {
  const uint32_t object = actor_.NewHandle();
  const NVOS64_PARAMETERS words{
      .hRoot = client_, .hObjectParent = parent, .hObjectNew = object, .hClass = of.id, .pAllocParms = Pointer(params)};
  actor_.Escaped(fd_, {of.name, NV_ESC_RM_ALLOC.number}, words);
  return object;
}

void Rm::Free(uint32_t parent, uint32_t object) {
  actor_.Escaped(fd_, NV_ESC_RM_FREE, NVOS00_PARAMETERS{.hRoot = client_, .hObjectParent = parent, .hObjectOld = object});
}

void Rm::Control(uint32_t object, const RmControl& control) {
  std::vector<std::byte> params(control.bytes);
  ControlWith(object, control, control.bytes != 0 ? params.data() : nullptr, control.bytes);
}

void Rm::ControlWith(uint32_t object, const RmControl& control, void* params, uint32_t bytes) {
  actor_.Escaped(fd_, {control.name, NV_ESC_RM_CONTROL.number},
                 Words(client_, object, {control.name, control.command, bytes}, params));
}

NVOS54_PARAMETERS Rm::Words(uint32_t client, uint32_t object, const RmControl& control, void* params) {
  return {.hClient = client, .hObject = object, .cmd = control.command, .params = Pointer(params), .paramsSize = control.bytes};
}

void Play(const Scenario& scenario, const Setting& setting) {
  Actor actor(setting);
  scenario.play(actor);
  actor.Tell();
}

bool AnswerYes() {
  sock_filter program[] = {{BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
                           {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_ioctl},
                           {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO},
                           {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
  const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

}  // namespace moat::gpu
