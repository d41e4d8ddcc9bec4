// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/refusal.h"

#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace moat::e2e {
namespace {

// One byte and one descriptor.
struct Parcel {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  Parcel() {
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = room;
    header.msg_controllen = sizeof(room);
  }
};

void InstallAndSend(int socket) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, BPF_PROG_LOAD, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {std::size(code), code};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const auto listener =
      static_cast<int>(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter));
  Parcel parcel;
  cmsghdr* control = CMSG_FIRSTHDR(&parcel.header);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(control), &listener, sizeof(listener));
  if (listener < 0 || sendmsg(socket, &parcel.header, 0) != 1) {
    _exit(96);
  }
}

Fd Receive(int socket) {
  Parcel parcel;
  int fd = -1;
  if (recvmsg(socket, &parcel.header, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&parcel.header) != nullptr) {
    std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&parcel.header)), sizeof(fd));
  }
  return Fd(fd);
}

}  // namespace

void EndWhenItAttaches() {
  const auto is_command = [](bpf_cmd command, uint8_t skip) -> sock_filter {
    return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(command), skip, 0);
  };
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
      is_command(BPF_PROG_ATTACH, 4),
      is_command(BPF_RAW_TRACEPOINT_OPEN, 3),
      is_command(BPF_LINK_CREATE, 2),
      is_command(BPF_OBJ_PIN, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  const sock_fprog filter = {std::size(code), code};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) {
    _exit(96);
  }
}

Refusal::Refusal(std::string program) : program_(std::move(program)) {
  int pair[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  here_ = Fd(pair[0]);
  there_ = Fd(pair[1]);
  thread_ = std::thread([this] { Answer(); });
}

Refusal::~Refusal() {
  stop_ = true;
  shutdown(here_.get(), SHUT_RDWR);
  thread_.join();
}

std::function<void()> Refusal::InChild() const {
  return [socket = there_.get()] { InstallAndSend(socket); };
}

void Refusal::Answer() {
  const Fd listener = Receive(here_.get());
  while (listener && !stop_) {
    pollfd ready{.fd = listener.get(), .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, 100) <= 0) {
      continue;
    }
    if (ready.revents & POLLHUP) {
      return;  // nobody is left under the filter
    }
    seccomp_notif notice{};
    if (ioctl(listener.get(), SECCOMP_IOCTL_NOTIF_RECV, &notice) != 0) {
      continue;
    }
    char name[BPF_OBJ_NAME_LEN + 1] = {};
    const iovec to{name, BPF_OBJ_NAME_LEN};
    const iovec from{reinterpret_cast<void*>(notice.data.args[1] + offsetof(bpf_attr, prog_name)), BPF_OBJ_NAME_LEN};
    seccomp_notif_resp answer{};
    answer.id = notice.id;
    if (process_vm_readv(static_cast<pid_t>(notice.pid), &to, 1, &from, 1, 0) > 0 && program_ == name) {
      answer.error = -EINVAL;
      ++refused_;
    } else {
      answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    }
    ioctl(listener.get(), SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

}  // namespace moat::e2e
