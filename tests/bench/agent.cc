// SPDX-License-Identifier: Apache-2.0
// The real moatd and a real subscriber, both on the agent's core; the load on its own.
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <chrono>
#include <sstream>
#include <thread>

#include "moat/v1/services.grpc.pb.h"
#include "tests/bench/cost.h"

namespace moat::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

struct Received {
  uint64_t ioctls = 0, gaps = 0, lost = 0, responses = 0;
  double p50_us = 0, p99_us = 0, max_us = 0;
};

Result<Received> Ask(Child& subscriber) {
  MOAT_TRY(subscriber.Tell("?"));
  MOAT_ASSIGN(const std::string line, subscriber.Hear());
  Received r;
  std::istringstream(line) >> r.ioctls >> r.gaps >> r.lost >> r.responses >> r.p50_us >> r.p99_us >> r.max_us;
  return r;
}

// Asks for the latencies and until the count stands still, or has come to what is expected.
Result<Received> Settle(Child& subscriber, uint64_t expected) {
  MOAT_ASSIGN(const Received first, Ask(subscriber));
  Received last = first;
  for (int quiet = 0; quiet < 10 && last.ioctls + last.lost + last.gaps < expected;) {
    std::this_thread::sleep_for(milliseconds(100));
    MOAT_ASSIGN(const Received now, Ask(subscriber));
    quiet = now.ioctls == last.ioctls ? quiet + 1 : 0;
    last = now;
  }
  last.p50_us = first.p50_us;
  last.p99_us = first.p99_us;
  last.max_us = first.max_us;
  return last;
}

class Agent {
 public:
  static Result<Agent> Start(const Host& host, int cpu) {
    Agent agent;
    agent.socket_ = host.directory() + "/moat.sock";
    MOAT_TRY(host.WriteMoatYaml(host.directory() + "/moatd.yaml", agent.socket_));
    const auto start = steady_clock::now();
    MOAT_ASSIGN(agent.process_, Child::Start({BinaryPath("moatd"), "--config", host.directory() + "/moatd.yaml"}, false, cpu));
    agent.stub_ = v1::Status::NewStub(grpc::CreateChannel("unix:" + agent.socket_, grpc::InsecureChannelCredentials()));
    v1::AgentStatus status;
    MOAT_ASSIGN(status, agent.Get(milliseconds(10'000)));
    agent.answering_ms_ = std::chrono::duration<double, std::milli>(steady_clock::now() - start).count();
    agent.attach_ms_ = status.attach_ms();
    for (const v1::Domain& domain : status.domains()) {
      if (!domain.loaded()) {
        return Fail(Code::kFailedPrecondition, "domain " + domain.name() + " did not load: " + domain.error());
      }
    }
    return agent;
  }
  Result<v1::AgentStatus> Get(milliseconds limit) {
    const auto end = steady_clock::now() + limit;
    for (;;) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + milliseconds(1000));
      v1::GetResponse response;
      const grpc::Status status = stub_->Get(&context, v1::GetRequest(), &response);
      if (status.ok()) {
        return response.agent();
      }
      if (steady_clock::now() > end) {
        return Fail(Code::kUnavailable, "moatd does not answer: " + status.error_message());
      }
      // A new channel each time: gRPC's own reconnecting backs off for a second.
      std::this_thread::sleep_for(milliseconds(5));
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      stub_ = v1::Status::NewStub(grpc::CreateCustomChannel("unix:" + socket_, grpc::InsecureChannelCredentials(), arguments));
    }
  }
  // attempted = delivered + lost, told by the agent itself.
  Result<std::string> Unbalanced() {
    MOAT_ASSIGN(const v1::AgentStatus status, Get(milliseconds(2000)));
    std::string text;
    for (const v1::KindLedger& kind : status.ledger()) {
      uint64_t lost = 0;
      for (const v1::Lost& reason : kind.lost()) {
        lost += reason.count();
      }
      if (kind.attempted() != kind.delivered() + lost) {
        text += v1::Kind_Name(kind.kind()) + ": attempted " + std::to_string(kind.attempted()) + ", delivered " +
                std::to_string(kind.delivered()) + ", lost " + std::to_string(lost) + "; ";
      }
    }
    return text;
  }
  pid_t pid() const { return process_.pid(); }
  const std::string& socket() const { return socket_; }
  double answering_ms() const { return answering_ms_; }
  uint64_t attach_ms() const { return attach_ms_; }
  int Stop() { return process_.Stop(SIGTERM); }

 private:
  Child process_;
  std::string socket_;
  std::unique_ptr<v1::Status::Stub> stub_;
  double answering_ms_ = 0;
  uint64_t attach_ms_ = 0;
};

struct Paced {
  Sample load;
  Received received;  // latencies of this run; counts since the subscriber's start
  uint64_t delivered = 0;
  double agent_ns = 0, subscriber_ns = 0;  // CPU, an event
  double percent = 0;                      // of a core, both together
};

class Run {
 public:
  Run(const Host& host, const Options& options, Report& report) : host_(host), options_(options), report_(report) {}

