// SPDX-License-Identifier: Apache-2.0
// libbpf's messages: to the log at debug level, and kept per thread so that a failed load can show the verifier's last words.
#pragma once

#include <string>

namespace moat::probe {

// Installs the handler; safe to call again. libbpf has one handler per process.
void CatchLibbpfLog();

// While alive, keeps what libbpf says on this thread. One per thread at a time.
class LogCapture {
 public:
  LogCapture();
  ~LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;

  // The last lines that explain a failure, without the register dumps; one string, lines joined by " | ".
  std::string Tail(size_t lines = 6) const;
  // The program that the last complaint is about ("prog 'NAME': ..."); empty: it is about none.
  std::string Program() const;
  void Add(const char* text);

 private:
  std::string text_;
};

}  // namespace moat::probe
