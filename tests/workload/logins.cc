// SPDX-License-Identifier: Apache-2.0
#include "tests/workload/logins.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "agent/base/child.h"

namespace moat::workload {
namespace {

using namespace std::chrono_literals;

const std::string kFolder = std::string(MOAT_BINARY_DIR) + "/sshd";
const std::string kFiles = kFolder + "/files";
const std::string kLibraries = kFiles + "/lib/x86_64-linux-gnu:" + kFiles + "/usr/lib/x86_64-linux-gnu";

void Must(bool ok, const std::string& what) {
  if (!ok) {
    std::cerr << what << ": " << std::strerror(errno) << std::endl;
    ::_exit(1);
  }
}

void Put(const std::string& path, const std::string& text, mode_t mode = 0644) {
  std::ofstream(path) << text;
  Must(::chmod(path.c_str(), mode) == 0, path);
}

void Over(const std::string& what, const char* where) {
  Must(::mount(what.c_str(), where, nullptr, MS_BIND, nullptr) == 0, where);
}

// Forks; the child runs the program with nothing to read, and says nothing. before: in the child.
template <typename Before>
pid_t Start(const std::vector<std::string>& argv, Before before) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int null = ::open("/dev/null", O_RDWR);
    Must(::dup2(null, 0) == 0 && ::dup2(null, 1) == 1 && ::dup2(null, 2) == 2, "/dev/null");
    before();
    std::vector<char*> words;
    for (const std::string& arg : argv) {
      words.push_back(const_cast<char*>(arg.c_str()));
    }
    words.push_back(nullptr);
    ::execv(words[0], words.data());
    ::_exit(127);
  }
  Must(pid > 0, "fork");
  return pid;
}

int Wait(pid_t pid) {
  int status = 0;
  Must(::waitpid(pid, &status, 0) == pid, "waitpid");
  return status;
}

}  // namespace

void OwnAccounts(const std::string& scratch) {
  const std::string passwd = scratch + "/passwd", shadow = scratch + "/shadow", services = scratch + "/pam.d";
  std::string users = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n";
  std::string secrets = "root:*:19000:0:99999:7:::\n";
  for (int i = 0; i < 12; ++i) {
    const std::string name = "user" + std::to_string(i), number = std::to_string(4242 + i);
    users.append(name).append(":x:").append(number).append(":").append(number).append("::/:/bin/sh\n");
    // kRightPassword
    secrets.append(name)
        .append(":$6$moatsalt$x9SoOr0ff3JACZmRUU8wwHiMcHDa/Ilf.dP/8udsB7WUTJi6z5O5wuZlp4Vzgmgt51CaHJPXU8ra8F6Wfk6w70:")
        .append("19000:0:99999:7:::\n");
  }
  Put(passwd, users);
  Put(shadow, secrets, 0600);
  Must(::mkdir(services.c_str(), 0755) == 0, services);
  Put(services + "/su", "auth required pam_unix.so nodelay\naccount required pam_unix.so\nsession required pam_permit.so\n");
  for (const char* step : {"auth", "account", "session", "password"}) {
    Put(services + "/common-" + step, std::string(step) + " required pam_unix.so nodelay\n");
  }
  std::error_code none;  // then sshd has none, and WhyNot() said so
  std::filesystem::copy_file(kFiles + "/etc/pam.d/sshd", services + "/sshd", none);
  Must(::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "unshare");
  Over(passwd, "/etc/passwd");
  Over(shadow, "/etc/shadow");
  Over(services, "/etc/pam.d");
  for (const char* folder : {"/run", "/var/log"}) {
    Must(::mount("moat-test", folder, "tmpfs", 0, "mode=755") == 0, folder);
  }
  Must(::mkdir("/run/sshd", 0755) == 0, "/run/sshd");
}

void Su(const std::string& user, const std::string& password) {
  int ends[2];
  const std::string line = password + "\n";
  Must(::pipe2(ends, O_CLOEXEC) == 0 && ::write(ends[1], line.data(), line.size()) == static_cast<ssize_t>(line.size()), "pipe");
  const pid_t pid = Start({"/usr/bin/su", "-c", "true", user}, [&] {
    ::setsid();
    Must(::dup2(ends[0], 0) == 0 && ::setgroups(0, nullptr) == 0 && ::setresgid(65534, 65534, 65534) == 0 &&
             ::setresuid(65534, 65534, 65534) == 0,
         "nobody");
  });
  ::close(ends[0]), ::close(ends[1]);
  Must((Wait(pid) == 0) == (password == kRightPassword), "su " + user);
}

