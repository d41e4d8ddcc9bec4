// SPDX-License-Identifier: Apache-2.0
// A thread with a name (seen in top -H and in stack dumps) and a stop token. Stopping and joining happen in the destructor or
// Stop(); what the body sleeps on must be woken by its owner first, or wait by a condition variable that takes the token.
#pragma once

#include <pthread.h>

#include <functional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

namespace moat {

class Worker {
 public:
  Worker() = default;
  // name: at most 15 bytes are kept (the kernel's limit).
  Worker(std::string name, std::function<void(std::stop_token)> body)
      : thread_([name = std::move(name), body = std::move(body)](const std::stop_token& stop) {
          pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
          body(stop);
        }) {}

  // Asks and waits. Safe to call twice; never from the thread itself.
  void Stop() {
    RequestStop();
    if (thread_.joinable()) {
      thread_.join();
    }
  }
  void RequestStop() { thread_.request_stop(); }
  bool running() const { return thread_.joinable(); }

 private:
  std::jthread thread_;
};

}  // namespace moat
