// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/domains.h"

#include <spdlog/spdlog.h>

#include <thread>

namespace moat::probe {

Domains OpenDomains(const config::Config& config) {
  const auto wanted = [&config](std::string_view name) {
    return name == "syscall"   ? config.file || config.gpu || config.net
           : name == "process" ? config.process
           : name == "file"    ? config.file
           : name == "gpu"     ? config.gpu
                               : config.net;
  };
  const Result<Features> features = Features::Ask();
  if (!features) {
    spdlog::error("{}", features.error().message);
  }
  Domains domains;
  for (const Image& image : Images()) {
    auto domain = std::make_unique<Domain>(image);
    if (wanted(image.name)) {
      domain->Open();
      domain->Choose(features ? &*features : nullptr);
    } else {
      domain->Refuse("switched off by configuration");
    }
    domains.push_back(std::move(domain));
  }
  return domains;
}

Result<std::unique_ptr<SharedMaps>> MakeMaps(const Domains& domains, const config::Config& config) {
  std::vector<bpf_object*> objects;
  for (const auto& domain : domains) {
    if (domain->object() != nullptr) {
      objects.push_back(domain->object());
    }
  }
  return SharedMaps::Create(objects, config);
}

// libbpf parses the kernel's BTF once per object, and the verifier holds no lock that they would share: one thread each.
void LoadDomains(const Domains& domains, const SharedMaps& maps) {
  std::vector<std::jthread> threads;
  for (const auto& domain : domains) {
    threads.emplace_back([&domain, &maps] { domain->Load(maps); });
  }
}

Domain* Find(const Domains& domains, std::string_view name) {
  for (const auto& domain : domains) {
    if (domain->name() == name) {
      return domain.get();
    }
  }
  return nullptr;
}

}  // namespace moat::probe
