// SPDX-License-Identifier: Apache-2.0
// What PAM answers: by a program of the test's own with services of its own, and by su as Debian has it.
#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "agent/base/fd.h"
#include "bpf/abi/login.h"
#include "tests/bpf/fixture.h"
#include "tests/bpf/workload.h"

namespace moat::test {
namespace {

// Of <security/pam_appl.h>, which takes a package that nothing else here needs.
struct pam_conv {
  int (*conv)(int, const void**, void**, void*);
  void* data;
};
constexpr int kRhost = 4, kTty = 3, kRuser = 8;

int Silent(int, const void**, void**, void*) { return 19; /* PAM_CONV_ERR */ }

// libpam's functions, by name: in the workload.
class Pam {
 public:
  Pam(const std::string& directory, const char* service, const char* user) {
    MOAT_CHILD_CHECK(library_ != nullptr);
    const pam_conv conv{Silent, nullptr};
    const auto start = Function<int(const char*, const char*, const pam_conv*, const char*, void**)>("pam_start_confdir");
    MOAT_CHILD_CHECK(start(service, user, &conv, directory.c_str(), &handle_) == 0);
  }
  ~Pam() { Function<int(void*, int)>("pam_end")(handle_, 0); }
  void Set(int item, const char* value) const {
    MOAT_CHILD_CHECK(Function<int(void*, int, const void*)>("pam_set_item")(handle_, item, value) == 0);
  }
  int Ask(const char* function) const { return Function<int(void*, int)>(function)(handle_, 0); }

 private:
  template <typename Signature>
  Signature* Function(const char* name) const {
    auto* function = reinterpret_cast<Signature*>(dlsym(library_, name));
    MOAT_CHILD_CHECK(function != nullptr);
    return function;
  }
  void* library_ = dlopen("libpam.so.0", RTLD_NOW);
  void* handle_ = nullptr;
};

class LoginBpfTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    config().auth = true;
    config().file = config().gpu = config().net = false;
    WriteFile(dir_.File("deny"), "auth required pam_deny.so\naccount required pam_deny.so\nsession required pam_deny.so\n");
    WriteFile(dir_.File("permit"),
              "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n");
  }
  // Starts; why not, to skip with.
  std::string Begin() {
    Start();
    return Exposed("auth.authenticate");
  }
  const std::string& services() const { return dir_.path(); }
  std::vector<moat_login> Logins() { return Of<moat_login>(MOAT_KIND_LOGIN); }

 private:
  TempDir dir_;
};

