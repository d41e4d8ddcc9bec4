// SPDX-License-Identifier: Apache-2.0
// Passwords that somebody tries.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/detect_kit.h"

namespace moat::detect {
namespace {

using event::Severity;
using testing::Contains;
using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr int32_t kAuthError = 7, kUserUnknown = 10;

template <size_t N>
void Fill(event::FixedString<N>& to, const std::string& from) {
  to.length = static_cast<uint16_t>(std::min(from.size(), N - 1));
  std::copy_n(from.begin(), to.length, to.bytes.begin());
}
auto HasTechnique(const char* id) { return Contains(Field(&event::Technique::id, id)); }

class FailedLogins : public testing::Test, public DetectKit {
 protected:
  FailedLogins() { detector = MakeFailedLogins({}); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
  // One answer of PAM, half a second after the one before.
  void Answer(int32_t result, const std::string& user, const std::string& remote, const std::string& by = "",
              event::LoginStep step = event::LoginStep::kAuthenticate) {
    event::Login login;
    login.step = step;
    login.result = result;
    Fill(login.service, remote.empty() ? "su" : "sshd");
    Fill(login.user, user);
    Fill(login.remote, remote);
    Fill(login.by, by);
    now += kS / 2;
    Happens(event::Kind::kLogin, sshd_, login);
  }
  void Failures(size_t count, const std::string& user, const std::string& remote, const std::string& by = "") {
    for (size_t i = 0; i < count; ++i) {
      Answer(kAuthError, user, remote, by);
    }
  }
  Who sshd_ = Process("/usr/sbin/sshd", "/system.slice/ssh.service", nullptr, 0);
};

TEST_F(FailedLogins, AttackManyPasswordsForOneUser) {
  Failures(4, "root", "203.0.113.9");
  EXPECT_THAT(raised, IsEmpty());
  Failures(2, "root", "203.0.113.9");
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kFailedLogins);
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  EXPECT_EQ(raised[0].times, 5u);
  EXPECT_EQ(raised[1].times, 1u);
  EXPECT_EQ(raised[0].cause, raised[1].cause);
  EXPECT_THAT(raised[0].peers, ElementsAre("203.0.113.9"));
  EXPECT_THAT(raised[0].title, HasSubstr("5 times as root by sshd"));
  EXPECT_THAT(raised[0].techniques, HasTechnique("T1110"));
  EXPECT_THAT(raised[0].techniques, Not(HasTechnique("T1110.003")));
}

TEST_F(FailedLogins, AttackThatIsThenIn) {
  Failures(7, "alice", "203.0.113.9");
  raised.clear();
  Answer(0, "alice", "203.0.113.9");
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kCritical);
  EXPECT_THAT(raised[0].techniques, HasTechnique("AML.T0012"));
  EXPECT_THAT(raised[0].title, HasSubstr("203.0.113.9 has logged in as alice after a burst"));
  Answer(0, "alice", "203.0.113.9");
  EXPECT_THAT(raised, SizeIs(1)) << "it is told once";
}

TEST_F(FailedLogins, AttackOnePasswordForManyUsersSlowly) {
  for (int i = 0; i < 10; ++i) {
    now += 4 * kMinute;
    Answer(i % 2 == 0 ? kUserUnknown : kAuthError, "user" + std::to_string(i), "203.0.113.9");
    EXPECT_THAT(raised, SizeIs(i < 9 ? 0 : 1));
  }
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_THAT(raised[0].techniques, HasTechnique("T1110.003"));
  EXPECT_THAT(raised[0].title, HasSubstr("as 10 users"));
  Answer(0, "user10", "203.0.113.9");
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[1].severity, Severity::kCritical);
}

TEST_F(FailedLogins, AttackOnOneUserSlowly) {
  for (int i = 0; i < 40; ++i) {
    now += 100 * kS;
    Answer(kAuthError, "root", "203.0.113.9");
    ASSERT_THAT(raised, SizeIs(i < 29 ? 0 : i - 28)) << i;
  }
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  EXPECT_EQ(raised[0].times, 30u);
  EXPECT_EQ(raised[1].times, 1u);
  EXPECT_THAT(raised[0].title, HasSubstr("203.0.113.9 has failed to log in 30 times as root"));
  Answer(0, "root", "203.0.113.9");
  EXPECT_EQ(raised.back().severity, Severity::kCritical);
}

