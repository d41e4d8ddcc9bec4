// SPDX-License-Identifier: Apache-2.0
// What PAM answers: by a program of the test's own with services of its own, and by su and sshd as Debian has them.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "agent/base/fd.h"
#include "bpf/abi/login.h"
#include "tests/bpf/fixture.h"
#include "tests/bpf/workload.h"
#include "tests/workload/logins.h"

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
  Pam(const std::string& directory, const char* service, const char* user, const std::string& library = "libpam.so.0")
      : library_(dlopen(library.c_str(), RTLD_NOW)) {
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
  void* const library_;
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

TEST_F(LoginBpfTest, ALibraryThatAnUpgradeReplacesIsProbedToo) {
  Dl_info found{};
  void* const library = dlopen("libpam.so.0", RTLD_NOW);
  if (library == nullptr || dladdr(dlsym(library, "pam_start"), &found) == 0) {
    GTEST_SKIP() << "no libpam here";
  }
  const TempDir place;
  const std::string path = place.File("libpam.so.0"), before = place.File("before"), fresh = place.File("fresh");
  std::filesystem::copy_file(found.dli_fname, path);
  std::filesystem::create_hard_link(path, before);  // what programs that were there before have mapped
  std::filesystem::copy_file(found.dli_fname, fresh);
  config().libpam = path;
  if (const std::string why = Begin(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const auto told = [&](const std::string& by) {
    const size_t had = Logins().size();
    RunInside([&] { MOAT_CHILD_CHECK(Pam(services(), "deny", "root", by).Ask("pam_authenticate") == 7); });
    return Logins().size() - had;
  };
  const auto look = [this] {
    for (int i = 0; i < 5; ++i) {  // some five seconds
      Sums();
    }
  };
  EXPECT_EQ(told(path), 1u);
  std::filesystem::rename(fresh, path);  // as dpkg does it
  EXPECT_EQ(told(path), 0u) << "nobody has looked yet: this test can fail";
  look();
  EXPECT_EQ(told(path), 1u);
  EXPECT_EQ(told(before), 1u);
  std::filesystem::rename(before, path);  // and back
  look();
  EXPECT_EQ(told(path), 1u) << "and not twice";
  // One without these functions: said, and what was probed goes on; one with them comes at last.
  const auto attached = [this] {
    for (const DomainStatus& domain : probe().Domains()) {
      for (const HookStatus& hook : domain.hooks) {
        if (hook.event == "auth.authenticate") {
          return std::pair(hook.attached, hook.why);
        }
      }
    }
    return std::pair(false, std::string("there is no such row"));
  };
  EXPECT_TRUE(attached().first);
  std::filesystem::create_hard_link(path, before);
  std::filesystem::copy_file("/bin/true", fresh);
  std::filesystem::rename(fresh, path);
  look();
  EXPECT_FALSE(attached().first);
  EXPECT_NE(attached().second.find("since " + path + " was replaced: "), std::string::npos) << attached().second;
  EXPECT_EQ(told(before), 1u);
  std::filesystem::copy_file(found.dli_fname, fresh);
  std::filesystem::rename(fresh, path);
  look();
  EXPECT_TRUE(attached().first) << attached().second;
  EXPECT_EQ(told(path), 1u);
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
  if (access("/usr/bin/su", X_OK) != 0 || access("/etc/pam.d/su", R_OK) != 0 || access("/etc/shadow", R_OK) != 0) {
    GTEST_SKIP() << "no su with PAM here";
  }
  if (const std::string why = Begin(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  RunInside([this] {
    workload::OwnAccounts(services());
    workload::Su("user0", "wrong horse");
    workload::Su("user0", workload::kRightPassword);
  });
  const auto logins = Logins();
  ASSERT_EQ(logins.size(), 4u);
  for (const moat_login& login : logins) {
    EXPECT_STREQ(login.service, "su");
    EXPECT_STREQ(login.user, "user0");
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

// The sshd that Debian has, with all its processes: each question that it asks PAM, once.
TEST_F(LoginBpfTest, SshdOverTheNetwork) {
  if (const std::string why = Begin(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  if (const std::string why = workload::Sshd::WhyNot(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  using workload::kRightPassword;
  using Method = workload::Sshd::Method;
  RunInside([this] {
    MOAT_CHILD_CHECK(unshare(CLONE_NEWNET) == 0);
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_flags = IFF_UP;
    MOAT_CHILD_CHECK(ioctl(Fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)).get(), SIOCSIFFLAGS, &request) == 0);
    workload::OwnAccounts(services());
    const workload::Sshd sshd(services(), "127.0.0.1");
    sshd.Login("127.0.0.9", "user0", {"wrong horse", "right hose", kRightPassword}, true);
    sshd.Login("127.0.0.9", "user0", {"wrong horse", "right hose", kRightPassword}, true, Method::kKeyboard);
    sshd.Login("127.0.0.9", "nobody-here", {"guess"}, false);
    sshd.Login("127.0.0.9", "nobody-here", {"guess"}, false, Method::kKeyboard);
    sshd.Login("127.0.0.9", "user0", {}, false);  // hangs up
  });
  std::vector<std::string> told;
  for (const moat_login& login : Logins()) {
    EXPECT_STREQ(login.service, "sshd");
    EXPECT_STREQ(login.remote, "127.0.0.9");
    EXPECT_STREQ(login.terminal, "ssh");
    EXPECT_STREQ(login.by, "");
    EXPECT_EQ(login.hdr.flags, 0u);
    told.push_back(std::string(login.user) + " " + std::to_string(login.step) + " " + std::to_string(login.result));
  }
  const std::vector<std::string> logged_in = {"user0 1 7", "user0 1 7", "user0 1 0", "user0 2 0", "user0 3 0"};
  std::vector<std::string> expected = logged_in;
  expected.insert(expected.end(), logged_in.begin(), logged_in.end());
  expected.insert(expected.end(), {"nobody-here 1 10", "nobody-here 1 10"});
  EXPECT_EQ(told, expected);
}

}  // namespace
}  // namespace moat::test
