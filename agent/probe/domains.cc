// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/domains.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "agent/probe/canary.h"
#include "agent/probe/drivers.h"
#include "agent/probe/guard.h"

namespace moat::probe {
namespace {

constexpr const char* kKept[] = {"syscall", "process", "file", "gpu", "enforce"};  // domains whose links go on without the agent

// Of the host, also when this is a container's file system (hostPID). Empty: none.
std::string FindPam(const std::string& configured) {
  if (configured != config::Config::kAuto) {
    return configured;
  }
  for (const char* root : {"/proc/1/root", ""}) {
    for (const char* directory : {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib",
                                  "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib64", "/lib"}) {
      std::string path = std::string(root) + directory + "/libpam.so.0";
      if (access(path.c_str(), R_OK) == 0) {
        return path;
      }
    }
  }
  return "";
}

}  // namespace

Domains::Domains(const config::Config& config) : enforce_(config.enforce()), avoid_(config.avoid) {
  const auto wanted = [&config](std::string_view name) {
    return name == "syscall"   ? config.process || config.file || config.gpu || config.net
           : name == "process" ? config.process
           : name == "auth"    ? config.auth
           : name == "file"    ? config.file
           : name == "gpu"     ? config.gpu
           : name == "net"     ? config.net
                               : config.enforce();
  };
  if (Result<Features> features = Features::Ask()) {
    features_ = std::move(*features);
  } else {
    spdlog::error("{}", features.error().message);
  }
  for (const Image& image : Images()) {
    auto domain = std::make_unique<Domain>(image, features_ ? &*features_ : nullptr, avoid_);
    if (std::string_view(image.name) == "auth") {
      domain->Into(FindPam(config.libpam));
    }
    if (wanted(image.name)) {
      domain->Open();
    } else {
      domain->Refuse("switched off by configuration");
    }
    domains_.push_back(std::move(domain));
  }
}

Result<std::unique_ptr<SharedMaps>> Domains::MakeMaps(const config::Config& config) const {
  std::vector<bpf_object*> objects;
  for (const auto& domain : domains_) {
    if (domain->object() != nullptr) {
      objects.push_back(domain->object());
    }
  }
  return SharedMaps::Create(objects, config, pins_.get());
}

// libbpf parses the kernel's BTF once per object, and the verifier holds no lock that they would share: one thread each.
void Domains::Load(const SharedMaps& maps) {
  std::vector<std::jthread> threads;
  for (const auto& domain : domains_) {
    if (!domain->loaded()) {
      threads.emplace_back([this, &domain, &maps] { domain->Load(maps, pins_.get()); });
    }
  }
}

bool Domains::NeedsSyscalls() const {
  return std::ranges::any_of(domains_, [](const auto& domain) { return domain->uses(Backend::kSyscallExit); });
}

void Domains::AttachOnce(SyscallTable& calls, int cgroup_fd) {
  Domain& syscall = (*this)["syscall"];
  if (NeedsSyscalls()) {
    syscall.Attach(nullptr, cgroup_fd);
  }
  SyscallTable* reachable = syscall.attached("syscall.exit") ? &calls : nullptr;
  for (const auto& domain : domains_) {
    if (domain.get() != &syscall) {
      domain->Attach(reachable, cgroup_fd);
    }
  }
}

void Domains::Attach(const SharedMaps& maps, SyscallTable& calls, int cgroup_fd, bool in_scope) {
  constexpr int kRounds = 6;  // more than any row has candidates
  for (int round = 0; round < kRounds; ++round) {
    AttachOnce(calls, cgroup_fd);
    const Canary canary = Canary::Sing(in_scope);
    bool again = false;
    for (const auto& domain : domains_) {
      if (domain->Wanting(canary)) {
        domain->Open();
        again = true;
      }
    }
    if (!again) {
      return;
    }
    Load(maps);
  }
  AttachOnce(calls, cgroup_fd);
}

Status Domains::Pin(const SharedMaps& maps) {
  const std::lock_guard lock(pinning_);
  if (!pins_) {
    return {};
  }
  if (unpinned_) {
    MOAT_TRY(pins_->MakeAgain());
    maps.Pin(*pins_);
    (*this)["enforce"].PinMaps(*pins_);
    unpinned_ = false;
  }
  for (const char* name : kKept) {
    MOAT_TRY((*this)[name].PinLinks(*pins_));
  }
  pins_->RemoveOtherLinks();
  if (Status guarded = Guard(*pins_, (*this)["enforce"], maps); !guarded) {
    spdlog::warn("whoever may use BPF can change what is enforced, which is only noticed: {}", guarded.error().message);
  }
  return {};
}

Status Domains::Unpin() {
  const std::lock_guard lock(pinning_);
  if (!pins_) {
    return {};
  }
  unpinned_ = true;
  for (const char* name : kKept) {
    (*this)[name].EndWithUs();
  }
  return pins_->RemoveAll();
}

void Domains::Presume() {
  Domain& syscall = (*this)["syscall"];
  Drivers drivers;
  (void)drivers.Changed();
  syscall.Presume({.cgroup = true});
  for (const auto& domain : domains_) {
    if (domain.get() != &syscall) {
      domain->Presume({.syscall_exit = syscall.attached("syscall.exit"), .cgroup = true, .drivers = drivers.loaded()});
    }
  }
}

void Domains::RefuseAll(const std::string& why) {
  for (const auto& domain : domains_) {
    if (domain->object() != nullptr) {
      domain->Refuse(why);
    }
  }
}

const Domain& Domains::operator[](std::string_view name) const {
  return **std::ranges::find_if(domains_, [name](const auto& domain) { return domain->name() == name; });
}

Domain& Domains::operator[](std::string_view name) {
  return **std::ranges::find_if(domains_, [name](const auto& domain) { return domain->name() == name; });
}

std::vector<DomainStatus> Domains::Describe() const {
  std::vector<DomainStatus> out;
  for (const auto& domain : domains_) {
    const bool idle = domain->name() == "syscall" && domain->loaded() && !NeedsSyscalls();
    const bool unasked = domain->name() == "enforce" && !enforce_;
    if (!idle && !unasked) {
      out.push_back(domain->Describe());
    }
  }
  return out;
}

}  // namespace moat::probe