TEST_F(FailedLogins, AttackFromManyAddressesOfOneNetwork) {
  for (const char* remote :
       {"2001:db8:1:2::1", "2001:db8:1:2:a:b:c:d", "2001:db8:1:2:ffff::", "2001:DB8:1:2::7", "2001:db8:1:2::9"}) {
    Answer(kAuthError, "root", remote);
  }
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_THAT(raised[0].peers, ElementsAre("2001:db8:1:2::/64"));
  EXPECT_THAT(raised[0].title, HasSubstr("2001:db8:1:2::/64 has failed to log in 5 times as root"));
  raised.clear();
  Failures(3, "alice", "::ffff:198.51.100.7");
  Failures(2, "alice", "198.51.100.7");
  ASSERT_THAT(raised, SizeIs(1)) << "the same by another name";
  EXPECT_THAT(raised[0].peers, ElementsAre("198.51.100.7"));
}

TEST_F(FailedLogins, WhoIsNotRootOnlyClaimsARemote) {
  sshd_ = Process("/srv/liar", "/user.slice/session-3.scope", nullptr, 1000);
  Failures(5, "me", "198.51.100.7");
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_THAT(raised[0].peers, IsEmpty());
  EXPECT_THAT(raised[0].title, HasSubstr("somebody who claims to come from 198.51.100.7 has failed"));
  Answer(0, "me", "198.51.100.7");
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[1].severity, Severity::kHigh);
  raised.clear();
  Failures(5, "me", "198.51.100.7");
  raised.clear();
  sshd_ = Process("/usr/sbin/sshd", "/system.slice/ssh.service", nullptr, 0);
  Answer(0, "you", "198.51.100.7");
  EXPECT_THAT(raised, IsEmpty()) << "nothing of it falls on who is really there";
}

TEST_F(FailedLogins, AttackFromManyRemotes) {
  for (int i = 0; i < 5; ++i) {
    Answer(kAuthError, "root", "203.0.113." + std::to_string(i));
  }
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_THAT(raised[0].title, HasSubstr("5 sources have failed to log in as root, 5 times"));
  Answer(0, "root", "198.51.100.1");
  EXPECT_THAT(raised, SizeIs(1)) << "root's own login while others try";
  Answer(0, "root", "203.0.113.3");
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[1].severity, Severity::kHigh);
}

TEST_F(FailedLogins, AttackBySu) {
  Failures(5, "root", "", "nobody");
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_THAT(raised[0].title, HasSubstr("the local user nobody has failed"));
  EXPECT_THAT(raised[0].peers, IsEmpty());
  Answer(0, "root", "", "nobody");
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[1].severity, Severity::kCritical);
}

TEST_F(FailedLogins, BenignMistypedThenIn) {
  Failures(4, "alice", "10.7.0.1");
  Answer(0, "alice", "10.7.0.1");
  for (int i = 0; i < 100; ++i) {  // once in a while, for days
    now += 20 * kMinute;
    Answer(kAuthError, "alice", "10.7.0.1");
  }
  for (int i = 0; i < 20; ++i) {  // many people, one mistake each, through one gateway
    now += 10 * kMinute;
    Answer(kAuthError, "user" + std::to_string(i), "10.7.0.2");
    Answer(0, "user" + std::to_string(i), "10.7.0.2");
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(FailedLogins, BenignAnswersThatJudgeNobody) {
  for (const int32_t result : {1, 3, 4, 9, 12, 13, 17, 19, 22, 25, 26, 30, 31, -1, 1000}) {
    for (int i = 0; i < 10; ++i) {
      Answer(result, "alice", "10.7.0.1");
    }
  }
  for (int i = 0; i < 10; ++i) {
    Answer(kAuthError, "alice", "10.7.0.1", "", event::LoginStep::kAccount);
    Answer(0, "alice", "10.7.0.1");
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(FailedLogins, TextsOfAnyBytesAreMadeFit) {
  Failures(5, "ro\x1b[2Jot\n", "203.0.113.9\r\n\xff");
  ASSERT_THAT(raised, SizeIs(1));  // and TearDown looks
  EXPECT_THAT(raised[0].peers[0], Not(HasSubstr("\n")));
}

TEST_F(FailedLogins, AHundredThousandRemotesAndStillAwake) {
  for (int i = 0; i < 100'000; ++i) {
    now -= kS / 2;
    Answer(kUserUnknown, "u" + std::to_string(i), "h" + std::to_string(i));
  }
  EXPECT_GT(detector->forgotten(), 0u);
  EXPECT_THAT(raised, IsEmpty());
  Failures(5, "root", "203.0.113.9");
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
