// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/domain.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/probe/log.h"

namespace moat::probe {
namespace {

// Whether the kernel can run a candidate at all; the reason why not.
Answer Offered(const Candidate& candidate, const Features* features) {
  if (features == nullptr) {
    return {false, "the kernel's features could not be asked (no BTF)"};
  }
  switch (candidate.backend) {
    case Backend::kTpBtf: return features->tp_btf;
    case Backend::kSyscallExit: return features->syscall_exit;
    case Backend::kIter: return features->task_iter;
    case Backend::kCgroupAddr: return features->cgroup_addr;
    case Backend::kCgroupSock: return features->cgroup_sock;
  }
  return {};
}

std::string Join(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) {
    out += out.empty() ? "" : ", ";
    out += word;
  }
  return out;
}

}  // namespace

Domain::~Domain() { Refuse("stopped"); }

void Domain::Refuse(std::string why) {
  for (Hook& hook : hooks_) {
    for (bpf_link* link : hook.links) {
      bpf_link__destroy(link);
    }
    hook.links.clear();
    for (const uint32_t slot : hook.slots) {
      calls_->Remove(slot);
    }
    hook.slots.clear();
    hook.attached = false;
    hook.program = nullptr;
  }
  bpf_object__close(object_);
  object_ = nullptr;
  loaded_ = false;
  error_ = std::move(why);
}

void Domain::Open() {
  LIBBPF_OPTS(bpf_object_open_opts, options);
  options.object_name = name_.c_str();
  LogCapture log;
  object_ = bpf_object__open_mem(image_.bytes.data(), image_.bytes.size(), &options);
  if (object_ == nullptr) {
    const int err = errno;
    error_ = "the BPF object cannot be opened: " + std::string(std::strerror(err)) + ": " + log.Tail();
  }
}

void Domain::ChooseFor(Hook& hook, const Features* features) {
  std::string refused;  // the better ones, and why
  const auto refuse = [&refused](const std::string& candidate, const std::string& why) {
    refused += (refused.empty() ? "" : "; ") + candidate + ": " + why;
  };
  for (const Candidate& candidate : hook.row->candidates) {
    const std::string as = std::string(BackendName(candidate.backend)) + " " + candidate.program;
    bpf_program* program = bpf_object__find_program_by_name(object_, candidate.program);
    if (program == nullptr) {
      refuse(as, "not part of this build");
      continue;
    }
    const Answer answer = Offered(candidate, features);
    if (!answer.yes) {
      refuse(as, "the kernel refuses: " + answer.why);
      continue;
    }
    std::vector<std::string> present, absent;
    for (const std::string_view point : candidate.attach) {
      const bool is_call = candidate.backend == Backend::kSyscallExit;
      const bool has = is_call ? SyscallNumber(point).has_value() : features->HasTracepoint(point);
      (has ? present : absent).emplace_back(point);
    }
    if (present.empty() && !absent.empty()) {
      refuse(as, "the kernel lacks " + Join(absent));
      continue;
    }
    hook.candidate = &candidate;
    hook.program = program;
    hook.points = std::move(present);
    hook.why =
        answer.why + (absent.empty() ? "" : ", without " + Join(absent)) + (refused.empty() ? "" : "; passed over: " + refused);
    return;
  }
  hook.why = refused;
}

void Domain::Choose(const Features* features) {
  if (object_ == nullptr) {
    return;
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object_) { bpf_program__set_autoload(program, false); }
  for (const Row& row : Table()) {
    if (name_ != row.domain) {
      continue;
    }
    Hook hook;
    hook.row = &row;
    ChooseFor(hook, features);
    if (hook.program != nullptr) {
      bpf_program__set_autoload(hook.program, true);
      bpf_program__set_autoattach(hook.program, false);
    }
    hooks_.push_back(std::move(hook));
  }
}

void Domain::Load(const SharedMaps& maps) {
  if (object_ == nullptr) {
    return;
  }
  if (Status shared = maps.GiveTo(object_); !shared) {
    Refuse(shared.error().message);
    return;
  }
  LogCapture log;
  if (const int err = bpf_object__load(object_); err != 0) {
    Refuse("the kernel refuses to load it: " + std::string(std::strerror(-err)) + ": " + log.Tail());
    spdlog::error("domain {}: {}", name_, error_);
    return;
  }
  loaded_ = true;
}

