// SPDX-License-Identifier: Apache-2.0
// Who tries passwords: by su as Debian has it, and by a service like sshd that asks PAM for callers from the network.
#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "tests/scenarios/stage.h"

namespace moat::scenarios {
namespace {

using event::FindingKind;

constexpr const char* kRight = "right horse";
constexpr int kAuthError = 7, kConversationError = 19;

void Put(const std::string& path, const std::string& text, mode_t mode = 0644) {
  std::ofstream(path) << text;
  Check(::chmod(path.c_str(), mode) == 0);
}

// Users and services of this process and its children, in place of the host's: no account of the host is ever asked for.
void OwnAccounts(const Site& site) {
  const std::string passwd = site.scratch + "/passwd", shadow = site.scratch + "/shadow", su = site.scratch + "/su";
  std::string users = "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", secrets = "root:*:19000:0:99999:7:::\n";
  for (int i = 0; i < 12; ++i) {
    const std::string name = "user" + std::to_string(i), number = std::to_string(4242 + i);
    users.append(name).append(":x:").append(number).append(":").append(number).append("::/:/bin/sh\n");
    // kRight
    secrets.append(name)
        .append(":$6$moatsalt$x9SoOr0ff3JACZmRUU8wwHiMcHDa/Ilf.dP/8udsB7WUTJi6z5O5wuZlp4Vzgmgt51CaHJPXU8ra8F6Wfk6w70:")
        .append("19000:0:99999:7:::\n");
  }
  Put(passwd, users);
  Put(shadow, secrets, 0600);
  Put(su, "auth required pam_unix.so nodelay\naccount required pam_unix.so\nsession required pam_permit.so\n");
  Check(::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  Check(::mount(passwd.c_str(), "/etc/passwd", nullptr, MS_BIND, nullptr) == 0);
  Check(::mount(shadow.c_str(), "/etc/shadow", nullptr, MS_BIND, nullptr) == 0);
  Check(::mount(su.c_str(), "/etc/pam.d/su", nullptr, MS_BIND, nullptr) == 0);
}

// By nobody, who is asked for a password.
void Su(const char* user, const std::string& password) {
  int ends[2];
  const std::string line = password + "\n";
  Check(::pipe2(ends, O_CLOEXEC) == 0 && ::write(ends[1], line.data(), line.size()) == static_cast<ssize_t>(line.size()));
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();
    const int null = ::open("/dev/null", O_WRONLY);
    Check(::dup2(ends[0], 0) == 0 && ::dup2(null, 1) == 1 && ::dup2(null, 2) == 2);
    Check(::setgroups(0, nullptr) == 0 && ::setresgid(65534, 65534, 65534) == 0 && ::setresuid(65534, 65534, 65534) == 0);
    Execute("/usr/bin/su", {"su", "-c", "true", user});
  }
  int status = 0;
  ::close(ends[0]), ::close(ends[1]);
  Check(pid > 0 && ::waitpid(pid, &status, 0) == pid && (status == 0) == (password == kRight));
}

// Of <security/pam_appl.h>, which takes a package that nothing else here needs.
struct pam_message {
  int style;
  const char* text;
};
struct pam_response {
  char* text;
  int code;
};
struct pam_conv {
  int (*ask)(int, const pam_message**, pam_response**, void*);
  void* data;
};
constexpr int kRemoteHost = 4;

// Answers each question with the password; without one, as a client that has hung up.
int Answer(int count, const pam_message**, pam_response** responses, void* password) {
  if (password == nullptr) {
    return kConversationError;
  }
  *responses = static_cast<pam_response*>(std::calloc(static_cast<size_t>(count), sizeof(pam_response)));
  for (int i = 0; i < count; ++i) {
    (*responses)[i].text = ::strdup(static_cast<const char*>(password));
  }
  return 0;
}

// What sshd asks PAM for a caller. The service is su's.
int Ssh(const char* user, const char* remote, const char* password) {
  void* const library = ::dlopen("libpam.so.0", RTLD_NOW);
  Check(library != nullptr);
  const auto function = [&]<typename Signature>(const char* name, Signature*& to) {
    to = reinterpret_cast<Signature*>(::dlsym(library, name));
    Check(to != nullptr);
  };
  int (*start)(const char*, const char*, const pam_conv*, void**) = nullptr;
  int (*set)(void*, int, const void*) = nullptr;
  int (*ask)(void*, int) = nullptr;
  int (*end)(void*, int) = nullptr;
  function("pam_start", start), function("pam_set_item", set), function("pam_authenticate", ask), function("pam_end", end);
  const pam_conv conversation{Answer, const_cast<char*>(password)};
  void* handle = nullptr;
  Check(start("su", user, &conversation, &handle) == 0 && set(handle, kRemoteHost, remote) == 0);
  const int result = ask(handle, 0);
  end(handle, result);
  return result;
}

const Scenario kAll[] = {
    {"su-again-and-again", FindingKind::kFailedLogins, kAttack,
     "a local user tries passwords of another one, by su, until one is right",
     [](const Site& site) {
       OwnAccounts(site);
       for (const char* password : {"wrong horse", "1234", "secret", "letmein", "admin", kRight}) {
         Su("user0", password);
       }
     }},
    {"one-remote-one-user", FindingKind::kFailedLogins, kAttack, "a remote tries passwords of one user",
     [](const Site& site) {
       OwnAccounts(site);
       for (int i = 0; i < 6; ++i) {
         Check(Ssh("user0", kOutside, ("guess" + std::to_string(i)).c_str()) == kAuthError);
       }
     }},
    {"one-remote-many-users", FindingKind::kFailedLogins, kAttack, "a remote tries one password of many users",
     [](const Site& site) {
       OwnAccounts(site);
       for (int i = 0; i < 12; ++i) {
         Check(Ssh(("user" + std::to_string(i)).c_str(), kOutside, "Spring2026") == kAuthError);
       }
     }},
    {"many-remotes", FindingKind::kFailedLogins, kAttack, "many remotes try passwords of one user",
     [](const Site& site) {
       OwnAccounts(site);
       for (int i = 0; i < 6; ++i) {
         Check(Ssh("user0", ("203.0.113." + std::to_string(i)).c_str(), "guess") == kAuthError);
       }
     }},
    {"mistyped", FindingKind::kFailedLogins, kOrdinary, "a user who mistypes the password twice, then logs in",
     [](const Site& site) {
       OwnAccounts(site);
       for (const char* password : {"wright horse", "right hose", kRight}) {
         Su("user0", password);
       }
     }},
    {"a-team", FindingKind::kFailedLogins, kOrdinary, "a team that logs in through one gateway, one of whom mistypes",
     [](const Site& site) {
       OwnAccounts(site);
       Check(Ssh("user3", "10.66.0.9", "rihgt horse") == kAuthError);
       for (int i = 0; i < 12; ++i) {
         Check(Ssh(("user" + std::to_string(i)).c_str(), "10.66.0.9", kRight) == 0);
       }
     }},
    {"hung-up", FindingKind::kFailedLogins, kOrdinary, "clients that hang up before they give a password",
     [](const Site& site) {
       OwnAccounts(site);
       for (int i = 0; i < 12; ++i) {
         Check(Ssh("user0", "10.66.0.9", nullptr) != 0);
       }
     }},
};

}  // namespace

std::span<const Scenario> Logins() { return kAll; }

}  // namespace moat::scenarios
