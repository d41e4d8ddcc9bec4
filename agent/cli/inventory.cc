// SPDX-License-Identifier: Apache-2.0
// moatctl workloads, assets, devices, flows.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "agent/base/clock.h"
#include "agent/cli/client.h"
#include "agent/cli/options.h"
#include "agent/cli/policy_text.h"
#include "agent/cli/text.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::cli {
namespace {

using Stub = v1::Inventory::Stub;
using TableRows = std::vector<std::vector<std::string>>;

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// Asks, and prints the answer as JSON, or as show makes it.
template <typename Response, typename Show>
int List(const Options& options, grpc::Status (Stub::*method)(grpc::ClientContext*, const v1::InventoryRequest&, Response*),
         const Show& show) {
  v1::InventoryRequest request;
  request.set_cgroup(options.inventory.cgroup);
  request.set_name(options.inventory.name);
  request.set_limit(options.inventory.limit);
  const auto stub = v1::Inventory::NewStub(Connect(options));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  Response response;
  if (const grpc::Status status = (stub.get()->*method)(&context, request, &response); !status.ok()) {
    return Complain(options, status);
  }
  if (options.json) {
    Print(MessageJson(response));
    return kExitOk;
  }
  Print(show(response));
  if (response.evicted() > 0) {
    Print(Paint(options.color, Color::kYellow,
                Number(response.evicted()) + " rows gave way for want of room: what is shown is not all that was seen") +
          "\n");
  }
  if (response.omitted() > 0) {
    Print(Paint(options.color, Color::kYellow,
                Number(response.omitted()) + " rows more than an answer has room for: ask for one --cgroup, or one --name") +
          "\n");
  }
  return kExitOk;
}

// The time of day, where that says which day.
std::string Seen(uint64_t unix_ns) {
  constexpr uint64_t kHalfDayNs = 12 * 3'600'000'000'000;
  const uint64_t now_ns = WallNs(), age_ns = now_ns - std::min(now_ns, unix_ns);
  if (unix_ns == 0) {
    return "";
  }
  return age_ns < kHalfDayNs ? ClockTime(unix_ns).substr(0, 8) : Span(age_ns) + " ago";
}

std::string ProtocolText(int protocol) { return EnumWord(v1::Protocol_Name(protocol), "PROTOCOL_", protocol); }

std::string Joined(const google::protobuf::RepeatedPtrField<std::string>& names) {
  std::string text;
  for (const std::string& name : names) {
    text += (text.empty() ? "" : ", ") + Safe(name);
  }
  return text;
}

std::string ExecutableText(const v1::Actor& actor) { return actor.executable().empty() ? "?" : Safe(actor.executable()); }
std::string CgroupText(const std::string& cgroup, uint64_t id) { return cgroup.empty() ? std::to_string(id) : Safe(cgroup); }

std::string WhoText(const v1::Workload& workload) {
  std::string text;
  if (!workload.pod_name().empty()) {
    text = "pod " + Safe(workload.pod_namespace()) + "/" + Safe(workload.pod_name()) +
           (workload.container().empty() ? "" : " " + Safe(workload.container()));
  } else if (!workload.slurm_job().empty()) {
    text = "job " + Safe(workload.slurm_job()) + (workload.slurm_user().empty() ? "" : " of " + Safe(workload.slurm_user()));
  } else if (!workload.container().empty()) {
    text = "container " + Safe(workload.container());
  } else {
    text = Safe(workload.unit());
  }
  return workload.known() ? text : text + (text.empty() ? "" : " ") + "(not known yet)";
}

std::string TableOr(const std::vector<std::string>& header, const TableRows& rows, const std::string& none, bool color) {
  return rows.empty() ? none + "\n" : Table(header, rows, color);
}

}  // namespace

int RunWorkloads(const Options& options) {
  return List<v1::ListWorkloadsResponse>(options, &Stub::ListWorkloads, [&](const v1::ListWorkloadsResponse& response) {
    TableRows rows;
    for (const v1::Workload& workload : response.workloads()) {
      rows.push_back({CgroupText(workload.cgroup(), workload.cgroup_id()), WhoText(workload), Number(workload.processes()),
                      Joined(workload.holds()), Bytes(workload.bytes_out()), Bytes(workload.bytes_in()),
                      Number(workload.gpu_calls()), Number(workload.allowed()), Number(workload.denied()),
                      Number(workload.would_deny()), Seen(workload.last_unix_ns())});
    }
    return TableOr(
        {"CGROUP", "WHO", "STARTED", "HOLDS", "OUT", "IN", "GPU CALLS TOLD", "ALLOWED", "DENIED", "WOULD DENY", "LAST SEEN"},
        rows, "Nothing was seen yet.", options.color);
  });
}