TEST_F(LoginBpfTest, EachAnswerOnceWithWhoAndWhence) {
  if (const std::string why = Begin(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const pid_t pid = RunInside([this] {
    for (int i = 0; i < 23; ++i) {
      const Pam pam(services(), "deny", "root");
      pam.Set(kRhost, "203.0.113.9");
      pam.Set(kTty, "ssh");
      pam.Set(kRuser, "eve");
      MOAT_CHILD_CHECK(pam.Ask("pam_authenticate") == 7);
    }
    const Pam pam(services(), "permit", "alice");
    MOAT_CHILD_CHECK(pam.Ask("pam_authenticate") == 0 && pam.Ask("pam_acct_mgmt") == 0 && pam.Ask("pam_open_session") == 0);
    MOAT_CHILD_CHECK(pam.Ask("pam_close_session") == 0);
  });
  const auto logins = Logins();
  ASSERT_EQ(logins.size(), 26u);
  for (size_t i = 0; i < 23; ++i) {
    EXPECT_EQ(logins[i].hdr.pid, static_cast<uint32_t>(pid));
    EXPECT_EQ(logins[i].hdr.flags, 0u);
    EXPECT_EQ(logins[i].step, uint32_t{MOAT_LOGIN_AUTHENTICATE});
    EXPECT_EQ(logins[i].result, 7);
    EXPECT_STREQ(logins[i].service, "deny");
    EXPECT_STREQ(logins[i].user, "root");
    EXPECT_STREQ(logins[i].remote, "203.0.113.9");
    EXPECT_STREQ(logins[i].terminal, "ssh");
    EXPECT_STREQ(logins[i].by, "eve");
  }
  for (size_t i = 23; i < 26; ++i) {
    EXPECT_EQ(logins[i].step, i - 22);
    EXPECT_EQ(logins[i].result, 0);
    EXPECT_STREQ(logins[i].service, "permit");
    EXPECT_STREQ(logins[i].user, "alice");
    EXPECT_STREQ(logins[i].remote, "");
    EXPECT_STREQ(logins[i].terminal, "");
    EXPECT_STREQ(logins[i].by, "");
  }
}

// As sshd does it: who asks is a child of who started.
TEST_F(LoginBpfTest, AChildThatAsksWithItsParentsHandleIsUnderstood) {
  if (const std::string why = Begin(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  RunInside([this] {
    const Pam pam(services(), "deny", "bob");
    pam.Set(kRhost, std::string(300, 'h').c_str());
    InChild([&] { MOAT_CHILD_CHECK(pam.Ask("pam_authenticate") == 7); });
    MOAT_CHILD_CHECK(pam.Ask("pam_acct_mgmt") != 0);
  });
  const auto logins = Logins();
  ASSERT_EQ(logins.size(), 2u);
  EXPECT_NE(logins[0].hdr.pid, logins[1].hdr.pid);
  for (const moat_login& login : logins) {
    EXPECT_STREQ(login.user, "bob");
    EXPECT_EQ(login.remote, std::string(MOAT_LOGIN_REMOTE_LEN - 1, 'h'));
    EXPECT_EQ(login.hdr.flags, uint32_t{MOAT_F_TRUNCATED});
    EXPECT_NE(login.result, 0);
  }
}

TEST_F(LoginBpfTest, OutsideTheScopeNothingIsTold) {
  if (const std::string why = Begin(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  RunOutside([this] { MOAT_CHILD_CHECK(Pam(services(), "deny", "root").Ask("pam_authenticate") == 7); });
  EXPECT_EQ(Logins().size(), 0u);
}

TEST_F(LoginBpfTest, WithoutALibraryItSaysWhatIsNotSeen) {
  config().libpam = "";
  Start();
  EXPECT_NE(Exposed("auth.authenticate"), "");
  EXPECT_TRUE(Unseen("auth.authenticate", "login"));
}

// su asks for the password of the one whom it is to become, of whoever is not root.
TEST_F(LoginBpfTest, SuWithTheWrongAndTheRightPassword) {
  const TempDir etc;
  ASSERT_EQ(chmod(etc.path().c_str(), 0755), 0);
  // "right horse". Over the host's own files in a mount namespace of the workload's.
  WriteFile(etc.File("passwd"), "root:x:0:0::/:/bin/sh\nmoat-test:x:4242:4242::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
  WriteFile(etc.File("shadow"),
            "root:*:19000:0:99999:7:::\nmoat-test:$6$moatsalt$x9SoOr0ff3JACZmRUU8wwHiMcHDa/"
            "Ilf.dP/8udsB7WUTJi6z5O5wuZlp4Vzgmgt51CaHJPXU8ra8F6Wfk6w70:19000:0:99999:7:::\n");
  WriteFile(etc.File("su"), "auth required pam_unix.so nodelay\naccount required pam_unix.so\nsession required pam_permit.so\n");
  ASSERT_EQ(chmod(etc.File("shadow").c_str(), 0600), 0);
  if (access("/usr/bin/su", X_OK) != 0 || access("/etc/pam.d/su", R_OK) != 0 || access("/etc/shadow", R_OK) != 0) {
    GTEST_SKIP() << "no su with PAM here";
  }
  if (const std::string why = Begin(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  RunInside([&] {
    MOAT_CHILD_CHECK(unshare(CLONE_NEWNS) == 0);
    MOAT_CHILD_CHECK(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
    for (const char* name : {"passwd", "shadow"}) {
      MOAT_CHILD_CHECK(mount(etc.File(name).c_str(), (std::string("/etc/") + name).c_str(), nullptr, MS_BIND, nullptr) == 0);
    }
    MOAT_CHILD_CHECK(mount(etc.File("su").c_str(), "/etc/pam.d/su", nullptr, MS_BIND, nullptr) == 0);
    for (const std::string password : {"wrong horse\n", "right horse\n"}) {
      int ends[2];
      MOAT_CHILD_CHECK(pipe(ends) == 0);
      MOAT_CHILD_CHECK(write(ends[1], password.data(), password.size()) == static_cast<ssize_t>(password.size()));
      const int status = InChild([&] {
        (void)setsid();
        const int null = open("/dev/null", O_WRONLY);
        MOAT_CHILD_CHECK(dup2(ends[0], 0) == 0 && dup2(null, 1) == 1 && dup2(null, 2) == 2);
        close(ends[1]);
        MOAT_CHILD_CHECK(setgroups(0, nullptr) == 0 && setresgid(65534, 65534, 65534) == 0 &&
                         setresuid(65534, 65534, 65534) == 0);
        execl("/usr/bin/su", "su", "-c", "true", "moat-test", nullptr);
        _exit(98);
      });
      MOAT_CHILD_CHECK((status == 0) == (password == "right horse\n"));
      close(ends[0]);
      close(ends[1]);
    }
  });
  const auto logins = Logins();
  ASSERT_EQ(logins.size(), 4u);
  for (const moat_login& login : logins) {
    EXPECT_STREQ(login.service, "su");
    EXPECT_STREQ(login.user, "moat-test");
    EXPECT_STREQ(login.by, "nobody");
  }
  EXPECT_EQ(logins[0].step, uint32_t{MOAT_LOGIN_AUTHENTICATE});
  EXPECT_EQ(logins[0].result, 7) << "PAM_AUTH_ERR";
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_EQ(logins[i].step, i);
    EXPECT_EQ(logins[i].result, 0);
    EXPECT_EQ(logins[i].hdr.pid, logins[1].hdr.pid);
  }
}

}  // namespace
}  // namespace moat::test
