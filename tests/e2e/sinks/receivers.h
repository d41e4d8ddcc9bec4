// SPDX-License-Identifier: Apache-2.0
// Real receivers of syslog on loopback, each with a directory of its own, and certificates for both sides. All ends and goes with the objects.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"
#include "agent/config/sinks.h"

namespace moat::e2e {

// In `directory`: ca.pem, foreign-ca.pem; pairs NAME.pem and NAME.key: server (localhost, 127.0.0.1), elsewhere (another host's), client,
// foreign (a client's of the foreign CA).
Status MakeCertificates(const std::string& directory);

uint16_t FreePort();
bool IsListening(uint16_t port);  // someone on 127.0.0.1; without connecting: a receiver tells of who says nothing
std::string ReadAll(const std::string& path);

// A program that ends with the object, or with this process.
class Program {
 public:
  Program(const std::vector<std::string>& args, const std::vector<std::string>& environment, const std::string& log);
  ~Program() { End(9); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  int End(int signal);  // waits for it; the exit status, or 128 + the signal that ended it
  int Wait(int seconds);  // as End; killed when it takes longer
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  Fd input_;  // the other end of its standard input, on which nothing comes
};

class Receiver {
 public:
  enum class Kind { kSyslogNg, kRsyslog };
  static const char* Name(Kind kind) { return kind == Kind::kSyslogNg ? "syslog-ng" : "rsyslog"; }
  // Why this machine has none; empty: it has.
  static std::string WhyNot(Kind kind);

  // certificate: of MakeCertificates() in `certificates`.
  Receiver(Kind kind, std::string directory, std::string certificates, const std::string& certificate = "server");
  bool Start();  // false: it does not listen; its log is printed
  void Kill(int signal);
  void Signal(int signal) const;  // SIGSTOP, SIGCONT

  uint16_t port() const { return port_; }
  std::string Log() const;
  // What it wrote so far: lines of 'SDATA APP HOST MSGID FACILITY SEVERITY MESSAGE'.
  const std::string& output() const { return output_; }
  // This receiver as a sink; certificates of client, which is empty for none.
  config::SyslogSink Sink(const std::string& client = "client") const;

 private:
  const Kind kind_;
  const std::string directory_, certificates_, output_;
  const uint16_t port_;
  std::unique_ptr<Program> program_;
};

// What a receiver wrote, against what was sent: findings with the ids NumberToId(0) to NumberToId(sent - 1), in this order.
struct Arrivals {
  uint64_t distinct = 0, duplicates = 0;
  uint64_t foreign = 0;  // lines that are none of ours, or cut, or whose header and text do not belong together
  uint64_t jumps = 0, longest_jump = 0;  // places where a number follows that is not the next: backwards, how far
  uint64_t gaps = 0;  // jumps forwards over numbers that had not arrived
  std::string first_foreign;
};
std::string NumberToId(uint64_t number);
Arrivals ReadArrivals(const std::string& path, uint64_t sent);

}  // namespace moat::e2e
