// SPDX-License-Identifier: Apache-2.0
// Who tries passwords: by su and by sshd, both as Debian has them, at accounts of the test's own.
#include "tests/workload/logins.h"

#include "tests/scenarios/stage.h"

namespace moat::scenarios {
namespace {

using event::FindingKind;
using workload::kRightPassword;
using workload::Sshd;

constexpr const char* kServer = "10.66.0.2";
constexpr const char* kGateway = "10.66.0.9";
using Passwords = std::vector<std::string>;

std::string User(int number) { return "user" + std::to_string(number); }

// What comes to a real sshd over the network.
constexpr Scenario Ssh(const char* name, bool attack, const char* what, void (*play)(const Site&), const char* says = "") {
  return {name, FindingKind::kFailedLogins, attack, what, play, "", "", Sshd::WhyNot, says};
}

const Scenario kAll[] = {
    {"su-again-and-again", FindingKind::kFailedLogins, kAttack,
     "a local user tries passwords of another one, by su, until one is right",
     [](const Site& site) {
       workload::OwnAccounts(site.scratch);
       for (const char* password : {"wrong horse", "1234", "secret", "letmein", "admin", kRightPassword}) {
         workload::Su("user0", password);
       }
     }},
    {"mistyped", FindingKind::kFailedLogins, kOrdinary, "a user who mistypes the password twice, then logs in",
     [](const Site& site) {
       workload::OwnAccounts(site.scratch);
       for (const char* password : {"wright horse", "right hose", kRightPassword}) {
         workload::Su("user0", password);
       }
     }},

    Ssh(
        "ssh-one-user", kAttack, "a remote tries passwords of one user, three a connection",
        [](const Site& site) {
          workload::OwnAccounts(site.scratch);
          const Sshd sshd(site.scratch, kServer);
          sshd.Login(kOutside, "user0", {"wrong horse", "1234", "secret"}, false);
          sshd.Login(kOutside, "user0", {"letmein", "admin", "qwerty"}, false);
        },
        "203.0.113.9 has failed to log in "),
    Ssh(
        "ssh-many-users", kAttack, "a remote tries one password of many users, some of whom there are",
        [](const Site& site) {
          workload::OwnAccounts(site.scratch);
          const Sshd sshd(site.scratch, kServer);
          for (int i = 6; i < 18; ++i) {
            sshd.Login(kOutside, User(i), {"Spring2026"}, false, Sshd::Method::kKeyboard);
          }
        },
        "203.0.113.9 has failed to log in again and again as "),
    Ssh(
        "ssh-many-remotes", kAttack, "many remotes try passwords of one user",
        [](const Site& site) {
          workload::OwnAccounts(site.scratch);
          const Sshd sshd(site.scratch, kServer);
          for (int i = 1; i < 7; ++i) {
            sshd.Login("203.0.113." + std::to_string(i), "user0", {"guess"}, false);
          }
        },
        " sources have failed to log in as user0, "),
    Ssh(
        "ssh-guessed", kAttack, "a remote tries passwords of one user until one is right",
        [](const Site& site) {
          workload::OwnAccounts(site.scratch);
          const Sshd sshd(site.scratch, kServer);
          sshd.Login(kOutside, "user0", {"wrong horse", "1234", "secret"}, false, Sshd::Method::kKeyboard);
          sshd.Login(kOutside, "user0", {"letmein", "admin", kRightPassword}, true, Sshd::Method::kKeyboard);
        },
        "203.0.113.9 has logged in as user0 after a burst of failed logins by sshd"),
    Ssh("ssh-mistyped", kOrdinary, "a user who mistypes the password twice, then logs in from afar, and again later",
        [](const Site& site) {
          workload::OwnAccounts(site.scratch);
          const Sshd sshd(site.scratch, kServer);
          sshd.Login(kOutside, "user0", {"wright horse", "right hose", kRightPassword}, true);
          sshd.Login(kOutside, "user0", {kRightPassword}, true, Sshd::Method::kKeyboard);
        }),
    Ssh("ssh-a-team", kOrdinary, "a team that logs in through one gateway, one of whom mistypes",
        [](const Site& site) {
          workload::OwnAccounts(site.scratch);
          const Sshd sshd(site.scratch, kServer);
          for (int i = 0; i < 12; ++i) {
            sshd.Login(kGateway, User(i), i == 3 ? Passwords{"rihgt horse", kRightPassword} : Passwords{kRightPassword}, true);
          }
        }),
    Ssh("ssh-hung-up", kOrdinary, "clients that hang up before they give a password",
        [](const Site& site) {
          workload::OwnAccounts(site.scratch);
          const Sshd sshd(site.scratch, kServer);
          for (int i = 0; i < 12; ++i) {
            sshd.Login(kGateway, "user0", {}, false, i % 2 == 0 ? Sshd::Method::kPassword : Sshd::Method::kKeyboard);
          }
        }),
    Ssh("ssh-many-keys", kOrdinary, "a user with keys for other hosts, all of which are tried before the password, twice",
        [](const Site& site) {
          workload::OwnAccounts(site.scratch);
          const Sshd sshd(site.scratch, kServer);
          Passwords keys;
          for (int i = 0; i < 5; ++i) {
            keys.push_back(sshd.NewKey("key" + std::to_string(i)));
          }
          for (int i = 0; i < 2; ++i) {
            sshd.Login(kOutside, "user0", {kRightPassword}, true, Sshd::Method::kPassword, keys);
          }
        }),
};

}  // namespace

std::span<const Scenario> Logins() { return kAll; }

}  // namespace moat::scenarios
