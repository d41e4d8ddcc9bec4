// SPDX-License-Identifier: Apache-2.0
// A descriptor in a message (SCM_RIGHTS), for workloads.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include "tests/bpf/fixture.h"

namespace moat::test {

struct PassingMessage {
  char byte = 'x';
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part{&byte, 1};
  msghdr message{};
  PassingMessage() {
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    *CMSG_FIRSTHDR(&message) = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  }
  int& fd() { return *reinterpret_cast<int*>(CMSG_DATA(CMSG_FIRSTHDR(&message))); }
};

// Sends fd over a socket of AF_UNIX and closes it here.
inline void SendFd(int socket, int fd) {
  PassingMessage passing;
  passing.fd() = fd;
  MOAT_CHILD_CHECK(sendmsg(socket, &passing.message, 0) == 1);
  close(fd);
}

inline int ReceiveFd(int socket) {
  PassingMessage passing;
  passing.fd() = -1;
  MOAT_CHILD_CHECK(recvmsg(socket, &passing.message, 0) == 1 && passing.fd() >= 0);
  return passing.fd();
}

}  // namespace moat::test
