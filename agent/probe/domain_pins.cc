// SPDX-License-Identifier: Apache-2.0
// What of a domain outlives the agent.
#include <bpf/libbpf.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "agent/probe/domain.h"

namespace moat::probe {
namespace {

// The maps of policies, by their names in the sources; not the ring of news, which is of one agent.
bool Outlives(const bpf_map* map) {
  const std::string_view name = bpf_map__name(map);
  return name.starts_with("moat_pol_") && name != "moat_pol_news";
}

}  // namespace

void Domain::Adopt(const Pins& pins) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object_) {
    const Fd kept = Outlives(map) ? pins.Map(bpf_map__name(map)) : Fd();
    if (!kept) {
      continue;
    }
    if (SameShape(map, kept.get())) {
      if (bpf_map__reuse_fd(map, kept.get()) != 0) {
        spdlog::warn("map {}: the one that is kept cannot be taken over: {}", bpf_map__name(map), std::strerror(errno));
      }
    } else {
      spdlog::warn("map {}: the one that is kept is of another version, and is left behind", bpf_map__name(map));
    }
  }
}

void Domain::PinMaps(const Pins& pins) const {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object_) {
    if (!Outlives(map)) {
      continue;
    }
    if (Status status = pins.PutMap(bpf_map__name(map), bpf_map__fd(map)); !status) {
      spdlog::warn("{}", status.error().message);
    }
  }
}

Status Domain::PinLinks(Pins& pins) {
  kept_ = true;
  for (const Hook& hook : hooks_) {
    for (size_t i = 0; i < hook.links.size(); ++i) {
      MOAT_TRY(pins.PutLink(std::string(hook.row->event) + (i > 0 ? "_" + std::to_string(i) : ""), bpf_link__fd(hook.links[i])));
    }
  }
  return {};
}

}  // namespace moat::probe
