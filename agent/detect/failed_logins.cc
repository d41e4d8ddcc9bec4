// SPDX-License-Identifier: Apache-2.0
// Somebody tries passwords: many failed logins within a short time from one remote, or for one user from several remotes; one remote that
// fails for many users, or very often for one, however slowly; and a login that succeeds where a burst of failures was, which is how a guessed password looks.
//
// Benign, and not told: who mistypes a few times and then logs in; the same user's own login while others try the name from elsewhere;
// answers that are no judgement of a password (a client that hung up, a module that is missing or has no opinion, a password that has to be
// changed); the account and session steps, which follow a right password. A machine that keeps an old password looks like an attack, and is
// told as one.
//
// Of IPv6 a remote is its /64, in which whoever has one address has them all. Where a caller is from is what the program says that asks PAM:
// of one that is not root it is told as a claim, and counted apart.
#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "agent/base/recent.h"
#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/memory.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;
using event::Severity;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr size_t kSources = 8192;
constexpr size_t kMostNames = 64;  // of one source; config allows no threshold above
constexpr uint64_t kAfter = 10;  // windows: a guess that follows a burst a little later is of that burst

// _pam_types.h of Linux-PAM. What judges a user or a password; all other answers are faults, or are asked again.
constexpr int32_t kPermissionDenied = 6, kAuthError = 7, kUserUnknown = 10, kMaxTries = 11;
bool IsRefusal(int32_t result) {
  return result == kPermissionDenied || result == kAuthError || result == kUserUnknown || result == kMaxTries;
}