  Status Measure() {
    MOAT_ASSIGN(agent_, Agent::Start(host_, options_.agent_cpu));
    report_.Add({"start to all hooks attached", "", "", "", Text("answers after %.0f ms", agent_.answering_ms()),
                 Text("%.0f ms", static_cast<double>(agent_.attach_ms())), "", "<= 200 ms", agent_.attach_ms() <= 200});
    MOAT_TRY(Idle());
    MOAT_ASSIGN(load_, host_.StartLoad(options_.load_cpu));
    MOAT_ASSIGN(subscriber_, Child::Start({BinaryPath("bench_subscriber"), agent_.socket()}, true, options_.agent_cpu));
    MOAT_ASSIGN(const std::string ready, subscriber_.Hear());
    MOAT_TRY(Slow());
    MOAT_TRY(Fast());
    const uint64_t rss = std::max(idle_rss_, ResidentBytes(agent_.pid()));
    report_.Add({"resident memory, the most seen", "", "", "", Text("%.1f MiB idle", static_cast<double>(idle_rss_) / 1048576),
                 Text("%.1f MiB", static_cast<double>(rss) / 1048576), "", "<= 40 MiB", rss <= 40u << 20});
    std::string unbalanced = "not asked";
    for (int i = 0; i < 20 && !unbalanced.empty(); i++) {  // sums, told once a second, are on their way for a moment
      MOAT_ASSIGN(unbalanced, agent_.Unbalanced());
      std::this_thread::sleep_for(milliseconds(unbalanced.empty() ? 0 : 100));
    }
    if (!unbalanced.empty()) {
      report_.Broken("agent: " + unbalanced);
    }
    if (const int code = agent_.Stop(); code != 0) {
      report_.Broken("moatd ended with " + std::to_string(code) + " on SIGTERM");
    }
    return {};
  }

 private:
  Status Idle() {
    std::this_thread::sleep_for(milliseconds(2000));
    const int seconds = options_.full ? 60 : 20;
    const uint64_t cpu = ProcessCpuNs(agent_.pid());
    const auto start = steady_clock::now();
    std::this_thread::sleep_for(std::chrono::seconds(seconds));
    const auto wall = static_cast<double>((steady_clock::now() - start).count());
    const double percent = static_cast<double>(ProcessCpuNs(agent_.pid()) - cpu) * 100 / wall;
    idle_rss_ = ResidentBytes(agent_.pid());
    report_.Add({"idle, " + std::to_string(seconds) + " s", "", "", "", "", Text("%.3f %% of a core", percent), "", "<= 0.05 %",
                 percent <= 0.05});
    return {};
  }