std::string Sshd::WhyNot() {
  const auto done = RunChild(std::string(MOAT_SOURCE_DIR) + "/tests/unpack.sh", {"sshd", kFolder}, {.ms = 300'000});
  return !done ? done.error().message : done->status == 0 ? "" : done->err;
}

Sshd::Sshd(std::string scratch, std::string address) : scratch_(std::move(scratch)), address_(std::move(address)) {
  // What ends without its parent comes to this process, which waits for it in the end.
  Must(::prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && ::setenv("LD_LIBRARY_PATH", kLibraries.c_str(), 1) == 0, "prctl");
  const std::string key = NewKey("host-key"), ready = scratch_ + "/sshd.pid";
  const std::vector<std::string> settings = {"UsePAM=yes",     "UseDNS=no",        "KbdInteractiveAuthentication=yes",
                                             "StrictModes=no", "PidFile=" + ready, "ListenAddress=" + address_};
  std::vector<std::string> argv = {kFiles + "/usr/sbin/sshd", "-D", "-f", "/dev/null", "-E", scratch_ + "/sshd.log", "-h", key};
  for (const std::string& setting : settings) {
    argv.insert(argv.end(), {"-o", setting});
  }
  pid_ = Start(argv, [] { ::prctl(PR_SET_PDEATHSIG, SIGKILL); });
  // It writes the file when it listens.
  for (const auto end = std::chrono::steady_clock::now() + 20s; ::access(ready.c_str(), R_OK) != 0;) {
    if (std::chrono::steady_clock::now() > end || ::waitpid(pid_, nullptr, WNOHANG) != 0) {
      Fail("sshd does not listen");
    }
    std::this_thread::sleep_for(5ms);
  }
}

Sshd::~Sshd() {
  ::kill(pid_, SIGTERM);
  const auto end = std::chrono::steady_clock::now() + 10s;
  for (pid_t ended = 0; (ended = ::waitpid(-1, nullptr, WNOHANG)) >= 0;) {
    if (ended == 0 && std::chrono::steady_clock::now() > end) {
      Fail("something that sshd started does not end");
    }
    std::this_thread::sleep_for(ended == 0 ? 5ms : 0ms);
  }
}

std::string Sshd::NewKey(const std::string& name) const {
  const std::string file = scratch_ + "/" + name;
  if (Wait(Start({kFiles + "/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file}, [] {})) != 0) {
    Fail("ssh-keygen");
  }
  return file;
}

void Sshd::Login(const std::string& from, const std::string& user, const std::vector<std::string>& passwords, bool in,
                 Method method, const std::vector<std::string>& keys) const {
  const std::string answers = scratch_ + "/answers", ask = scratch_ + "/askpass";
  std::string lines;
  for (const std::string& password : passwords) {
    lines += password + "\n";
  }
  Put(answers, lines);
  Put(ask,
      "#!/bin/sh\n[ -s " + answers + " ] || { kill -KILL $PPID; exit 1; }\nhead -n 1 " + answers + "\nsed -i 1d " + answers +
          "\n",
      0755);
  const std::vector<std::string> settings = {
      "StrictHostKeyChecking=no",
      "UserKnownHostsFile=/dev/null",
      "GlobalKnownHostsFile=/dev/null",
      "ConnectTimeout=20",
      "NumberOfPasswordPrompts=3",
      "IdentitiesOnly=yes",
      std::string("PubkeyAuthentication=") + (keys.empty() ? "no" : "yes"),
      std::string("PreferredAuthentications=publickey,") + (method == Method::kPassword ? "password" : "keyboard-interactive"),
  };
  std::vector<std::string> argv = {kFiles + "/usr/bin/ssh", "-F", "none", "-b", from, "-l", user};
  for (const std::string& setting : settings) {
    argv.insert(argv.end(), {"-o", setting});
  }
  for (const std::string& key : keys) {
    argv.insert(argv.end(), {"-i", key});
  }
  argv.insert(argv.end(), {address_, "true"});
  const int status = Wait(Start(argv, [&] {
    ::setenv("SSH_ASKPASS", ask.c_str(), 1);
    ::setenv("SSH_ASKPASS_REQUIRE", "force", 1);
  }));
  if ((status == 0) != in) {
    Fail("a login of " + user + (in ? " failed" : " succeeded"));
  }
}

void Sshd::Fail(const std::string& what) const {
  std::cerr << what << '\n' << std::ifstream(scratch_ + "/sshd.log").rdbuf() << std::endl;
  ::_exit(1);
}

}  // namespace moat::workload
