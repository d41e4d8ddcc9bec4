// SPDX-License-Identifier: Apache-2.0
// Logins with passwords on a machine whose accounts are a test's own. In a process of the workload, which is root and has a network namespace
// of its own; a step that fails says why on standard error and ends the process with status 1.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace moat::workload {

inline constexpr const char* kRightPassword = "right horse";

// user0 to user11, whose password that is, in place of the host's users; services su, without a delay, and sshd, as Debian has it. For this
// process and its children, which get an empty /run and /var/log too: nothing of the host is asked or written.
void OwnAccounts(const std::string& scratch);

// By su as Debian has it, from nobody, who is asked for a password.
void Su(const std::string& user, const std::string& password);

// Debian's sshd with PAM, and its ssh, from their packages below the build folder. After OwnAccounts(); the host's libpam, as for all.
class Sshd {
 public:
  static std::string WhyNot();  // unpacks them first; empty: it can be played

  Sshd(std::string scratch, std::string address);
  ~Sshd();  // with all that it started
  Sshd(const Sshd&) = delete;
  Sshd& operator=(const Sshd&) = delete;

  // A connection from an address of this network. Each question is answered with the next password, and when there is none left the client
  // hangs up; at the third wrong one it gives up. in: what must come of it.
  enum class Method { kPassword, kKeyboard };  // keyboard-interactive: PAM asks while it authenticates
  void Login(const std::string& from, const std::string& user, const std::vector<std::string>& passwords, bool in,
             Method method = Method::kPassword, const std::vector<std::string>& keys = {}) const;
  std::string NewKey(const std::string& name) const;  // that the server does not know

 private:
  void Fail(const std::string& what) const;  // with what sshd says

  const std::string scratch_, address_;
  pid_t pid_ = -1;
};

}  // namespace moat::workload