int RunAssets(const Options& options) {
  return List<v1::ListAssetsResponse>(options, &Stub::ListAssets, [&](const v1::ListAssetsResponse& response) {
    TableRows rows;
    for (const v1::InventoryAsset& asset : response.assets()) {
      const std::string name = Safe(asset.name()) + " (" + Safe(asset.asset_class()) + ", " + Number(asset.files()) +
                               (asset.files() == 1 ? " file, " : " files, ") + Bytes(asset.bytes()) + ")";
      if (asset.readers().empty()) {
        rows.push_back({name, "nobody yet", "", "", "", "", "", "", ""});
      }
      for (const v1::AssetReader& reader : asset.readers()) {
        rows.push_back({name, ExecutableText(reader.actor()), CgroupText(reader.actor().cgroup(), reader.actor().cgroup_id()),
                        Number(reader.opens() + reader.maps()), Bytes(reader.bytes_read()), Bytes(reader.bytes_written()),
                        Number(reader.changes()), Number(reader.denied()), Seen(reader.last_unix_ns())});
      }
    }
    return TableOr({"ASSET", "BY", "CGROUP", "OPENS, MAPS", "READ", "WRITTEN", "CHANGES", "DENIED", "LAST SEEN"}, rows,
                   "No assets are configured.", options.color);
  });
}

int RunDevices(const Options& options) {
  return List<v1::ListDevicesResponse>(options, &Stub::ListDevices, [&](const v1::ListDevicesResponse& response) {
    TableRows rows;
    for (const v1::InventoryDevice& device : response.devices()) {
      const std::string name = device.path().empty() ? Device(device.rdev()) : Safe(device.path());
      if (device.users().empty()) {
        rows.push_back({name, Safe(device.device_class()), "nobody yet", "", "", "", "", ""});
      }
      for (const v1::DeviceUser& user : device.users()) {
        rows.push_back({name, Safe(device.device_class()), ExecutableText(user.actor()),
                        CgroupText(user.actor().cgroup(), user.actor().cgroup_id()), Number(user.opens()), Number(user.calls()),
                        Number(user.denied()), Seen(user.last_unix_ns())});
      }
    }
    return TableOr({"DEVICE", "CLASS", "BY", "CGROUP", "OPENS", "CALLS TOLD", "DENIED", "LAST SEEN"}, rows,
                   "There are no accelerators.", options.color);
  });
}

// What is held on devices, and on which where that is known.
std::string OnDevices(const v1::GpuHolder& holder) {
  std::string text = (holder.objects_lost() > 0 ? "at least " : "") + Bytes(holder.device_bytes()), which;
  int held = 0;
  for (const v1::GpuMemory& memory : holder.memory()) {
    held += memory.device_bytes() != 0 ? 1 : 0;
  }
  for (const v1::GpuMemory& memory : holder.memory()) {
    if (memory.device_bytes() != 0 && (held > 1 || !memory.device().empty())) {
      const std::string name = memory.device().empty() ? "elsewhere" : Safe(memory.device());
      which += (which.empty() ? "" : ", ") + name + (held > 1 ? " " + Bytes(memory.device_bytes()) : "");
    }
  }
  return text + (which.empty() ? "" : " (" + which + (holder.memory_omitted() > 0 ? ", ..." : "") + ")");
}

int RunGpus(const Options& options) {
  return List<v1::ListGpusResponse>(options, &Stub::ListGpus, [&](const v1::ListGpusResponse& response) {
    TableRows rows;
    for (const v1::GpuHolder& holder : response.holders()) {
      std::string last;
      if (holder.sensitive() > 0) {
        last = Joined(holder.last_categories()) + ": " + Safe(holder.last_name()) +
               (holder.last_target_pid() > 0 ? " of process " + std::to_string(holder.last_target_pid()) : "") + ", " +
               Seen(holder.last_sensitive_unix_ns()) + " (" + Number(holder.sensitive()) + ")";
      }
      rows.push_back({std::to_string(holder.pid()), ExecutableText(holder.actor()),
                      CgroupText(holder.actor().cgroup(), holder.actor().cgroup_id()),
                      Joined(holder.devices()) + (holder.devices_omitted() > 0 ? ", ..." : ""), OnDevices(holder),
                      Bytes(holder.system_bytes()), Bytes(holder.user_bytes()), Joined(holder.verbs()), last,
                      Seen(holder.last_unix_ns())});
    }
    return TableOr(
        {"PID", "EXECUTABLE", "CGROUP", "DEVICES", "ON DEVICE", "ON HOST", "PINNED", "CALLS", "LAST SENSITIVE", "LAST SEEN"},
        rows, "Nobody uses an accelerator.", options.color);
  });
}

int RunFlows(const Options& options) {
  return List<v1::ListFlowsResponse>(options, &Stub::ListFlows, [&](const v1::ListFlowsResponse& response) {
    TableRows rows;
    for (const v1::Flow& flow : response.flows()) {
      const bool v6 = flow.peer().find(':') != std::string::npos;
      const std::string peer = v6 ? "[" + Safe(flow.peer()) + "]" : Safe(flow.peer());
      rows.push_back({ExecutableText(flow.actor()), CgroupText(flow.actor().cgroup(), flow.actor().cgroup_id()),
                      flow.inbound() ? "from " + peer + " at port " + std::to_string(flow.port())
                                     : "to " + peer + ":" + std::to_string(flow.port()),
                      ProtocolText(flow.protocol()), Number(flow.connections()), Bytes(flow.bytes_out()), Bytes(flow.bytes_in()),
                      Number(flow.denied()), Joined(flow.labels()), Seen(flow.last_unix_ns())});
    }
    return TableOr({"BY", "CGROUP", "PEER", "PROTOCOL", "CONNECTIONS", "OUT", "IN", "DENIED", "HOLDING", "LAST SEEN"}, rows,
                   "Nobody has talked to anybody yet.", options.color);
  });
}

}  // namespace moat::cli
