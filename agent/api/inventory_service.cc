// SPDX-License-Identifier: Apache-2.0
// Inventory: the sums of what was seen, with the names of assets and devices and whose the cgroups are.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/api/services.h"
#include "agent/base/clock.h"
#include "agent/base/utf8.h"
#include "agent/event/event.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::api {
namespace {

constexpr size_t kMaxText = 4096;
constexpr size_t kMaxBytes = size_t{12} << 20;  // of the rows of a response; moatctl takes 16 MiB

// Of CLOCK_MONOTONIC.
class WallClock {
 public:
  uint64_t operator()(uint64_t ns) const { return ns == 0 ? 0 : wall_ns_ - (now_ns_ - std::min(ns, now_ns_)); }

 private:
  uint64_t now_ns_ = MonotonicNs(), wall_ns_ = WallNs();
};

template <typename To>
void SetSeen(To* to, const event::SeenAt& from, const WallClock& wall) {
  to->set_first_unix_ns(wall(from.first_ns));
  to->set_last_unix_ns(wall(from.last_ns));
}

void SetActor(v1::Actor* to, const event::Actor& from) {
  to->set_executable(ToUtf8(from.executable));
  to->set_cgroup(ToUtf8(from.cgroup));
  to->set_cgroup_id(from.cgroup_id);
}

std::string PeerText(const event::FlowActivity& flow) {
  // Without the port, which is a field of its own.
  std::string text = event::AddressToString({.bytes = flow.peer, .port = 0}, flow.ipv6);
  text.resize(text.rfind(':'));
  return flow.ipv6 ? text.substr(1, text.size() - 2) : text;
}

// Below a cgroup, or that very one.
bool IsIn(std::string_view cgroup, std::string_view wanted) {
  return wanted.empty() || wanted == "/" ||
         (cgroup.starts_with(wanted) && (cgroup.size() == wanted.size() || cgroup[wanted.size()] == '/'));
}

using Paths = std::map<uint32_t, std::string>;  // of devices, by number

std::string NodeName(uint32_t rdev, const Paths& paths) {
  const auto path = paths.find(rdev);
  return path != paths.end() ? ToUtf8(path->second) : std::to_string(rdev >> 20) + ":" + std::to_string(rdev & 0xfffff);
}

// NVIDIA's numbers of its devices are not those of the nodes: which is which is known of a process with one of each.
void SetMemory(v1::GpuHolder* to, const event::GpuActivity& from, const Paths& paths) {
  constexpr uint32_t kNvidia = 195, kControl = 248;  // minors below are of GPUs
  std::vector<uint32_t> nodes;
  std::ranges::copy_if(from.devices, std::back_inserter(nodes),
                       [](uint32_t rdev) { return rdev >> 20 == kNvidia && (rdev & 0xfffff) < kControl; });
  const auto numbered = std::ranges::count_if(from.memory, [](const auto& one) { return one.rdev == 0 && one.device >= 0; });
  for (const event::GpuMemory& memory : from.memory) {
    v1::GpuMemory* one = to->add_memory();
    if (memory.rdev != 0) {
      one->set_device(NodeName(memory.rdev, paths) + (memory.device >= 0 ? " gpu " + std::to_string(memory.device) : ""));
    } else if (memory.device >= 0 && nodes.size() == 1 && numbered == 1 && from.devices_omitted == 0) {
      one->set_device(NodeName(nodes.front(), paths));
    } else if (memory.device >= 0) {
      one->set_device("instance " + std::to_string(memory.device));
    }
    one->set_device_bytes(memory.device_bytes);
    one->set_system_bytes(memory.system_bytes);
    one->set_user_bytes(memory.user_bytes);
    one->set_allocated_bytes(memory.allocated_bytes);
    one->set_freed_bytes(memory.freed_bytes);
  }
  to->set_memory_omitted(from.memory_omitted);
  to->set_freed_bytes(from.freed_bytes);
}

// How many rows may still come.
class Room {
 public:
  explicit Room(uint32_t limit) : left_(limit == 0 ? UINT32_MAX : limit) {}
  bool Take() {
    if (left_ == 0 || bytes_ >= kMaxBytes) {
      omitted_ += left_ > 0 ? 1 : 0;
      left_ -= left_ > 0 ? 1 : 0;
      return false;
    }
    --left_;
    return true;
  }
  template <typename Message>
  void Took(const Message& row) {
    bytes_ += row.ByteSizeLong() + kRowBytes;
  }
  uint64_t omitted() const { return omitted_; }