  Result<Paced> Pace(uint64_t rate, uint64_t ms) {
    MOAT_ASSIGN(const Received before, Ask(subscriber_));
    const uint64_t agent = ProcessCpuNs(agent_.pid());
    const uint64_t subscriber = ProcessCpuNs(subscriber_.pid());
    const auto start = steady_clock::now();
    Paced paced;
    MOAT_ASSIGN(paced.load, RunLoad(load_, "pace ioctl_watched " + std::to_string(rate) + " " + std::to_string(ms)));
    std::this_thread::sleep_for(milliseconds(100));  // the last flush
    const auto wall = static_cast<double>((steady_clock::now() - start).count());
    const auto agent_ns = static_cast<double>(ProcessCpuNs(agent_.pid()) - agent);
    const auto subscriber_ns = static_cast<double>(ProcessCpuNs(subscriber_.pid()) - subscriber);
    MOAT_ASSIGN(paced.received, Settle(subscriber_, before.ioctls + paced.load.count));
    paced.delivered = paced.received.ioctls - before.ioctls;
    const auto events = static_cast<double>(paced.load.count);
    paced.agent_ns = agent_ns / events;
    paced.subscriber_ns = subscriber_ns / events;
    paced.percent = (agent_ns + subscriber_ns) * 100 / wall;
    // A loss that is told is a goal not met; one that is not told is broken.
    const uint64_t by_stream = paced.received.lost - before.lost, by_gaps = paced.received.gaps - before.gaps;
    if (paced.delivered != paced.load.count) {
      const std::string said = "subscriber at " + std::to_string(rate) + "/s: " + std::to_string(paced.load.count) + " ioctls, " +
                               std::to_string(paced.delivered) + " came, " + std::to_string(by_stream) + " lost by the stream, " +
                               std::to_string(by_gaps) + " told as gaps";
      paced.delivered + by_stream + by_gaps == paced.load.count ? report_.Note(said) : report_.Broken(said);
    }
    return paced;
  }

  Status Slow() {
    MOAT_TRY(Pace(10'000, 1000));  // warm up: first batches, first pages
    MOAT_ASSIGN(const Paced p, Pace(10'000, options_.full ? 30'000 : 5'000));
    const std::string parts = Text("%.0f ns", p.agent_ns) + Text(" + %.0f", p.subscriber_ns);
    report_.Add({"10,000 events/s, agent + subscriber", "", "", "", parts, Text("%.2f %% of a core", p.percent), "", "<= 3.5 %",
                 p.percent <= 3.5});
    report_.Add({"10,000 events/s, agent with gRPC", "", "", "",
                 Text("%.0f responses/s", static_cast<double>(p.received.responses) / static_cast<double>(p.load.wall_ns) * 1e9),
                 Text("%.0f ns an event", p.agent_ns), "", "<= 1,000 ns", p.agent_ns <= 1000});
    report_.Add({"event to subscriber", "", "", "",
                 Text("p50 %.1f ms", p.received.p50_us / 1000) + Text(", max %.1f", p.received.max_us / 1000),
                 Text("p99 %.1f ms", p.received.p99_us / 1000), "", "<= 50 ms", p.received.p99_us <= 50'000});
    return {};
  }

  Status Fast() {
    MOAT_ASSIGN(const Paced p, Pace(500'000, options_.full ? 60'000 : 8'000));
    const bool lossless = p.delivered == p.load.count && p.received.lost == 0;
    report_.Add({"500,000 events/s to a subscriber", "", "", "",
                 Text("%.0f ns", p.agent_ns) + Text(" + %.0f", p.subscriber_ns) + Text(", %.0f %% of a core", p.percent),
                 Text("%.0f k/s", p.load.PerSecond() / 1000) + Text(" for %.0f s", static_cast<double>(p.load.wall_ns) / 1e9) +
                     (lossless ? ", all came" : ", with losses"),
                 "", options_.full ? "no loss, 60 s" : "no loss", lossless && p.load.PerSecond() >= 495'000});
    report_.Add({"500,000 events/s, agent with gRPC", "", "", "", "", Text("%.0f ns an event", p.agent_ns), "", "<= 1,000 ns",
                 p.agent_ns <= 1000});
    return {};
  }

  const Host& host_;
  const Options& options_;
  Report& report_;
  Agent agent_;
  Child load_, subscriber_;
  uint64_t idle_rss_ = 0;
};

}  // namespace

Status MeasureAgent(const Host& host, const Options& options, Report& report) { return Run(host, options, report).Measure(); }

}  // namespace moat::bench
