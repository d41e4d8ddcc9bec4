// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/ask.h"

#include <string>

#include "agent/base/cgroup.h"
#include "agent/probe/domains.h"
#include "agent/probe/fan.h"
#include "agent/probe/inventory.h"
#include "agent/probe/log.h"

namespace moat::probe {
namespace {

// Over a domain that is switched off or failed by itself, its own reason stands.
void RefuseAll(const Domains& domains, const std::string& why) {
  for (const auto& domain : domains) {
    if (domain->object() != nullptr) {
      domain->Refuse(why);
    }
  }
}

Status Try(const Domains& domains, const config::Config& config) {
  MOAT_ASSIGN(const std::unique_ptr<SharedMaps> maps, MakeMaps(domains, config));
  LoadDomains(domains, *maps);
  MOAT_TRY(FindCgroup2Mount());
  const Domain* syscall = Find(domains, "syscall");
  Find(domains, "syscall")->Presume({.cgroup = true});
  const bool calls = syscall->attached("syscall.exit");
  for (const auto& domain : domains) {
    if (domain.get() != syscall) {
      domain->Presume({.syscall_exit = calls, .cgroup = true});
    }
  }
  return {};
}

}  // namespace

std::vector<DomainStatus> Ask(const config::Config& config) {
  CatchLibbpfLog();
  const Domains domains = OpenDomains(config);
  if (Status status = Try(domains, config); !status) {
    RefuseAll(domains, "no agent could start: " + status.error().message);
  }
  std::vector<DomainStatus> out;
  for (const auto& domain : domains) {
    out.push_back(domain->Describe());
    if (domain->name() == "file" && domain->loaded()) {
      const Result<Fan> fan = Fan::Open();
      out.back().hooks.push_back(TamperHook(fan.has_value(), fan ? "" : fan.error().message));
    }
  }
  return out;
}

}  // namespace moat::probe