 private:
  static constexpr size_t kRowBytes = 8;  // its tag and length
  uint32_t left_;
  size_t bytes_ = 0;
  uint64_t omitted_ = 0;
};

class InventoryService final : public v1::Inventory::Service {
 public:
  InventoryService(StatusSource status, InventorySource source) : status_(std::move(status)), source_(std::move(source)) {}

  grpc::Status ListWorkloads(grpc::ServerContext*, const v1::InventoryRequest* request,
                             v1::ListWorkloadsResponse* response) override {
    return Answer(event::ActivityOf::kWorkloads, request, response,
                  [&](const StatusSnapshot& status, const event::Activity& all, Room& room) {
                    const WallClock wall;
                    for (const event::WorkloadActivity& from : all.workloads.rows) {
                      if (!IsIn(from.cgroup, request->cgroup()) || !room.Take()) {
                        continue;
                      }
                      v1::Workload* to = response->add_workloads();
                      to->set_cgroup(ToUtf8(from.cgroup));
                      to->set_cgroup_id(from.cgroup_id);
      // A path that was cut is of another cgroup, or of none.
                      const bool whole = !from.cgroup.empty() && from.cgroup.size() < event::kMaxActorCgroup;
                      SetWhose(to, whole && source_.whose ? source_.whose(from.cgroup) : event::Workload{.known = false});
                      to->set_processes(from.processes);
                      AddLabels(from.labels, status, [to](const std::string& name) { to->add_holds(name); });
                      to->set_bytes_out(from.bytes_out);
                      to->set_bytes_in(from.bytes_in);
                      to->set_gpu_calls(from.gpu_calls);
                      to->set_allowed(from.allowed);
                      to->set_denied(from.denied);
                      to->set_would_deny(from.would_deny);
                      SetSeen(to, from.seen, wall);
                      room.Took(*to);
                    }
                    return all.workloads.evicted;
                  });
  }

  grpc::Status ListAssets(grpc::ServerContext*, const v1::InventoryRequest* request, v1::ListAssetsResponse* response) override {
    return Answer(event::ActivityOf::kAssets, request, response,
                  [&](const StatusSnapshot& status, const event::Activity& all, Room& room) {
                    const WallClock wall;
                    std::map<uint32_t, v1::InventoryAsset*> assets;
                    for (const StatusSnapshot::Asset& asset : status.assets) {
                      if (request->name().empty() || request->name() == asset.name) {
                        v1::InventoryAsset* to = assets[asset.id] = response->add_assets();
                        to->set_name(ToUtf8(asset.name));
                        to->set_asset_class(ToUtf8(asset.asset_class));
                        to->set_bytes(asset.bytes);
                        to->set_files(asset.files);
                      }
                    }
                    for (const event::AssetActivity& from : all.assets.rows) {
                      const auto asset = assets.find(from.asset);
                      if (asset == assets.end() || !IsIn(from.actor.cgroup, request->cgroup()) || !room.Take()) {
                        continue;
                      }
                      v1::AssetReader* to = asset->second->add_readers();
                      SetActor(to->mutable_actor(), from.actor);
                      to->set_opens(from.opens);
                      to->set_maps(from.maps);
                      to->set_changes(from.changes);
                      to->set_denied(from.denied);
                      to->set_bytes_read(from.bytes_read);
                      to->set_bytes_written(from.bytes_written);
                      SetSeen(to, from.seen, wall);
                      room.Took(*to);
                    }
                    return all.assets.evicted;
                  });
  }

