// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/domain.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/probe/log.h"

namespace moat::probe {
namespace {

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

void Domain::Close() {
  for (Hook& hook : hooks_) {
    for (bpf_link* link : hook.links) {
      bpf_link__destroy(link);
    }
    for (const uint32_t slot : hook.slots) {
      if (!kept_) {
        calls_->Remove(slot);
      }
    }
  }
  hooks_.clear();
  libraries_.clear();
  bpf_object__close(object_);
  object_ = nullptr;
  loaded_ = false;
}

void Domain::Refuse(std::string why) {
  std::vector<Hook> told;  // the events stay listed, with nothing behind them
  for (const Hook& hook : hooks_) {
    told.emplace_back().row = hook.row;
  }
  Close();
  hooks_ = std::move(told);
  error_ = std::move(why);
}

// Whether the kernel can run a candidate at all; the reason why not.
Answer Domain::Offered(const Candidate& candidate) const {
  if (features_ == nullptr) {
    return {false, "the kernel's features could not be asked (no BTF)"};
  }
  if (std::ranges::find(avoid_, BackendName(candidate.backend)) != avoid_.end()) {
    return {false, "configuration avoids it"};
  }
  if (candidate.needs != nullptr && !(features_->*candidate.needs).yes) {
    return features_->*candidate.needs;
  }
  if (candidate.if_no_fentry && features_->fentry.yes &&
      std::ranges::find(avoid_, BackendName(Backend::kFentry)) == avoid_.end()) {
    return {false, "fentry programs run here, which cost nobody else"};
  }
  if (candidate.lacks != nullptr && features_->Has(Backend::kFentry, candidate.lacks)) {
    return {false, std::string("the kernel has ") + candidate.lacks + ", whose program is to see it"};
  }
  switch (candidate.backend) {
    case Backend::kLsm: return features_->lsm;
    case Backend::kFmodRet: return features_->fmod_ret;
    case Backend::kFentry: return features_->fentry;
    case Backend::kKprobe: return features_->kprobe;
    case Backend::kUprobe:
      return library_.empty() ? Answer{false, "there is no library of that name where the host keeps its own"}
                              : features_->uprobe;
    case Backend::kTpBtf:
    case Backend::kSyscallExit: return features_->tp_btf;
    case Backend::kIter: return features_->task_iter;
    case Backend::kCgroupAddr: return features_->cgroup_addr;
    case Backend::kCgroupSock: return features_->cgroup_sock;
    case Backend::kSockOps: return features_->sock_ops;
    case Backend::kCgroupSkb: return features_->cgroup_skb;
    case Backend::kFanotify: return features_->fanotify;
  }
  return {};
}

const Domain::Hook* Domain::Find(std::string_view event) const {
  const auto found = std::ranges::find_if(hooks_, [event](const Hook& hook) { return hook.row->event == event; });
  return found == hooks_.end() ? nullptr : &*found;
}

void Domain::ChooseFor(Hook& hook) {
  std::string refused, apart;  // the better ones, and why
  const auto refuse = [&refused](const Candidate& candidate, const std::string& why) {
    refused += (refused.empty() ? "" : "; ") + std::string(BackendName(candidate.backend)) +
               (candidate.program != nullptr ? std::string(" ") + candidate.program : "") + ": " + why;
  };
  for (const Candidate& candidate : hook.row->candidates) {
    if (candidate.with != nullptr) {
      const Hook* other = Find(candidate.with);
      if (other == nullptr || other->candidate == nullptr || other->candidate->backend != candidate.with_backend) {
        apart = std::string("it goes with another program of ") + candidate.with;
        continue;
      }
    }
    const Answer answer = Offered(candidate);
    if (!answer.yes) {
      refuse(candidate, answer.why);
      continue;
    }
    if (candidate.program == nullptr) {
      hook.candidate = &candidate;
      hook.why = candidate.with != nullptr ? std::string("seen by the program of ") + candidate.with
                                           : answer.why + (refused.empty() ? "" : "; passed over: " + refused);
      return;
    }
    if (const auto known = refused_.find(candidate.program); known != refused_.end()) {
      refuse(candidate, known->second);
      continue;
    }
    bpf_program* program = bpf_object__find_program_by_name(object_, candidate.program);
    if (program == nullptr) {
      refuse(candidate, "not part of this build");
      continue;
    }
    std::vector<std::string> present, absent;
    for (const std::string_view point : candidate.attach) {
      const bool is_call = candidate.backend == Backend::kSyscallExit;
      const bool has = is_call ? SyscallNumber(point).has_value() : features_->Has(candidate.backend, point);
      (has ? present : absent).emplace_back(point);
    }
    if (present.empty() && !absent.empty()) {
      refuse(candidate, "the kernel lacks " + Join(absent));
      continue;
    }
    hook.candidate = &candidate;
    hook.program = program;
    hook.points = std::move(present);
    hook.why =
        answer.why + (absent.empty() ? "" : ", without " + Join(absent)) + (refused.empty() ? "" : "; passed over: " + refused);
    return;
  }
  hook.why = refused.empty() ? apart : refused;
}

void Domain::Open() {
  if (!error_.empty()) {
    return;
  }
  Close();
  const std::span<const std::byte> bytes = features_ != nullptr && features_->cast.yes ? image_.bytes : image_.legacy;
  LIBBPF_OPTS(bpf_object_open_opts, options);
  options.object_name = name_.c_str();
  LogCapture log;
  object_ = bpf_object__open_mem(bytes.data(), bytes.size(), &options);
  if (object_ == nullptr) {
    const int err = errno;
    error_ = "the BPF object cannot be opened: " + std::string(std::strerror(err)) + ": " + log.Tail();
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
    ChooseFor(hook);
    if (hook.program != nullptr) {
      bpf_program__set_autoload(hook.program, true);
      bpf_program__set_autoattach(hook.program, false);
    }
    hooks_.push_back(std::move(hook));
  }
  // A kind of map that a kernel without BPF LSM does not have, and that only its programs use.
  if (bpf_map* notes = bpf_object__find_map_by_name(object_, "moat_inode_notes")) {
    const bool used = std::ranges::any_of(
        hooks_, [](const Hook& hook) { return hook.program != nullptr && hook.candidate->backend == Backend::kLsm; });
    bpf_map__set_autocreate(notes, used);
  }
}

// The first program that the kernel refuses ends the loading of an object; the rest is tried again without it.
void Domain::Load(const SharedMaps& maps, const Pins* pins) {
  while (object_ != nullptr && !loaded_) {
    if (Status shared = maps.GiveTo(object_); !shared) {
      Refuse(shared.error().message);
      return;
    }
    if (pins != nullptr) {
      Adopt(*pins);
    }
    LogCapture log;
    const int err = bpf_object__load(object_);
    if (err == 0) {
      loaded_ = true;
      if (pins != nullptr) {
        PinMaps(*pins);
      }
      return;
    }
    const std::string why = std::string(std::strerror(-err)) + ": " + log.Tail();
    const std::string culprit = log.Program();
    const bool chosen = std::ranges::any_of(
        hooks_, [&culprit](const Hook& hook) { return hook.program != nullptr && hook.candidate->program == culprit; });
    if (!chosen) {
      Refuse("the kernel refuses to load it: " + why);
      spdlog::error("domain {}: {}", name_, error_);
      return;
    }
    refused_[culprit] = "the kernel refuses to load it: " + why;
    spdlog::warn("program {}: {}", culprit, refused_[culprit]);
    Open();
  }
}

Status Domain::MayAttach(const Hook& hook, const Grounds& grounds) const {
  const Backend backend = hook.candidate->backend;
  if (hook.program == nullptr) {
    return hook.candidate->with == nullptr || attached(hook.candidate->with)
               ? Status()
               : Fail(Code::kFailedPrecondition, std::string(hook.candidate->with) + ", whose program sees it, is not attached");
  }
  if (!grounds.cgroup && (backend == Backend::kCgroupAddr || backend == Backend::kCgroupSock || backend == Backend::kSockOps ||
                          backend == Backend::kCgroupSkb)) {
    return Fail(Code::kFailedPrecondition, "no cgroup2 tree to attach to");
  }
  if (!grounds.syscall_exit && backend == Backend::kSyscallExit) {
    return Fail(Code::kFailedPrecondition, "no program sits on sys_exit (see domain syscall)");
  }
  return {};
}

Status Domain::AttachHook(Hook& hook, SyscallTable* calls, int cgroup_fd) {
  MOAT_TRY(MayAttach(hook, {.syscall_exit = calls != nullptr, .cgroup = cgroup_fd >= 0}));
  if (hook.program == nullptr) {
    return {};
  }
  const auto keep = [&hook](bpf_link* link, const std::string& where) -> Status {
    if (link == nullptr) {
      return FailErrno(errno, "attach " + where);
    }
    hook.links.push_back(link);
    return {};
  };
  switch (hook.candidate->backend) {
    case Backend::kIter: return {};  // attached per reading, by scan.cc
    case Backend::kLsm: return keep(bpf_program__attach_lsm(hook.program), hook.points.front());
    case Backend::kFmodRet:
    case Backend::kFentry:
    case Backend::kTpBtf: return keep(bpf_program__attach_trace(hook.program), hook.points.front());
    case Backend::kKprobe:
      for (const std::string& point : hook.points) {
        MOAT_TRY(keep(bpf_program__attach_kprobe(hook.program, /*retprobe=*/false, point.c_str()), point));
      }
      return {};
    case Backend::kUprobe: {
      MOAT_ASSIGN(bpf_link* const link, AttachToLibrary(hook, opened_));
      hook.links.push_back(link);
      return {};
    }
    case Backend::kCgroupAddr:
    case Backend::kCgroupSock:
    case Backend::kSockOps:
    case Backend::kCgroupSkb: return keep(bpf_program__attach_cgroup(hook.program, cgroup_fd), "to the scope's cgroup");
    case Backend::kSyscallExit:
    case Backend::kFanotify: break;
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
  opened_ = uses(Backend::kUprobe) ? OpenLibrary() : Library();
  for (Hook& hook : hooks_) {
    if (hook.candidate == nullptr || hook.candidate->driver != 0) {
      continue;
    }
    if (hook.attached) {  // in an earlier round; what it stands on may have been taken away since
      if (Status status = MayAttach(hook, {.syscall_exit = calls != nullptr, .cgroup = cgroup_fd >= 0}); !status) {
        hook.attached = false;
        hook.why = status.error().message;
        spdlog::warn("hook {}: {}", hook.row->event, hook.why);
      }
      continue;
    }
    LogCapture log;
    if (Status status = AttachHook(hook, calls, cgroup_fd); !status) {
      hook.why = status.error().message;
      spdlog::warn("hook {}: {}", hook.row->event, hook.why);
    } else {
      hook.attached = true;
    }
  }
  if (opened_.file && std::ranges::find(libraries_, opened_.id) == libraries_.end()) {
    libraries_.push_back(opened_.id);
  }
  opened_ = {};
}

bool Domain::Wanting(const Canary& canary) {
  bool wanting = false;
  for (Hook& hook : hooks_) {
    if (hook.program == nullptr || !loaded_ || hook.candidate->driver != 0) {
      continue;
    }
    const Backend backend = hook.candidate->backend;
    const bool next = hook.row->candidates.size() > 1;
    if (!hook.attached) {
      // What keeps it off may be another domain's, or the scope's: the row's next would fare no better.
      if (next && backend != Backend::kSyscallExit && backend != Backend::kCgroupAddr && backend != Backend::kCgroupSock) {
        refused_[hook.candidate->program] = hook.why;
        wanting = true;
      }
    } else if (Ran(hook.candidate->program)) {
      hook.proof = "it has run";
    } else if (canary.Did(hook.row->event, BackendName(backend))) {
      const std::string why = "attached, but it did not run for moatd's own call";
      spdlog::warn("hook {}: {} {}: {}", hook.row->event, BackendName(backend), hook.candidate->program, why);
      refused_[hook.candidate->program] = why;
      wanting = true;
    } else {
      hook.proof = "not yet seen to run (" + canary.WhyNot(hook.row->event) + ")";
    }
  }
  return wanting;
}

void Domain::Presume(const Grounds& grounds) {
  for (Hook& hook : hooks_) {
    if (!loaded_ || hook.candidate == nullptr) {
      continue;
    }
    if (hook.candidate->driver != 0) {
      hook.attached = (grounds.drivers >> hook.candidate->driver & 1) != 0;
      hook.lacking = !hook.attached;
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
  const Hook* hook = Find(event);
  return hook != nullptr && hook->attached;
}

bool Domain::uses(Backend backend) const {
  return std::ranges::any_of(
      hooks_, [backend](const Hook& hook) { return hook.program != nullptr && hook.candidate->backend == backend; });
}

bool Domain::uses(Backend backend, std::string_view event) const {
  const Hook* hook = Find(event);
  return hook != nullptr && hook->candidate != nullptr && hook->candidate->backend == backend;
}

int Domain::MapFd(const char* name) const { return loaded_ ? bpf_object__find_map_fd_by_name(object_, name) : -1; }

bpf_program* Domain::Program(const char* name) const {
  bpf_program* program = loaded_ ? bpf_object__find_program_by_name(object_, name) : nullptr;
  return program != nullptr && bpf_program__fd(program) >= 0 ? program : nullptr;
}

// The mark that the program sets (bpf/lib/hook.bpf.h): "ran_NAME" in .bss.
bool Domain::Ran(const char* program) const {
  const btf* types = bpf_object__btf(object_);
  const int section = btf__find_by_name_kind(types, ".bss", BTF_KIND_DATASEC);
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object_) {
    if (std::string_view(bpf_map__name(map)).ends_with(".bss")) {
      break;
    }
  }
  if (section < 0 || map == nullptr) {
    return false;
  }
  std::vector<std::byte> bytes(bpf_map__value_size(map));
  const uint32_t zero = 0;
  if (bpf_map_lookup_elem(bpf_map__fd(map), &zero, bytes.data()) != 0) {
    return false;
  }
  const std::string name = std::string("ran_") + program;
  const btf_type* type = btf__type_by_id(types, static_cast<uint32_t>(section));
  const btf_var_secinfo* variables = btf_var_secinfos(type);
  for (int i = 0; i < btf_vlen(type); ++i) {
    const btf_type* variable = btf__type_by_id(types, variables[i].type);
    if (name == btf__name_by_offset(types, variable->name_off)) {
      return variables[i].offset < bytes.size() && bytes[variables[i].offset] != std::byte{0};
    }
  }
  return false;
}

// What the kernel runs by itself on a tracepoint or through a trampoline can be skipped, and is counted: not the programs behind
// sys_exit, which are jumped to, nor cgroup programs and iterators.
uint64_t Domain::Missed(const Hook& hook) {
  if (!hook.attached || hook.program == nullptr || hook.candidate->backend > Backend::kTpBtf) {
    return 0;
  }
  bpf_prog_info info{};
  uint32_t length = sizeof(info);
  return bpf_obj_get_info_by_fd(bpf_program__fd(hook.program), &info, &length) == 0 ? info.recursion_misses : 0;
}

void Domain::MissedRuns(std::span<uint64_t, MOAT_KIND_COUNT> by_kind) const {
  const std::lock_guard lock(late_);
  for (const Hook& hook : hooks_) {
    if (hook.program != nullptr) {
      by_kind[hook.candidate->missed] += Missed(hook);
    }
  }
}

DomainStatus Domain::Describe() const {
  const std::lock_guard lock(late_);
  DomainStatus status{.name = name_, .loaded = loaded_, .error = error_, .hooks = {}};
  for (const Hook& hook : hooks_) {
    HookStatus out;
    out.event = hook.row->event;
    out.why = loaded_ ? hook.why : error_;
    out.proof = hook.attached && hook.candidate->driver != 0 && Ran(hook.candidate->program) ? "it has run" : hook.proof;
    out.attached = hook.attached;
    const auto list = [&out](const std::vector<Unseen>& unseen) {
      for (const Unseen& thing : unseen) {
        out.unseen.push_back(std::string(thing.id) + ": " + thing.text);
      }
    };
    if (hook.candidate != nullptr) {
      out.backend = BackendName(hook.candidate->backend);
      out.program = hook.program != nullptr ? hook.candidate->program : "";
      out.runs_missed = Missed(hook);
    }
    if (hook.attached) {
      list(hook.candidate->unseen);
      const Backend backend = hook.candidate->backend;
      if ((backend == Backend::kFmodRet || backend == Backend::kFentry) && features_->preempts.yes) {
        list({{"preempted",
               "what comes by while another is preempted inside the same program on its processor (told as runs missed)"}});
      }
    } else if (loaded_ && !hook.row->absent.empty()) {
      // A program that the kernel offered to run and that failed all the same is a fault, and so is one that waits for another.
      out.exposure = (hook.candidate == nullptr || hook.lacking) &&
                     std::ranges::none_of(hook.row->candidates, [this](const Candidate& candidate) {
                       return candidate.program != nullptr && refused_.contains(candidate.program);
                     });
      list(hook.row->absent);
    } else {
      out.unseen = {"all of it"};
    }
    status.hooks.push_back(std::move(out));
  }
  return status;
}

}  // namespace moat::probe
