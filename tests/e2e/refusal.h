// SPDX-License-Identifier: Apache-2.0
// Kernels that refuse, played by seccomp filters: one BPF program, by name; or whatever outlives a program's descriptor.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "agent/base/fd.h"

namespace moat::e2e {

// To be run in the child, between fork and exec: from then on a call that attaches or pins a BPF program ends it, by SIGSYS.
// What was only loaded goes with its descriptors.
void EndWhenItAttaches();

// One program is refused; this process answers the filter's notices.
class Refusal {
 public:
  // program: as the kernel knows it, at most 15 bytes.
  explicit Refusal(std::string program);
  ~Refusal();

  // To be run in the child, between fork and exec.
  std::function<void()> InChild() const;
  // How often the program was refused so far.
  int refused() const { return refused_.load(); }

 private:
  void Answer();

  const std::string program_;
  Fd here_, there_;  // a socket pair: the child sends the filter's descriptor over it
  std::atomic<int> refused_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace moat::e2e
