// SPDX-License-Identifier: Apache-2.0
#include "agent/api/door.h"

#include <netinet/tcp.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "agent/api/door_connection.h"
#include "agent/api/limit.h"
#include "agent/api/listen.h"
#include "agent/base/clock.h"
#include "agent/base/worker.h"

namespace moat::api {
namespace {

using State = DoorConnection::State;

constexpr uint64_t kMs = 1'000'000, kSecond = 1000 * kMs;
constexpr uint64_t kLookNs = kSecond;       // at the files
constexpr uint64_t kDrainNs = kSecond;      // of a refused client
constexpr int kTickMs = 250;
constexpr int kAcceptsAtOnce = 64;
constexpr size_t kSourcesTold = 64;  // a second, of those that come too often
constexpr int kDeadPeerSeconds = 60;
constexpr uint64_t kListener = 0, kWake = 1, kFirstId = 2;  // in epoll's data: id * 2, and 1 for the inner side

class DoorImpl final : public Door {
 public:
  DoorImpl(const config::TcpApi& config, Needs needs) : config_(config), needs_(std::move(needs)), sources_(config.accept) {}
  ~DoorImpl() override {
    worker_.RequestStop();
    Wake();
    worker_.Stop();
  }

  Status Begin() {
    fingerprint_ = Admission::Fingerprint(config_);
    MOAT_ASSIGN(admission_, Admission::Load(config_));
    MOAT_ASSIGN(listener_, ListenTcp(config_.address, "api.tcp.address", &port_));
    poller_ = Fd(epoll_create1(EPOLL_CLOEXEC));
    wake_ = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!poller_ || !wake_ || !Poll(EPOLL_CTL_ADD, listener_.get(), EPOLLIN, kListener * 2) ||
        !Poll(EPOLL_CTL_ADD, wake_.get(), EPOLLIN, kWake * 2)) {
      return FailErrno(errno, "api.tcp: cannot wait for connections");
    }
    worker_ = Worker("door", [this](const std::stop_token& stop) { Run(stop); });
    return {};
  }

  uint16_t port() const override { return port_; }

  void Reload(const config::TcpApi& config) override {
    {
      const std::lock_guard lock(mutex_);
      next_ = config;
    }
    Wake();
  }

 private:
  struct Entry {
    std::unique_ptr<DoorConnection> connection;
    std::string source;
    uint64_t deadline_ns = UINT64_MAX;  // of the handshake, or of a refused client's draining
    std::string inner_name;             // set while it is open
    uint32_t outer_events = 0, inner_events = 0;
    bool inner_polled = false;
  };

  bool Poll(int operation, int fd, uint32_t events, uint64_t data) const {
    epoll_event event{.events = events, .data = {.u64 = data}};
    return epoll_ctl(poller_.get(), operation, fd, &event) == 0;
  }

  void Wake() const {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t unused = write(wake_.get(), &one, sizeof(one));
  }

  void Run(const std::stop_token& stop) {
    sigset_t broken_pipe;  // OpenSSL writes to sockets of clients that have gone
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
    std::array<epoll_event, 128> events{};
    uint64_t look_ns = 0, tick_ns = 0;
    while (!stop.stop_requested()) {
      const int ready = epoll_wait(poller_.get(), events.data(), events.size(), again_.empty() ? kTickMs : 0);
      const std::vector<uint64_t> again = std::exchange(again_, {});
      for (int i = 0; i < ready; ++i) {
        Take(events[static_cast<size_t>(i)]);
      }
      for (const uint64_t id : again) {
        Advance(id);
      }
      const uint64_t now_ns = MonotonicNs();
      if (now_ns - told_ns_ >= kSecond) {
        told_ns_ = now_ns;
        TellFlood();
      }
      if (now_ns - tick_ns >= kTickMs * kMs) {
        tick_ns = now_ns;
        EndOverdue(now_ns);
      }
      if (now_ns - look_ns >= kLookNs) {
        look_ns = now_ns;
        LookAtFiles();
      }
    }
    while (!entries_.empty()) {
      Drop(entries_.begin()->first);
    }
    TellFlood();
  }