class FailedLogins final : public Detector {
 public:
  explicit FailedLogins(const config::Detect& config)
      : config_(config),
        window_ns_(config.failed_logins_window_s * kSecond),
        users_window_ns_(config.failed_logins_users_window_s * kSecond) {}
  const char* name() const override { return "failed_logins"; }
  uint32_t kinds() const override { return Wants(Kind::kLogin); }
  uint64_t forgotten() const override { return sources_.evicted() + users_.evicted() + pairs_.evicted() + names_forgotten_; }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const auto* login = std::get_if<event::Login>(&event.body);
    if (login == nullptr || login->step != event::LoginStep::kAuthenticate) {
      return;
    }
    if (login->result == 0) {
      Succeeded(event.header, *login, scene, raise);
    } else if (IsRefusal(login->result)) {
      Failed(event.header, *login, scene, raise);
    }
  }

 private:
  struct Key {
    uint64_t hash = 0;
  };
  struct Name {
    uint64_t hash = 0, last_ns = 0;
  };
  struct Row {
    Window failures;
    uint64_t burst_ns = 0;  // when there were enough of them last; 0: never
    std::vector<Name> names;  // a source's: of users; a user's: of sources
  };

  // Who asks: a remote by whichever service, else who wants to be somebody else on this host, and by what.
  struct Source {
    Key key;
    std::string name, peer;  // peer: empty where it is no remote, or not believed
    bool believed = true;
  };
  static Source SourceOf(const event::Header& header, const event::Login& login) {
    if (login.remote.length == 0) {
      return {.key = {.hash = Mix(
                          {2, header.cgroup_id, Mix(login.service.view()), Mix(login.by.view()), Mix(login.terminal.view())})},
              .name = login.by.length != 0 ? "the local user " + Printable(login.by.view()) : "this host",
              .peer = {}};
    }
    const std::string remote = NetworkOf(std::string(login.remote.view())), shown = Printable(remote);
    const event::Process* const self = header.info.get();
    if (header.uid == 0 || (self != nullptr && (self->uid == 0 || self->euid == 0))) {
      return {.key = {.hash = Mix({1, Mix(remote)})}, .name = shown, .peer = shown};
    }
    return {.key = {.hash = Mix({3, header.uid, header.cgroup_id, Mix(remote)})},
            .name = "somebody who claims to come from " + shown,
            .peer = {},
            .believed = false};
  }
  // "2001:db8:1:2::/64"; "203.0.113.9", also of "::ffff:203.0.113.9"; neighbours on a link and names as they are.
  static std::string NetworkOf(const std::string& remote) {
    std::array<uint8_t, 16> address{};
    if (inet_pton(AF_INET6, remote.c_str(), address.data()) != 1 || (address[0] == 0xfe && (address[1] & 0xc0) == 0x80)) {
      return remote;
    }
    constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (std::equal(kMapped.begin(), kMapped.end(), address.begin())) {
      return inet_ntop(AF_INET, address.data() + kMapped.size(), text.data(), text.size());
    }
    std::fill(address.begin() + 8, address.end(), uint8_t{0});
    return inet_ntop(AF_INET6, address.data(), text.data(), text.size()) + std::string("/64");
  }

  // One more failure of a row; how many there are within the window.
  uint64_t More(Row& row, uint64_t other, uint64_t now_ns) {
    row.failures.Add(1, now_ns, window_ns_);
    const auto same = std::ranges::find(row.names, other, &Name::hash);
    if (same != row.names.end()) {
      same->last_ns = now_ns;
    } else {
      std::erase_if(row.names, [&](const Name& name) { return now_ns > name.last_ns + users_window_ns_; });
      if (row.names.size() == kMostNames) {
        row.names.erase(std::ranges::min_element(row.names, {}, &Name::last_ns));
        ++names_forgotten_;
      }
      row.names.push_back({.hash = other, .last_ns = now_ns});
    }
    return row.failures.Sum(now_ns, window_ns_);
  }
  static uint64_t Names(const Row& row, uint64_t now_ns, uint64_t within_ns) {
    return static_cast<uint64_t>(
        std::ranges::count_if(row.names, [&](const Name& name) { return now_ns <= name.last_ns + within_ns; }));
  }

  void Failed(const event::Header& header, const event::Login& login, const Scene& scene, Raise& raise) {
    const uint64_t now = header.time_ns, user_hash = Mix(login.user.view());
    const Source from = SourceOf(header, login);
    bool fresh = false;
    Row& source = sources_.Touch(from.key, &fresh);
    const uint64_t by_source = More(source, user_hash, now), users = Names(source, now, users_window_ns_);
    Row& user = users_.Touch({.hash = user_hash}, &fresh);
    const uint64_t by_user = More(user, from.key.hash, now), sources = Names(user, now, window_ns_);
    Window& pair = pairs_.Touch({.hash = Mix({from.key.hash, user_hash})}, &fresh);
    pair.Add(1, now, users_window_ns_);
    const uint64_t by_pair = pair.Sum(now, users_window_ns_);

    const std::string name = Printable(login.user.view());
    const bool fast = users >= config_.failed_logins_users || by_source >= config_.failed_logins;
    if (fast || by_pair >= config_.failed_logins_slow) {
      const bool first = source.burst_ns == 0 || now > source.burst_ns + (fast ? window_ns_ : users_window_ns_);
      const uint64_t count = fast ? by_source : by_pair;
      source.burst_ns = now;
      const bool spraying = users >= 3;  // one person has one name, or mistypes it once
      const std::string what = from.name + " has failed to log in " +
                               (users >= config_.failed_logins_users || count < 2 ? "again and again" : Times(count)) +
                               (fast && users > 1 ? " as " + std::to_string(users) + " users" : " as " + name);
      Tell(header, login, from, scene, raise,
           {.severity = spraying ? Severity::kHigh : Severity::kMedium,
            .confidence = static_cast<uint8_t>(spraying ? 80 : 65),
            .cause = "from\n" + from.name,
            .title = what,
            .times = first ? std::max<uint64_t>(count, 1) : 1,
            .spraying = spraying,
            .guessed = false});
    } else if (by_user >= config_.failed_logins && sources > 1) {
      const bool first = user.burst_ns == 0 || now > user.burst_ns + window_ns_;
      user.burst_ns = now;
      Tell(header, login, from, scene, raise,
           {.severity = Severity::kMedium,
            .confidence = 65,
            .cause = "as\n" + name,
            .title = std::to_string(sources) + " sources have failed to log in as " + name + ", " + Times(by_user),
            .times = first ? by_user : 1,
            .spraying = false,
            .guessed = false});
    }
  }

  void Succeeded(const event::Header& header, const event::Login& login, const Scene& scene, Raise& raise) {
    const uint64_t now = header.time_ns, reach = kAfter * window_ns_;
    const auto lately = [&](const Row* row) { return row != nullptr && row->burst_ns != 0 && now <= row->burst_ns + reach; };
    const Source from = SourceOf(header, login);
    Row* const source = sources_.Find(from.key);
    Row* const user = users_.Find({.hash = Mix(login.user.view())});
    // Whoever's name others try from elsewhere logs in as ever: of a user that many have tried, only who has tried it before.
    const bool tried =
        lately(user) && std::ranges::any_of(user->names, [&](const Name& name) { return name.hash == from.key.hash; });
    if (!lately(source) && !tried) {
      return;
    }
    const bool burst = lately(source);
    (burst ? source : user)->burst_ns = 0;  // it is told; the next needs a burst of its own
    const std::string name = Printable(login.user.view());
    Tell(header, login, from, scene, raise,
         {.severity = burst && from.believed ? Severity::kCritical : Severity::kHigh,
          .confidence = static_cast<uint8_t>(burst && from.believed ? 85 : 65),
          .cause = "guessed\n" + from.name + "\n" + name,
          .title = from.name + " has logged in as " + name + " after a burst of failed logins",
          .times = 1,
          .spraying = burst && Names(*source, now, users_window_ns_) >= 3,
          .guessed = true});
  }

  struct What {
    Severity severity;
    uint8_t confidence;
    std::string cause, title;
    uint64_t times;
    bool spraying, guessed;
  };
  static std::string Times(uint64_t times) { return times == 1 ? "once" : std::to_string(times) + " times"; }

  static void Tell(const event::Header& header, const event::Login& login, const Source& from, const Scene& scene, Raise& raise,
                   What what) {
    const std::string service = Printable(login.service.view()), by = service.empty() ? "" : " by " + service;
    Draft draft{
        .kind = event::FindingKind::kFailedLogins,
        .severity = what.severity,
        .confidence = what.confidence,
        .cause = std::move(what.cause),
        .process = header.process,
        .title = what.title + by,
        .explanation =
            what.title + by + ", as PAM has answered " + Who(scene, header) + ". " +
            (what.guessed
                 ? "So a password may have been guessed, and whoever guessed it is in. It is harmless if the user had "
                   "forgotten the password and then remembered it."
                 : std::string(what.spraying ? "Few passwords on many names is how accounts are found that have a weak one, "
                                               "without locking any of them."
                                             : "Many passwords on one name is how a password is guessed.") +
                       " It is harmless if a program or a person has an old password and tries it again and again."),
        .action = what.guessed
                      ? "Ask the user whether that was they. If not: end the session, change the password, and look what was "
                        "done since; allow logins by key only (sshd: PasswordAuthentication no)."
                      : "Shut the remote out (firewall, fail2ban, pam_faillock), and allow logins by key only (sshd: "
                        "PasswordAuthentication no).",
        .evidence = {(what.guessed ? "login" : "failed login") + by + " as " + Printable(login.user.view()) + " from " +
                     from.name + ": PAM's answer is " + event::PamResultName(login.result)},
        .techniques = {technique::kBruteForce},
        .times = what.times};
    if (!from.peer.empty()) {
      draft.peers.push_back(from.peer);
    }
    if (what.spraying) {
      draft.techniques.push_back(technique::kPasswordSpraying);
    }
    if (what.guessed) {
      draft.techniques.push_back(technique::kValidAccounts);
    }
    raise(std::move(draft));
  }

  const config::Detect config_;
  const uint64_t window_ns_, users_window_ns_;
  Recent<Key, Row> sources_{kSources}, users_{kSources};
  Recent<Key, Window> pairs_{kSources};  // one source's failures for one user, within users_window_ns_
  uint64_t names_forgotten_ = 0;
};

}  // namespace

std::unique_ptr<Detector> MakeFailedLogins(const config::Detect& config) { return std::make_unique<FailedLogins>(config); }

}  // namespace moat::detect
