// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/container.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace moat::enrich {

namespace {

bool IsDigits(std::string_view s) {
  return !s.empty() && std::ranges::all_of(s, [](char c) { return c >= '0' && c <= '9'; });
}

bool IsHex(std::string_view s) {
  return std::ranges::all_of(s, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsContainerId(std::string_view s) { return s.size() == 64 && IsHex(s); }

// The part between a prefix and a suffix.
std::optional<std::string_view> Between(std::string_view s, std::string_view prefix, std::string_view suffix) {
  if (s.size() < prefix.size() + suffix.size() || !s.starts_with(prefix) || !s.ends_with(suffix)) {
    return std::nullopt;
  }
  return s.substr(prefix.size(), s.size() - prefix.size() - suffix.size());
}

// 8-4-4-4-12 hexadecimal digits, or 32 without dashes (static pods: a hash). systemd writes '_' for '-', since '-' nests slices.
std::string PodUid(std::string_view s) {
  std::string uid(s);
  std::ranges::replace(uid, '_', '-');
  bool dashed = uid.size() == 36;
  for (size_t i = 0; i < uid.size(); ++i) {
    bool dash = dashed && (i == 8 || i == 13 || i == 18 || i == 23);
    if (dash != (uid[i] == '-') || (!dash && !IsHex(uid.substr(i, 1)))) {
      return "";
    }
  }
  return dashed || uid.size() == 32 ? uid : "";
}

// "pod<uid>" (cgroupfs driver) or "[kubelet-]kubepods[-burstable|-besteffort]-pod<uid>.slice" (systemd driver).
std::string PodOf(std::string_view name) {
  if (auto uid = Between(name, "pod", "")) {
    return PodUid(*uid);
  }
  std::string_view slice = Between(name, "", ".slice").value_or("");
  size_t at = slice.rfind("-pod");
  return at == std::string_view::npos || !slice.substr(0, at).contains("kubepods") ? "" : PodUid(slice.substr(at + 4));
}

struct Prefix {
  std::string_view text;
  Runtime runtime;
};
// Scopes: "<prefix><id>.scope". conmon and the like (crio-conmon-<id>) fail the test of the id, as they should: not the container.
constexpr Prefix kScopes[] = {{"docker-", Runtime::kDocker},
                              {"cri-containerd-", Runtime::kContainerd},
                              {"nerdctl-", Runtime::kContainerd},
                              {"crio-", Runtime::kCrio},
                              {"libpod-", Runtime::kPodman}};
// Parents of directories whose name is the id (cgroupfs driver).
constexpr Prefix kParents[] = {{"docker", Runtime::kDocker},      {"k8s.io", Runtime::kContainerd},
                               {"default", Runtime::kContainerd}, {"moby", Runtime::kContainerd},
                               {"nerdctl", Runtime::kContainerd}, {"libpod_parent", Runtime::kPodman}};

// A container by one name and the name around it.
bool TakeContainer(std::string_view name, std::string_view parent, bool in_pod, Container& to) {
  for (const Prefix& scope : kScopes) {
    auto id = Between(name, scope.text, ".scope");
    if (!id && (scope.runtime == Runtime::kPodman || scope.runtime == Runtime::kCrio)) {
      id = Between(name, scope.text, "");  // both write the prefix under cgroupfs too
    }
    if (id && IsContainerId(*id)) {
      to.runtime = scope.runtime;
      to.container_id = *id;
      return true;
    }
  }
  // containerd without the systemd driver on a systemd host: "<slice>:cri-containerd:<id>"
  size_t colon = name.rfind(':');
  if (colon != std::string_view::npos && IsContainerId(name.substr(colon + 1))) {
    std::string_view before = name.substr(0, colon);
    to.runtime = before.ends_with(":cri-containerd") ? Runtime::kContainerd : Runtime::kOther;
    to.container_id = name.substr(colon + 1);
    size_t slice_end = before.find(':');
    to.pod_uid = to.pod_uid.empty() ? PodOf(before.substr(0, slice_end)) : to.pod_uid;
    return true;
  }
  if (!IsContainerId(name)) {
    return false;
  }
  if (in_pod) {
    to.runtime = Runtime::kOther;  // containerd and docker look alike here
    to.container_id = name;
    return true;
  }
  for (const Prefix& p : kParents) {
    if (parent == p.text) {
      to.runtime = p.runtime;
      to.container_id = name;
      return true;
    }
  }
  return false;
}

bool KubeRoot(std::string_view name) {
  return name == "kubepods" || name == "kubepods.slice" || name == "kubelet-kubepods.slice";
}
bool KubeletRoot(std::string_view name) { return name == "kubelet" || name == "kubelet.slice"; }

// "/slurm[_NODE]/uid_N/job_N/step_S/..." (v1) and "/system.slice/[NODE_]slurmstepd.scope/job_N/step_S/..." (v2).
bool SlurmRoot(const std::vector<std::string_view>& names, size_t i) {
  if (i == 0) {
    return names[0] == "slurm" || names[0].starts_with("slurm_");
  }
  return i == 1 && names[0] == "system.slice" && (names[1] == "slurmstepd.scope" || names[1].ends_with("_slurmstepd.scope"));
}

// How many of the names lead to the job; 0: there is none.
size_t TakeSlurm(const std::vector<std::string_view>& names, size_t i, Container& to) {
  ++i;
  if (i < names.size() && names[i].starts_with("uid_")) {
    ++i;
  }
  auto job = i < names.size() ? Between(names[i], "job_", "") : std::nullopt;
  if (!job || !IsDigits(*job)) {
    return 0;
  }
  to.slurm_job = *job;
  auto step = i + 1 < names.size() ? Between(names[i + 1], "step_", "") : std::nullopt;
  if (step && (IsDigits(*step) || *step == "batch" || *step == "extern" || *step == "interactive")) {
    to.slurm_step = *step;
  }
  return i + 1;
}

std::string Join(const std::vector<std::string_view>& names, size_t count) {
  std::string path;
  for (size_t i = 0; i < count; ++i) {
    path.append("/").append(names[i]);
  }
  return path;
}

}  // namespace

Container ParseContainer(std::string_view path) {
  std::vector<std::string_view> names;
  while (!path.empty()) {
    size_t slash = path.find('/');
    if (slash != 0) {
      names.push_back(path.substr(0, slash));
    }
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  Container container;
  bool in_kube = false;
  size_t root = 0, job = 0;  // how many of the names lead there
  for (size_t i = 0; i < names.size(); ++i) {
    std::string_view name = names[i];
    std::string_view parent = i > 0 ? names[i - 1] : std::string_view();
    bool anchored = i == 0 || (i == 1 && KubeletRoot(names[0]));
    if (!container.user && anchored && KubeRoot(name)) {
      in_kube = true;
    } else if (!container.user && SlurmRoot(names, i)) {
      job = job > 0 ? job : TakeSlurm(names, i, container);
    }
    if (in_kube && container.pod_uid.empty()) {
      container.pod_uid = PodOf(name);
      if (!container.pod_uid.empty()) {
        root = i + 1;
        continue;
      }
    }
    if (TakeContainer(name, parent, !container.pod_uid.empty(), container)) {
      root = i + 1;
      break;
    }
    // systemd's own: slices hold units; the outermost service or scope is the unit, but user@UID.service holds a manager of its own.
    bool unit = name.ends_with(".service") || name.ends_with(".scope");
    if (i >= 1 && names[0] == "user.slice" && name.starts_with("user@") && name.ends_with(".service")) {
      container.user = true;
    } else if (unit && container.unit.empty() && (i == 0 || parent.ends_with(".slice") || container.user)) {
      container.unit = name;
    }
  }
  container.root = Join(names, job > 0 ? job : root);
  return container;
}

const char* RuntimeName(Runtime runtime) {
  switch (runtime) {
    case Runtime::kNone: return "";
    case Runtime::kDocker: return "docker";
    case Runtime::kContainerd: return "containerd";
    case Runtime::kCrio: return "cri-o";
    case Runtime::kPodman: return "podman";
    case Runtime::kOther: return "other";
  }
  return "";
}

}  // namespace moat::enrich
