// SPDX-License-Identifier: Apache-2.0
// For scenarios: a process that calls drivers and counts what it calls, and a client of NVIDIA's resource manager.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tests/workload/gpu_protocol.h"
#include "tests/workload/gpu_scenarios.h"

namespace moat::gpu {

// A socket to the process beside; what cannot be sent or received is a Failure.
class Peer {
 public:
  explicit Peer(int socket) : socket_(socket) {}
  void Send(uint32_t number) const;
  uint32_t Receive() const;
  void SendFd(int fd) const;  // SCM_RIGHTS; fd stays open here
  int ReceiveFd() const;

 private:
  int socket_;
};

// One process. Not for several threads.
class Actor {
 public:
  explicit Actor(const Setting& setting) : setting_(setting) {}

  int Open(std::string_view node);  // open until the process ends
  // All calls come by here. Counted by the name that moat has for them: of the class where one is allocated, of the control where one is made.
  void Call(int fd, const char* name, uint32_t word, void* params);
  void Count(const char* name, bool refused);  // of a call that was made otherwise

  template <typename T>
  T Escaped(int fd, const Escape& escape, T params) {
    Call(fd, escape.name, _IOC(_IOC_READ | _IOC_WRITE, 'F', escape.number, sizeof(T)), &params);
    return params;
  }
  template <typename T>
  void Uvm(int fd, T params) {
    Call(fd, kUvmCall<T>.name, kUvmCall<T>.word, &params);
  }
  template <typename T>
  void Do(int fd, const Command& command, T params) {
    Call(fd, command.name, command.word, &params);
  }
  void Do(int fd, const Command& command);  // with zeros

  // Forks a process that does `there`, while this one does `here`; waits for its end. It begins with none of this one's counts. Calls of the
  // two at one time are to be avoided: where a kernel preempts moat's programs it skips the second's (bpf/lib/hook.bpf.h).
  void Beside(const std::function<void(Actor&, const Peer&)>& there, const std::function<void(const Peer&)>& here);

  void Tell();  // writes the figures
  const Setting& setting() const { return setting_; }
  uint32_t NewClientHandle();  // as the driver gives them: no two alike on a host
  uint32_t NewHandle() { return 0x5c000000 + ++handles_; }

 private:
  struct Figures {
    uint64_t calls = 0, refused = 0;
  };
  const Setting& setting_;
  std::map<std::string, Figures> figures_;
  uint32_t clients_ = 0, handles_ = 0;
};

// A client of the resource manager, made through a control file.
class Rm {
 public:
  Rm(Actor& actor, int fd);
  int fd() const { return fd_; }
  uint32_t client() const { return client_; }

  uint32_t Alloc(const RmClass& of, uint32_t parent);  // the new object
  template <typename T>
  uint32_t Alloc(const RmClass& of, uint32_t parent, T params) {
    return AllocWith(of, parent, &params);
  }
  void Free(uint32_t parent, uint32_t object);
  void Control(uint32_t object, const RmControl& control);  // with zeros
  template <typename T>
  T Control(uint32_t object, const RmControl& control, T params) {
    ControlWith(object, control, &params, sizeof(T));
    return params;
  }
  // The words of a control, for who sends them another way.
  static NVOS54_PARAMETERS Words(uint32_t client, uint32_t object, const RmControl& control, void* params);

 private:
  uint32_t AllocWith(const RmClass& of, uint32_t parent, void* params);
  void ControlWith(uint32_t object, const RmControl& control, void* params, uint32_t bytes);

  Actor& actor_;
  int fd_;
  uint32_t client_;
};

}  // namespace moat::gpu
