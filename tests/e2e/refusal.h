// SPDX-License-Identifier: Apache-2.0
// A kernel that refuses one BPF program, played by a seccomp filter whose notices this process answers.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "agent/base/fd.h"

namespace moat::e2e {

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