Status Domain::MayAttach(const Hook& hook, const Grounds& grounds) {
  const Backend backend = hook.candidate->backend;
  if (!grounds.cgroup && (backend == Backend::kCgroupAddr || backend == Backend::kCgroupSock)) {
    return Fail(Code::kFailedPrecondition, "no cgroup2 tree to attach to");
  }
  if (!grounds.syscall_exit && backend == Backend::kSyscallExit) {
    return Fail(Code::kFailedPrecondition, "no program sits on sys_exit (see domain syscall)");
  }
  return {};
}

Status Domain::AttachHook(Hook& hook, SyscallTable* calls, int cgroup_fd) {
  MOAT_TRY(MayAttach(hook, {.syscall_exit = calls != nullptr, .cgroup = cgroup_fd >= 0}));
  const auto keep = [&hook](bpf_link* link, const std::string& where) -> Status {
    if (link == nullptr) {
      return FailErrno(errno, "attach " + where);
    }
    hook.links.push_back(link);
    return {};
  };
  switch (hook.candidate->backend) {
    case Backend::kIter: return {};  // attached per reading, by scan.cc
    case Backend::kTpBtf: return keep(bpf_program__attach_trace(hook.program), hook.points.front());
    case Backend::kCgroupAddr:
    case Backend::kCgroupSock: return keep(bpf_program__attach_cgroup(hook.program, cgroup_fd), "to the scope's cgroup");
    case Backend::kSyscallExit: break;
  }
  for (const std::string& point : hook.points) {
    if (const auto call = SyscallNumber(point)) {  // points are those that have one
      MOAT_ASSIGN(const uint32_t slot, calls->Add(*call, bpf_program__fd(hook.program), hook.candidate->passes_on));
      hook.slots.push_back(slot);
    }
  }
  return {};
}

void Domain::Attach(SyscallTable* calls, int cgroup_fd) {
  if (!loaded_) {
    return;
  }
  calls_ = calls;
  for (Hook& hook : hooks_) {
    if (hook.candidate == nullptr) {
      continue;
    }
    LogCapture log;
    if (Status status = AttachHook(hook, calls, cgroup_fd); !status) {
      hook.why = status.error().message;
      spdlog::error("hook {}: {}", hook.row->event, hook.why);
    } else {
      hook.attached = true;
    }
  }
}

void Domain::Presume(const Grounds& grounds) {
  for (Hook& hook : hooks_) {
    if (!loaded_ || hook.candidate == nullptr) {
      continue;
    }
    if (Status status = MayAttach(hook, grounds); !status) {
      hook.why = status.error().message;
    } else {
      hook.attached = true;
    }
  }
}

bool Domain::attached(std::string_view event) const {
  return std::ranges::any_of(hooks_, [event](const Hook& hook) { return hook.row->event == event && hook.attached; });
}

int Domain::MapFd(const char* name) const { return loaded_ ? bpf_object__find_map_fd_by_name(object_, name) : -1; }

bpf_program* Domain::Program(const char* name) const {
  bpf_program* program = loaded_ ? bpf_object__find_program_by_name(object_, name) : nullptr;
  return program != nullptr && bpf_program__fd(program) >= 0 ? program : nullptr;
}

// Only what the kernel runs by itself on a tracepoint can be skipped (bpf_trace_run counts it): not the programs behind sys_exit,
// which are jumped to, nor cgroup programs and iterators.
uint64_t Domain::Missed(const Hook& hook) {
  if (!hook.attached || hook.program == nullptr || hook.candidate->backend != Backend::kTpBtf) {
    return 0;
  }
  bpf_prog_info info{};
  uint32_t length = sizeof(info);
  return bpf_obj_get_info_by_fd(bpf_program__fd(hook.program), &info, &length) == 0 ? info.recursion_misses : 0;
}

void Domain::MissedRuns(std::span<uint64_t, MOAT_KIND_COUNT> by_kind) const {
  for (const Hook& hook : hooks_) {
    if (hook.candidate != nullptr) {
      by_kind[hook.candidate->missed] += Missed(hook);
    }
  }
}

DomainStatus Domain::Describe() const {
  DomainStatus status{.name = name_, .loaded = loaded_, .error = error_, .hooks = {}};
  for (const Hook& hook : hooks_) {
    HookStatus out;
    out.event = hook.row->event;
    out.why = loaded_ ? hook.why : error_;
    out.attached = hook.attached;
    if (hook.candidate != nullptr) {
      out.backend = BackendName(hook.candidate->backend);
      out.program = hook.candidate->program;
      out.unseen.assign(hook.candidate->unseen.begin(), hook.candidate->unseen.end());
      out.runs_missed = Missed(hook);
    }
    if (!hook.attached) {
      out.unseen = {"all of it"};
    }
    status.hooks.push_back(std::move(out));
  }
  return status;
}

}  // namespace moat::probe