  grpc::Status ListDevices(grpc::ServerContext*, const v1::InventoryRequest* request,
                           v1::ListDevicesResponse* response) override {
    return Answer(event::ActivityOf::kDevices, request, response,
                  [&](const StatusSnapshot& status, const event::Activity& all, Room& room) {
                    const WallClock wall;
                    std::map<uint32_t, v1::InventoryDevice*> devices;
                    const auto add = [&](uint32_t rdev, const std::string& path, const std::string& device_class) {
                      if (request->name().empty() || request->name() == path || request->name() == device_class) {
                        v1::InventoryDevice* to = devices[rdev] = response->add_devices();
                        to->set_path(ToUtf8(path));
                        to->set_device_class(device_class);
                        to->set_rdev(rdev);
                      }
                    };
                    for (const StatusSnapshot::Device& device : status.devices) {
                      if (!devices.contains(device.rdev)) {
                        add(device.rdev, device.path, device.class_name);
                      }
                    }
                    for (const event::DeviceActivity& from : all.devices.rows) {
                      if (!devices.contains(from.rdev)) {
                        add(from.rdev, "", from.device_class);  // it was there once
                      }
                      const auto device = devices.find(from.rdev);
                      if (device == devices.end() || !IsIn(from.actor.cgroup, request->cgroup()) || !room.Take()) {
                        continue;
                      }
                      v1::DeviceUser* to = device->second->add_users();
                      SetActor(to->mutable_actor(), from.actor);
                      to->set_opens(from.opens);
                      to->set_calls(from.calls);
                      to->set_denied(from.denied);
                      SetSeen(to, from.seen, wall);
                      room.Took(*to);
                    }
                    return all.devices.evicted;
                  });
  }

  grpc::Status ListGpus(grpc::ServerContext*, const v1::InventoryRequest* request, v1::ListGpusResponse* response) override {
    return Answer(event::ActivityOf::kGpus, request, response,
                  [&](const StatusSnapshot& status, const event::Activity& all, Room& room) {
                    const WallClock wall;
                    Paths paths;
                    for (const StatusSnapshot::Device& device : status.devices) {
                      paths.try_emplace(device.rdev, device.path);
                    }
                    for (const event::GpuActivity& from : all.gpus.rows) {
                      if (!IsIn(from.actor.cgroup, request->cgroup()) || !room.Take()) {
                        continue;
                      }
                      v1::GpuHolder* to = response->add_holders();
                      to->set_pid(from.process.pid);
                      to->set_start_ns(from.process.start_ns);
                      SetActor(to->mutable_actor(), from.actor);
                      for (const uint32_t rdev : from.devices) {
                        to->add_devices(NodeName(rdev, paths));
                      }
                      SetMemory(to, from, paths);
                      to->set_devices_omitted(from.devices_omitted);
                      to->set_device_bytes(from.device_bytes);
                      to->set_system_bytes(from.system_bytes);
                      to->set_user_bytes(from.user_bytes);
                      to->set_allocated_bytes(from.allocated_bytes);
                      to->set_objects_lost(from.objects_lost);
                      to->set_calls(from.calls);
                      for (const char* verb : from.verbs) {
                        to->add_verbs(verb);
                      }
                      event::EachGpuCategory(from.categories, [to](const char* name) { to->add_categories(name); });
                      to->set_sensitive(from.sensitive);
                      to->set_last_name(from.last_name);
                      event::EachGpuCategory(from.last_categories, [to](const char* name) { to->add_last_categories(name); });
                      to->set_last_target_pid(from.last_target.pid);
                      to->set_last_sensitive_unix_ns(wall(from.last_sensitive_ns));
                      SetSeen(to, from.seen, wall);
                      room.Took(*to);
                    }
                    return all.gpus.evicted;
                  });
  }

