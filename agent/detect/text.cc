// SPDX-License-Identifier: Apache-2.0
#include "agent/detect/text.h"

#include "agent/base/strings.h"
#include "agent/base/utf8.h"

namespace moat::detect {

std::string Program(const event::Header& header) {
  const bool known = header.info != nullptr && !header.info->exe.empty();
  return Printable(known ? std::string_view(header.info->exe) : header.comm.view());
}

std::string Whose(const Scene& scene, const event::Header& header) {
  const std::string cgroup = header.info != nullptr ? header.info->cgroup : std::string();
  const auto workload = cgroup.empty() ? nullptr : scene.Whose(cgroup);
  if (workload == nullptr) {
    return cgroup.empty() ? "cgroup number " + std::to_string(header.cgroup_id) : "cgroup " + Printable(cgroup);
  }
  if (!workload->pod_name.empty()) {
    const std::string container = workload->pod_container.empty() ? "" : " (" + workload->pod_container + ")";
    return Printable("pod " + workload->pod_namespace + "/" + workload->pod_name + container);
  }
  if (!workload->slurm_job.empty()) {
    return Printable("Slurm job " + workload->slurm_job + (workload->slurm_user.empty() ? "" : " of " + workload->slurm_user));
  }
  if (!workload->container_name.empty() || !workload->container_id.empty()) {
    return Printable("container " + (workload->container_name.empty() ? workload->container_id : workload->container_name));
  }
  return Printable(workload->unit.empty() ? "cgroup " + cgroup : "unit " + workload->unit);
}

std::string Who(const Scene& scene, const event::Header& header) {
  return Program(header) + "[" + std::to_string(header.process.pid) + "] in " + Whose(scene, header);
}

bool IsSystemService(const Scene& scene, const event::Process& process) {
  const auto workload = process.uid != 0 || process.cgroup.empty() ? nullptr : scene.Whose(process.cgroup);
  return workload != nullptr && event::KindOf(*workload) == event::WorkloadKind::kUnit && workload->unit.ends_with(".service") &&
         !workload->unit.starts_with("user@") && workload->unit != "ssh.service" && workload->unit != "sshd.service";
}

bool IsInContainer(const Scene& scene, const event::Process& process) {
  const auto workload = process.cgroup.empty() ? nullptr : scene.Whose(process.cgroup);
  return workload != nullptr && (!workload->container_id.empty() || !workload->pod_uid.empty());
}

std::string AssetName(const Scene& scene, uint32_t asset) {
  const auto& assets = scene.names().assets;
  return asset < assets.size() ? assets[asset].name : "asset " + std::to_string(asset);
}

std::string AssetClass(const Scene& scene, uint32_t asset) {
  const auto& assets = scene.names().assets;
  return asset < assets.size() ? assets[asset].asset_class : "asset";
}

std::string FileName(const Scene& scene, uint32_t dev, uint64_t inode, std::string_view name) {
  const auto& paths = scene.names().paths;
  const auto found = paths.find({dev, inode});
  return Printable(found != paths.end() ? std::string_view(found->second) : name);
}

std::string DeviceName(const Scene& scene, uint32_t rdev) {
  const auto& devices = scene.names().devices;
  const auto found = devices.find(rdev);
  return found != devices.end() ? found->second : std::to_string(rdev >> 20) + ":" + std::to_string(rdev & 0xfffff);
}

std::string Bytes(uint64_t bytes) { return BytesText(bytes); }

}  // namespace moat::detect