  void Take(const epoll_event& event) {
    const uint64_t id = event.data.u64 / 2;
    if (id == kListener) {
      Accept();
    } else if (id == kWake) {
      uint64_t unused = 0;
      [[maybe_unused]] const ssize_t got = read(wake_.get(), &unused, sizeof(unused));
      TakeConfig();
    } else if (const auto found = entries_.find(id); found != entries_.end()) {
      Entry& entry = found->second;
      if (const bool gone = (event.events & (EPOLLHUP | EPOLLERR)) != 0; gone && event.data.u64 % 2 == 1) {
        // Told again and again as long as it is waited for; what is left to read is read all the same.
        Poll(EPOLL_CTL_DEL, entry.connection->inner(), 0, 0);
        entry.inner_polled = false;
        entry.connection->InnerGone();
      } else if (gone && !entry.inner_name.empty()) {
        entry.connection->OuterGone();
      }
      Advance(id);
    }
  }

  void Accept() {
    for (int i = 0; i < kAcceptsAtOnce; ++i) {
      sockaddr_storage from{};
      socklen_t size = sizeof(from);
      Fd fd(accept4(listener_.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
          needs_.counters.refused[static_cast<size_t>(Refusal::kInternal)].Add();
          std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it stays readable
          return;
        }
        if (errno == EAGAIN) {
          return;
        }
        continue;  // the client has gone already
      }
      const std::string address = AddressText(from);
      const std::string source = SourceOf(from);
      const auto under_way = handshakes_.find(source);
      if (!sources_.Take(source, MonotonicNs())) {
        TellTooOften(source, address, Refusal::kRate, "more connections of this source than api.tcp.accept allows");
      } else if (entries_.size() - open_ >= config_.max_connections) {  // so many strangers do not shut out who can be let in
        TellTooOften(source, address, Refusal::kTooMany, "as many handshakes as api.tcp.max_connections are under way");
      } else if (under_way != handshakes_.end() && under_way->second >= MostHandshakes()) {
        TellTooOften(source, address, Refusal::kTooMany, "as many handshakes of this source as it may have are under way");
      } else {
        Admit(std::move(fd), source, address);
      }
    }
  }

  // Of one source at once: nobody alone keeps the door busy for all others.
  size_t MostHandshakes() const { return std::max<size_t>(4, config_.max_connections / 4); }

  // Nor does one who may come in shut all others out.
  size_t MostOfOne() const { return std::max<size_t>(1, config_.max_connections / 2); }
  size_t OpenOf(const std::string& identity) const {
    return static_cast<size_t>(std::ranges::count_if(entries_, [&](const auto& of) {
      return !of.second.inner_name.empty() && of.second.connection->verdict().identity.name == identity;
    }));
  }

  void HandshakeEnds(const std::string& source) {
    if (const auto found = handshakes_.find(source); found != handshakes_.end() && --found->second == 0) {
      handshakes_.erase(found);
    }
  }

