// SPDX-License-Identifier: Apache-2.0
// moatctl watch: the stream, until the count is reached, the time is up, a signal comes or the agent goes.
#include <google/protobuf/arena.h>
#include <grpcpp/grpcpp.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/cli/client.h"
#include "agent/cli/event_text.h"
#include "agent/cli/finding_text.h"
#include "agent/cli/text.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::cli {

namespace {

using SteadyClock = std::chrono::steady_clock;

// Ends the stream on SIGINT, SIGTERM or when the time is up. The signals are blocked in every thread and waited for in one, since
// cancelling a call is nothing a handler may do. Made before gRPC starts its threads.
class Stopper {
 public:
  explicit Stopper(uint64_t for_ms) {
    sigemptyset(&signals_);
    for (int signal : {SIGINT, SIGTERM, SIGUSR1}) {
      sigaddset(&signals_, signal);
    }
    pthread_sigmask(SIG_BLOCK, &signals_, &before_);
    std::signal(SIGPIPE, SIG_IGN);  // a reader that has seen enough (head) shows as EPIPE
    thread_ = std::thread([this, for_ms] { Wait(for_ms); });
  }
  ~Stopper() {
    done_ = true;
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
    if (!by_signal_) {  // else the program is ending: a second signal (timeout(1) sends two) must not make it end otherwise
      pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
  }
  void Watch(grpc::ClientContext* context) {
    std::lock_guard lock(mutex_);
    context_ = context;
    if (stopped_ && context) {
      context->TryCancel();
    }
  }
  bool stopped() const { return stopped_; }

 private:
  void Wait(uint64_t for_ms) {
    auto end = SteadyClock::now() + std::chrono::milliseconds(for_ms);
    int signal = 0;
    do {
      if (for_ms) {
        auto left = std::max<int64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(end - SteadyClock::now()).count(), 0);
        timespec timeout{left / 1'000'000'000, left % 1'000'000'000};
        signal = sigtimedwait(&signals_, nullptr, &timeout);
      } else {
        signal = sigwaitinfo(&signals_, nullptr);
      }
    } while (signal < 0 && errno == EINTR);
    if (done_) {
      return;
    }
    std::lock_guard lock(mutex_);
    by_signal_ = signal > 0;
    stopped_ = true;
    if (context_) {
      context_->TryCancel();
    }
  }

  sigset_t signals_{}, before_{};
  std::atomic<bool> done_{false}, stopped_{false}, by_signal_{false};
  std::mutex mutex_;
  grpc::ClientContext* context_ = nullptr;
  std::thread thread_;
};

class Watcher {
 public:
  explicit Watcher(const Options& options) : options_(options), stopper_(options.for_ms) {
    if (options.since == "oldest") {
      request_.set_replay(true);
    } else {
      request_.set_cursor(options.since);
    }
    auto* filter = request_.mutable_filter();
    filter->mutable_kinds()->Assign(options.kinds.begin(), options.kinds.end());
    filter->mutable_pids()->Assign(options.pids.begin(), options.pids.end());
    filter->mutable_cgroups()->Assign(options.cgroups.begin(), options.cgroups.end());
    filter->mutable_assets()->Assign(options.assets.begin(), options.assets.end());
    filter->mutable_devices()->Assign(options.devices.begin(), options.devices.end());
    filter->mutable_destinations()->Assign(options.destinations.begin(), options.destinations.end());
    if (v1::Severity severity; SeverityFromWord(options.findings.min_severity, &severity)) {
      filter->set_min_severity(severity);
    }
    filter->mutable_finding_kinds()->Assign(options.findings.kinds.begin(), options.findings.kinds.end());
  }

  int Run() {
    auto channel = Connect(options_);
    auto stub = v1::Monitor::NewStub(channel);
    auto pause = std::chrono::milliseconds(200);
    int code = kExitOk;
    for (;;) {
      grpc::Status status = Stream(*stub);
      if (ended_ || stopper_.stopped() || status.ok()) {
        break;
      }
      if (!options_.reconnect || status.error_code() != grpc::StatusCode::UNAVAILABLE) {
        if (status.error_code() == grpc::StatusCode::UNAVAILABLE && received_) {
          std::fprintf(stderr, "moatctl: the agent at %s has ended\n", Safe(options_.address).c_str());
          code = kExitUnreachable;
        } else {
          code = Complain(options_, status);
        }
        break;
      }
      std::fprintf(stderr, "moatctl: no connection to %s, trying again\n", Safe(options_.address).c_str());
      for (auto end = SteadyClock::now() + pause; SteadyClock::now() < end && !stopper_.stopped();) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
      }
      pause = received_ ? std::chrono::milliseconds(200) : std::min(pause * 2, std::chrono::milliseconds(5000));
    }
    if (code != kExitUsage && !(code == kExitUnreachable && cursor_.empty())) {
      Summary();
    }
    return code;
  }

 private:
  grpc::Status Stream(v1::Monitor::Stub& stub) {
    grpc::ClientContext context;
    stopper_.Watch(&context);
    auto reader = stub.Watch(&context, request_);
    received_ = false;
    google::protobuf::ArenaOptions arena_options;
    arena_options.initial_block = block_.data();
    arena_options.initial_block_size = block_.size();
    google::protobuf::Arena arena(arena_options);
    while (!ended_) {
      auto* response = google::protobuf::Arena::CreateMessage<v1::WatchResponse>(&arena);
      if (!reader->Read(response)) {
        break;
      }
      received_ = true;
      Take(*response);
      arena.Reset();
    }
    if (ended_) {
      context.TryCancel();
    }
    grpc::Status status = reader->Finish();
    stopper_.Watch(nullptr);
    processes_ = {};  // refs are the stream's own
    return status;
  }

  void Take(const v1::WatchResponse& response) {
    out_.clear();
    if (response.lost() || response.agent_restarted()) {
      lost_ += response.lost();
      AppendLost(out_, response.lost(), response.agent_restarted(), options_.json, options_.color);
    }
    if (!options_.discard) {
      processes_.Add(response, options_.json);
    }
    for (const auto& event : response.events()) {
      if (!options_.discard) {
        options_.json ? AppendJson(out_, event, processes_) : AppendHuman(out_, event, processes_, options_.color);
      }
      missing_ += event.has_gap() ? event.gap().count() : 0;
      if (++events_ == options_.count) {
        ended_ = true;
        break;
      }
    }
    if (std::fwrite(out_.data(), 1, out_.size(), stdout) != out_.size() || std::fflush(stdout) != 0) {
      ended_ = true;  // whoever read us has seen enough
    }
    cursor_ = response.cursor();
    request_.set_cursor(cursor_);
    request_.set_replay(false);
  }

  void Summary() const {
    std::string line =
        Number(events_) + " events, " + Number(missing_) + " missing (gaps), " + Number(lost_) + " lost by this subscriber";
    if (!cursor_.empty() && events_ != options_.count) {
      line += "; to go on: --since " + Safe(cursor_);
    }
    std::fprintf(stderr, "%s\n", Paint(options_.color && isatty(2), lost_ || missing_ ? Color::kRed : Color::kDim, line).c_str());
  }

  const Options& options_;
  Stopper stopper_;
  v1::WatchRequest request_;
  std::vector<char> block_ = std::vector<char>(1 << 20);  // the arena's: parsing costs no allocation
  Processes processes_;
  std::string out_, cursor_;
  uint64_t events_ = 0, lost_ = 0, missing_ = 0;
  bool ended_ = false, received_ = false;
};

}  // namespace

int RunWatch(const Options& options) { return Watcher(options).Run(); }

}  // namespace moat::cli
