// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/baseline.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "ringonly.skel.h"
#include "tests/bench/host.h"

namespace moat::bench {
namespace {

class EmptyBaseline final : public Baseline {
 public:
  static Result<std::unique_ptr<Baseline>> Create(const std::vector<Hook>& hooks, int cgroup_fd) {
    auto baseline = std::make_unique<EmptyBaseline>();
    baseline->cgroup_ = cgroup_fd;
    for (const Hook& hook : hooks) {
      MOAT_ASSIGN(Fd program, LoadEmpty(hook));  // one each: a tracepoint refuses the same program twice
      baseline->programs_.emplace_back(hook, std::move(program));
    }
    return baseline;
  }
  Status Attach() override {
    for (const auto& [hook, program] : programs_) {
      MOAT_ASSIGN(Fd link, bench::Attach(hook, program.get(), cgroup_));
      links_.push_back(std::move(link));
    }
    return {};
  }
  void Detach() override { links_.clear(); }
  uint64_t lost() const override { return 0; }
  uint64_t received() const override { return 0; }

 private:
  int cgroup_ = -1;
  std::vector<std::pair<Hook, Fd>> programs_;
  std::vector<Fd> links_;
};

class RingBaseline final : public Baseline {
 public:
  static Result<std::unique_ptr<Baseline>> Create(uint64_t cgroup_id, int cgroup_fd, int agent_cpu) {
    auto baseline = std::make_unique<RingBaseline>();
    baseline->cgroup_ = cgroup_fd;
    baseline->cpu_ = agent_cpu;
    baseline->object_.reset(ringonly_bpf__open());
    if (!baseline->object_) {
      return FailErrno(errno, "open the ring-only object");
    }
    baseline->object_->rodata->scope_id = cgroup_id;
    if (const int error = ringonly_bpf__load(baseline->object_.get()); error != 0) {
      return FailErrno(-error, "load the ring-only object");
    }
    const auto count = [](void* self, void*, size_t) {
      static_cast<RingBaseline*>(self)->received_.fetch_add(1, std::memory_order_relaxed);
      return 0;
    };
    baseline->ring_.reset(ring_buffer__new(bpf_map__fd(baseline->object_->maps.ring), count, baseline.get(), nullptr));
    if (!baseline->ring_) {
      return FailErrno(errno, "map the ring");
    }
    return baseline;
  }
  ~RingBaseline() override { Detach(); }

  Status Attach() override {
    const auto& p = object_->progs;
    const std::pair<Hook, bpf_program*> all[] = {
        {{Hook::Type::kTpBtf, "sys_exit", 0}, p.ring_syscall},
        {{Hook::Type::kTpBtf, "sched_process_fork", 0}, p.ring_fork},
        {{Hook::Type::kTpBtf, "sched_process_exec", 0}, p.ring_exec},
        {{Hook::Type::kTpBtf, "sched_process_exit", 0}, p.ring_exit},
        {{Hook::Type::kCgroup, "connect4", BPF_CGROUP_INET4_CONNECT}, p.ring_connect},
        {{Hook::Type::kCgroup, "sock_release", BPF_CGROUP_INET_SOCK_RELEASE}, p.ring_release},
    };
    for (const auto& [hook, program] : all) {
      MOAT_ASSIGN(Fd link, bench::Attach(hook, bpf_program__fd(program), cgroup_));
      links_.push_back(std::move(link));
    }
    drain_ = std::jthread([this](const std::stop_token& stop) {
      PinThread(cpu_);
      while (!stop.stop_requested()) {
        ring_buffer__consume(ring_.get());
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      ring_buffer__consume(ring_.get());
    });
    return {};
  }
  void Detach() override {
    links_.clear();
    drain_ = {};
  }
  uint64_t lost() const override { return object_->bss->lost; }
  uint64_t received() const override { return received_.load(std::memory_order_relaxed); }

 private:
  struct Free {
    void operator()(ringonly_bpf* object) const { ringonly_bpf__destroy(object); }
    void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
  };
  int cgroup_ = -1;
  int cpu_ = 0;
  std::unique_ptr<ringonly_bpf, Free> object_;
  std::unique_ptr<ring_buffer, Free> ring_;
  std::vector<Fd> links_;
  std::jthread drain_;
  std::atomic<uint64_t> received_{0};
};

}  // namespace

Result<std::unique_ptr<Baseline>> Baseline::Empty(const std::vector<Hook>& hooks, int cgroup_fd) {
  return EmptyBaseline::Create(hooks, cgroup_fd);
}

Result<std::unique_ptr<Baseline>> Baseline::RingOnly(uint64_t cgroup_id, int cgroup_fd, int agent_cpu) {
  return RingBaseline::Create(cgroup_id, cgroup_fd, agent_cpu);
}

}  // namespace moat::bench