  void Admit(Fd fd, const std::string& source, const std::string& address) {
    const int on = 1, seconds = kDeadPeerSeconds, ms = kDeadPeerSeconds * 1000;
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
    setsockopt(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
    const uint64_t id = next_id_++;
    Entry& entry = entries_[id];
    entry.connection = std::make_unique<DoorConnection>(std::move(fd), address, admission_);
    entry.source = source;
    ++handshakes_[source];
    entry.deadline_ns = MonotonicNs() + config_.handshake_ms * kMs;
    needs_.counters.opened.Add();
    if (!Poll(EPOLL_CTL_ADD, entry.connection->outer(), 0, id * 2)) {
      entry.connection->Refuse(Refusal::kInternal, "cannot wait for it");
    }
    Advance(id);
  }

  void Advance(uint64_t id) {
    const auto found = entries_.find(id);
    if (found == entries_.end()) {
      return;
    }
    Entry& entry = found->second;
    DoorConnection& connection = *entry.connection;
    const bool was_draining = entry.inner_name.empty() && connection.verdict().refusal.has_value();
    State state = connection.Advance();
    if (state == State::kAdmitted) {
      state = LetIn(id, entry);
    }
    if (state == State::kRefused && !was_draining) {
      const Verdict& verdict = connection.verdict();
      const Refusal why = verdict.refusal.value_or(Refusal::kInternal);
      if (why == Refusal::kTooMany) {
        TellTooOften(entry.source, connection.address(), why, verdict.detail);
      } else {
        TellRefused(connection.address(), why, verdict.detail);
      }
      entry.deadline_ns = MonotonicNs() + kDrainNs;
      state = connection.Drain();
    }
    if (state == State::kDone) {
      Drop(id);
      return;
    }
    SetInterest(id, entry);
  }

  State LetIn(uint64_t id, Entry& entry) {
    DoorConnection& connection = *entry.connection;
    if (open_ >= config_.max_connections) {
      connection.Refuse(Refusal::kTooMany, "api.tcp.max_connections are open");
      return State::kRefused;
    }
    if (const std::string& who = connection.verdict().identity.name; OpenOf(who) >= MostOfOne()) {
      connection.Refuse(Refusal::kTooMany, who + " has as many as one may: half of api.tcp.max_connections");
      return State::kRefused;
    }
    std::string name;
    Result<Fd> inner = connection.OpenInner(&name);
    if (!inner || !Poll(EPOLL_CTL_ADD, connection.inner(), 0, id * 2 + 1)) {
      connection.Refuse(Refusal::kInternal, inner ? "cannot wait for it" : inner.error().message);
      return State::kRefused;
    }
    entry.inner_polled = true;
    entry.inner_name = name;
    entry.deadline_ns = UINT64_MAX;
    ++open_;
    HandshakeEnds(entry.source);
    needs_.counters.handshakes.Add();
    needs_.callers.Put(name, {connection.address(), connection.verdict().identity});
    Tell(connection, AuditLine::Decision::kAllowed, "", "");
    needs_.hand_over(std::move(*inner));
    return connection.Advance();
  }

  void SetInterest(uint64_t id, Entry& entry) {
    const DoorConnection::Interest interest = entry.connection->interest();
    if (interest.outer != entry.outer_events) {
      entry.outer_events = interest.outer;
      Poll(EPOLL_CTL_MOD, entry.connection->outer(), interest.outer, id * 2);
    }
    if (entry.inner_polled && interest.inner != entry.inner_events) {
      entry.inner_events = interest.inner;
      Poll(EPOLL_CTL_MOD, entry.connection->inner(), interest.inner, id * 2 + 1);
    }
    if (interest.again) {
      again_.push_back(id);
    }
  }

  void Drop(uint64_t id) {
    const auto found = entries_.find(id);
    if (!found->second.inner_name.empty()) {
      needs_.callers.Erase(found->second.inner_name);
      --open_;
    } else {
      HandshakeEnds(found->second.source);
    }
    entries_.erase(found);  // closes, which takes it out of the poller
    needs_.counters.ended.Add();
  }

  // Handshakes that took too long, refused clients that do not go, certificates that have ended.
  void EndOverdue(uint64_t now_ns) {
    const uint64_t unix_s = WallNs() / kSecond;
    std::vector<uint64_t> overdue;
    for (auto& [id, entry] : entries_) {
      const bool open = !entry.inner_name.empty();
      if (open && entry.connection->verdict().ends_unix_s <= unix_s) {
        TellClosed(*entry.connection, Refusal::kExpired, "its certificate has ended");
        overdue.push_back(id);
      } else if (entry.deadline_ns <= now_ns) {
        if (!entry.connection->verdict().refusal) {
          TellRefused(entry.connection->address(), Refusal::kTimeout, "no whole handshake within api.tcp.handshake_ms");
        }
        overdue.push_back(id);
      }
    }
    std::ranges::for_each(overdue, [this](uint64_t id) { Drop(id); });
  }

  void LookAtFiles() {
    const std::string fingerprint = Admission::Fingerprint(config_);
    if (fingerprint != fingerprint_) {
      fingerprint_ = fingerprint;
      LoadAdmission();
    }
  }

  void TakeConfig() {
    std::optional<config::TcpApi> next;
    {
      const std::lock_guard lock(mutex_);
      next.swap(next_);
    }
    if (next) {
      next->address = config_.address;
      config_ = *next;
      sources_.SetRate(config_.accept);
      fingerprint_ = Admission::Fingerprint(config_);
      LoadAdmission();
    }
  }

  void LoadAdmission() {
    Result<std::shared_ptr<const Admission>> loaded = Admission::Load(config_);
    if (!loaded) {
      needs_.counters.reloads_failed.Add();
      needs_.counters.stale = true;
      spdlog::error("{}; what was in force stays", loaded.error().message);
      return;
    }
    admission_ = std::move(*loaded);
    needs_.counters.reloads.Add();
    needs_.counters.stale = false;
    spdlog::info("api.tcp: certificates and roles are read anew");
    std::vector<uint64_t> out;
    for (auto& [id, entry] : entries_) {
      if (entry.inner_name.empty()) {
        continue;
      }
      const Verdict verdict = entry.connection->Check(*admission_);
      if (verdict.refusal) {
        TellClosed(*entry.connection, *verdict.refusal, verdict.detail);
        out.push_back(id);
      } else if (verdict.identity != entry.connection->verdict().identity) {
        entry.connection->SetIdentity(verdict.identity);
        needs_.callers.Put(entry.inner_name, {entry.connection->address(), verdict.identity});
      }
    }
    std::ranges::for_each(out, [this](uint64_t id) { Drop(id); });
  }

  void Tell(const DoorConnection& connection, AuditLine::Decision decision, const char* reason, const std::string& detail) const {
    const Identity& identity = connection.verdict().identity;
    needs_.audit.Write({.event = AuditLine::Event::kConnection,
                        .decision = decision,
                        .unix_ns = WallNs(),
                        .peer = connection.address(),
                        .identity = identity.name,
                        .role = RoleName(identity.role),
                        .reason = reason,
                        .detail = detail});
  }

  void TellClosed(const DoorConnection& connection, Refusal refusal, const std::string& detail) const {
    needs_.counters.closed.Add();
    Tell(connection, AuditLine::Decision::kClosed, RefusalName(refusal), detail);
  }

  // Anybody can come as often as he likes: a line for each would push others' lines out of the audit. The first of a source and a second has one,
  // the others of the second have one together.
  void TellTooOften(const std::string& source, const std::string& address, Refusal refusal, const std::string& detail) {
    if (told_.size() < kSourcesTold && told_.insert({refusal, source}).second) {
      TellRefused(address, refusal, detail);
      return;
    }
    needs_.counters.refused[static_cast<size_t>(refusal)].Add();
    More& more = refusal == Refusal::kRate ? more_rate_ : more_too_many_;
    ++more.times;
    more.address = address;
  }

  void TellFlood() {
    told_.clear();
    for (auto [refusal, more] : {std::pair{Refusal::kRate, &more_rate_}, {Refusal::kTooMany, &more_too_many_}}) {
      if (more->times > 0) {
        WriteRefused(more->address, refusal, "more of the same second, of this or of other sources", more->times);
        *more = {};
      }
    }
  }

  void TellRefused(const std::string& address, Refusal refusal, const std::string& detail) const {
    needs_.counters.refused[static_cast<size_t>(refusal)].Add();
    WriteRefused(address, refusal, detail, 1);
  }

  void WriteRefused(const std::string& address, Refusal refusal, const std::string& detail, uint64_t times) const {
    needs_.audit.Write({.event = AuditLine::Event::kConnection,
                        .decision = AuditLine::Decision::kDenied,
                        .unix_ns = WallNs(),
                        .peer = address,
                        .reason = RefusalName(refusal),
                        .detail = detail,
                        .times = times});
  }

  struct More {
    uint64_t times = 0;
    std::string address{};  // of the last
  };

  config::TcpApi config_;  // the door's thread's, once it runs
  const Needs needs_;
  Limiter sources_;
  std::shared_ptr<const Admission> admission_;
  std::string fingerprint_;
  Fd listener_, poller_, wake_;
  uint16_t port_ = 0;
  uint64_t next_id_ = kFirstId;
  std::unordered_map<uint64_t, Entry> entries_;
  size_t open_ = 0;  // of them
  std::unordered_map<std::string, size_t> handshakes_;  // under way, or refused and not gone yet, by source
  std::set<std::pair<Refusal, std::string>> told_;  // of this second
  uint64_t told_ns_ = 0;
  More more_rate_, more_too_many_;
  std::vector<uint64_t> again_;
  std::mutex mutex_;
  std::optional<config::TcpApi> next_;
  Worker worker_;  // last: it uses all others
};

}  // namespace

Result<std::unique_ptr<Door>> Door::Open(const config::TcpApi& config, Needs needs) {
  auto door = std::make_unique<DoorImpl>(config, std::move(needs));
  MOAT_TRY(door->Begin());
  return door;
}

}  // namespace moat::api
