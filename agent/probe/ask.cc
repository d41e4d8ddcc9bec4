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

Status Try(Domains& domains, const config::Config& config) {
  MOAT_ASSIGN(const std::unique_ptr<SharedMaps> maps, domains.MakeMaps(config));
  domains.Load(*maps);
  MOAT_TRY(FindCgroup2Mount());
  domains.Presume();
  return {};
}

}  // namespace

std::vector<DomainStatus> Ask(const config::Config& config) {
  CatchLibbpfLog();
  Domains domains(config);
  if (Status status = Try(domains, config); !status) {
    domains.RefuseAll("no agent could start: " + status.error().message);
  }
  std::vector<DomainStatus> out = domains.Describe();
  for (DomainStatus& domain : out) {
    if (domain.name == "file") {
      const Result<Fan> fan = Fan::Open();
      DescribeFanotify(domain, fan ? Status() : std::unexpected(fan.error()), "");
    }
  }
  return out;
}

}  // namespace moat::probe