  grpc::Status ListFlows(grpc::ServerContext*, const v1::InventoryRequest* request, v1::ListFlowsResponse* response) override {
    return Answer(event::ActivityOf::kFlows, request, response,
                  [&](const StatusSnapshot& status, const event::Activity& all, Room& room) {
                    const WallClock wall;
                    for (const event::FlowActivity& from : all.flows.rows) {
                      const std::string peer = PeerText(from);
                      if (!IsIn(from.actor.cgroup, request->cgroup()) || (!request->name().empty() && request->name() != peer) ||
                          !room.Take()) {
                        continue;
                      }
                      v1::Flow* to = response->add_flows();
                      SetActor(to->mutable_actor(), from.actor);
                      to->set_peer(peer);
                      to->set_port(from.port);
                      to->set_protocol(static_cast<v1::Protocol>(from.protocol));
                      to->set_inbound(from.inbound);
                      to->set_connections(from.connections);
                      to->set_denied(from.denied);
                      to->set_bytes_out(from.bytes_out);
                      to->set_bytes_in(from.bytes_in);
                      AddLabels(from.labels, status, [to](const std::string& name) { to->add_labels(name); });
                      SetSeen(to, from.seen, wall);
                      room.Took(*to);
                    }
                    return all.flows.evicted;
                  });
  }

 private:
  static grpc::Status Check(const v1::InventoryRequest& request) {
    return request.cgroup().size() > kMaxText || request.name().size() > kMaxText
               ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                              "cgroup and name may have at most " + std::to_string(kMaxText) + " bytes")
               : grpc::Status::OK;
  }

  // add: puts in the rows that there is room for, and says how many had given way.
  template <typename Response, typename Add>
  grpc::Status Answer(event::ActivityOf what, const v1::InventoryRequest* request, Response* response, const Add& add) {
    if (const auto bad = Check(*request); !bad.ok()) {
      return bad;
    }
    const StatusSnapshot status = status_();
    const event::Activity all = source_.activity ? source_.activity(what) : event::Activity();
    Room room(request->limit());
    // Running totals that gave way make some sums too large: they are among what is told as lost.
    response->set_evicted(add(status, all, room) + all.sums_evicted);
    response->set_omitted(room.omitted());
    response->set_since_unix_ns(status.started_unix_ns);
    return grpc::Status::OK;
  }

  template <typename Add>
  static void AddLabels(uint64_t labels, const StatusSnapshot& status, const Add& add) {
    for (const StatusSnapshot::Asset& asset : status.assets) {
      if (asset.id < event::kMaxAssets && (labels >> asset.id & 1) != 0) {
        add(ToUtf8(asset.name));
      }
    }
  }

  static void SetWhose(v1::Workload* to, const event::Workload& from) {
    to->set_known(from.known);
    to->set_unit(ToUtf8(from.unit));
    to->set_pod_namespace(ToUtf8(from.pod_namespace));
    to->set_pod_name(ToUtf8(from.pod_name));
    to->set_container(ToUtf8(from.pod_container.empty() ? from.container_name : from.pod_container));
    to->set_image(ToUtf8(from.container_image));
    to->set_image_digest(ToUtf8(from.image_digest));
    for (const auto& [key, value] : from.pod_labels.empty() ? from.container_labels : from.pod_labels) {
      (*to->mutable_labels())[ToUtf8(key)] = ToUtf8(value);
    }
    to->set_slurm_job(ToUtf8(from.slurm_job));
    to->set_slurm_user(ToUtf8(from.slurm_user));
    to->set_slurm_account(ToUtf8(from.slurm_account));
  }

  const StatusSource status_;
  const InventorySource source_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInventoryService(StatusSource status, InventorySource source) {
  return std::make_unique<InventoryService>(std::move(status), std::move(source));
}

}  // namespace moat::api
