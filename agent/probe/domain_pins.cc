// SPDX-License-Identifier: Apache-2.0
// What of a domain outlives the agent.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

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
  if (object_ == nullptr) {
    return;
  }
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

// A link that was detached (BPF_LINK_DETACH) is still there, and names no cgroup any more.
std::vector<std::string> Domain::Repair(int cgroup_fd) {
  std::vector<std::string> repaired;
  for (Hook& hook : hooks_) {
    for (bpf_link*& link : hook.links) {
      bpf_link_info info{};
      uint32_t length = sizeof(info);
      if (!hook.attached || bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &length) != 0 ||
          info.type != BPF_LINK_TYPE_CGROUP || info.cgroup.cgroup_id != 0) {
        continue;
      }
      bpf_link* fresh = bpf_program__attach_cgroup(hook.program, cgroup_fd);
      if (fresh == nullptr) {
        spdlog::error("hook {}: it was detached by somebody, and cannot be attached again: {}", hook.row->event,
                      std::strerror(errno));
        continue;
      }
      bpf_link__destroy(std::exchange(link, fresh));
      repaired.emplace_back(hook.row->event);
    }
  }
  return repaired;
}

Status Domain::PinLinks(Pins& pins) {
  const std::lock_guard lock(late_);
  kept_ = true;
  for (const Hook& hook : hooks_) {
    for (size_t i = 0; i < hook.links.size(); ++i) {
      MOAT_TRY(pins.PutLink(std::string(hook.row->event) + (i > 0 ? "_" + std::to_string(i) : ""), bpf_link__fd(hook.links[i])));
    }
  }
  return {};
}

}  // namespace moat::probe
