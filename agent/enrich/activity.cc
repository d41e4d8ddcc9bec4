// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/activity.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>

#include "agent/base/recent.h"
#include "agent/enrich/gpu_holders.h"

namespace moat::enrich {
namespace {

struct AssetKey {
  uint64_t cgroup_id = 0, exe_inode = 0;
  uint32_t exe_dev = 0, thing = 0;  // asset, or rdev
};
struct FlowKey {
  uint64_t cgroup_id = 0, exe_inode = 0;
  std::array<uint8_t, 16> peer{};
  uint32_t exe_dev = 0;
  uint16_t port = 0, protocol = 0;
  uint32_t ipv6 = 0, inbound = 0;
};
// What a running total is of: a socket, or a process and an asset.
enum class SumOf : uint64_t { kSocket, kFile };
struct SumKey {
  SumOf of = SumOf::kSocket;
  uint64_t a = 0, b = 0, c = 0;
};
using Sum = std::array<uint64_t, 2>;
struct CommandKey {
  uint64_t start_ns = 0;
  uint32_t pid = 0, rdev = 0;
  uint64_t command = 0;
};

std::string Short(std::string_view text, size_t most) { return std::string(text.substr(0, most)); }

class ActivityTableImpl final : public ActivityTable {
 public:
  explicit ActivityTableImpl(const ActivityLimits& limits)
      : workloads_(limits.workloads),
        assets_(limits.assets),
        devices_(limits.devices),
        gpus_(limits.gpus),
        flows_(limits.flows),
        sums_(limits.sums),
        commands_(limits.commands) {}

  void OnBatch(const event::BatchPtr& batch) override {
    const std::lock_guard lock(mutex_);
    for (const event::Event& event : batch->events) {
      std::visit([this, &event](const auto& body) { Take(event.header, body); }, event.body);
    }
  }

  event::Activity Get(event::ActivityOf what) const override {
    const std::lock_guard lock(mutex_);
    event::Activity out;
    switch (what) {
      case event::ActivityOf::kWorkloads: Copy(workloads_, out.workloads); break;
      case event::ActivityOf::kAssets: Copy(assets_, out.assets); break;
      case event::ActivityOf::kDevices: Copy(devices_, out.devices); break;
      case event::ActivityOf::kGpus: gpus_.Copy(out.gpus); break;
      case event::ActivityOf::kFlows: Copy(flows_, out.flows); break;
    }
    out.sums_evicted = sums_.evicted();
    return out;
  }

 private:
  template <typename Key, typename Row>
  static void Copy(const Recent<Key, Row>& from, event::Rows<Row>& to) {
    to.rows.reserve(from.rows().size());
    for (const auto& [key, row] : from.rows()) {
      to.rows.push_back(row);
    }
    to.evicted = from.evicted();
  }

  // The part of a running total that was not counted yet. A smaller one than before is another's.
  Sum New(const SumKey& key, const Sum& total, bool last) {
    bool fresh = false;
    Sum& before = sums_.Touch(key, &fresh);
    Sum out{};
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = total[i] >= before[i] ? total[i] - before[i] : total[i];
      before[i] = total[i];
    }
    if (last) {
      sums_.Forget(key);
    }
    return out;
  }

  // The calls of a command that were not counted yet. Its number of calls so far tells of those whose events were lost. Threads that
  // call at once are told in any order: a smaller number than before is of one that was counted with a later one.
  uint64_t NewCalls(const event::Header& header, const event::GpuCall& call) {
    if (call.count == 0) {
      return 1;  // the kernel's table was full: nobody knows the number
    }
    bool fresh = false;
    uint64_t& before = commands_.Touch({.start_ns = header.process.start_ns,
                                        .pid = header.process.pid,
                                        .rdev = call.rdev,
                                        .command = uint64_t{call.detail} << 32 | (call.wrapped ? call.number : call.cmd)},
                                       &fresh);
    if (fresh) {  // not the first: its row gave way, and what it had counted stands in the sums
      before = call.count;
      return 1;
    }
    const uint64_t calls = call.count > before ? call.count - before : call.first;
    before = std::max(before, call.count);
    return calls;
  }

  static void Seen(const event::Header& header, event::SeenAt& seen) {
    seen.first_ns = seen.first_ns == 0 ? header.time_ns : std::min(seen.first_ns, header.time_ns);
    seen.last_ns = std::max(seen.last_ns, header.time_ns);
  }

  static void Name(const event::Header& header, event::Actor& actor) {
    actor.cgroup_id = header.cgroup_id;
    if (header.info) {
      actor.executable = Short(header.info->exe, event::kMaxActorExecutable);
      actor.cgroup = Short(header.info->cgroup, event::kMaxActorCgroup);
    }
  }

  event::WorkloadActivity& Workload(const event::Header& header) {
    bool fresh = false;
    event::WorkloadActivity& row = workloads_.Touch(header.cgroup_id, &fresh);
    row.cgroup_id = header.cgroup_id;
    if (row.cgroup.empty() && header.info) {
      row.cgroup = Short(header.info->cgroup, event::kMaxActorCgroup);
    }
    row.labels |= header.labels;
    Seen(header, row.seen);
    return row;
  }

  template <typename Row>
  Row& Of(Recent<AssetKey, Row>& table, const event::Header& header, uint32_t thing) {
    AssetKey key{.cgroup_id = header.cgroup_id, .thing = thing};
    if (header.info) {
      key.exe_inode = header.info->exe_inode;
      key.exe_dev = header.info->exe_dev;
    }
    bool fresh = false;
    Row& row = table.Touch(key, &fresh);
    if (fresh) {
      Name(header, row.actor);
    }
    Seen(header, row.seen);
    return row;
  }
  event::AssetActivity& Asset(const event::Header& header, uint32_t asset) {
    event::AssetActivity& row = Of(assets_, header, asset);
    row.asset = asset;
    return row;
  }
  event::DeviceActivity& Device(const event::Header& header, uint32_t rdev, event::GpuClass device_class) {
    event::DeviceActivity& row = Of(devices_, header, rdev);
    row.rdev = rdev;
    if (device_class != event::GpuClass::kNone) {
      row.device_class = event::GpuClassName(device_class);
    }
    return row;
  }

  event::FlowActivity& Flow(const event::Header& header, const event::Endpoints& ep, bool inbound) {
    FlowKey key{.cgroup_id = header.cgroup_id,
                .peer = ep.remote.bytes,
                .port = inbound ? ep.local.port : ep.remote.port,
                .protocol = ep.protocol,
                .ipv6 = ep.ipv6,
                .inbound = inbound};
    if (header.info) {
      key.exe_inode = header.info->exe_inode;
      key.exe_dev = header.info->exe_dev;
    }
    bool fresh = false;
    event::FlowActivity& row = flows_.Touch(key, &fresh);
    if (fresh) {
      Name(header, row.actor);
      row.peer = key.peer;
      row.ipv6 = ep.ipv6;
      row.inbound = inbound;
      row.port = key.port;
      row.protocol = ep.protocol;
    }
    row.labels |= header.labels;
    Seen(header, row.seen);
    return row;
  }

  template <typename Body>
  void Take(const event::Header&, const Body&) {}

  void Take(const event::Header& header, const event::Exec&) { ++Workload(header).processes; }
  void Take(const event::Header& header, const event::FileOpen& open) {
    if (open.asset < event::kMaxAssets) {
      Workload(header);
      ++Asset(header, open.asset).opens;
    }
  }
  void Take(const event::Header& header, const event::FileMap& map) {
    if (map.asset < event::kMaxAssets) {
      Workload(header);
      ++Asset(header, map.asset).maps;
    }
  }
  void Take(const event::Header& header, const event::FileTamper& tamper) {
    if (tamper.asset < event::kMaxAssets) {
      ++Asset(header, tamper.asset).changes;
    }
  }
  void Take(const event::Header& header, const event::FileIo& io) {
    if (io.asset >= event::kMaxAssets) {
      return;
    }
    const Sum fresh = New({.of = SumOf::kFile, .a = header.process.pid, .b = header.process.start_ns, .c = io.asset},
                          {io.bytes_read, io.bytes_written}, io.last);
    event::AssetActivity& row = Asset(header, io.asset);
    row.bytes_read += fresh[0];
    row.bytes_written += fresh[1];
  }
  void Take(const event::Header& header, const event::GpuOpen& open) {
    Workload(header);
    ++Device(header, open.rdev, open.device_class).opens;
    gpus_.Take(header, open);
  }
  void Take(const event::Header& header, const event::GpuMap& map) {
    Workload(header);
    gpus_.Take(header, map);
  }
  void Take(const event::Header& header, const event::Exit& exit) { gpus_.Take(header, exit); }
  void Take(const event::Header& header, const event::GpuCall& call) {
    const uint64_t calls = NewCalls(header, call);
    Device(header, call.rdev, call.device_class).calls += calls;
    gpus_.Take(header, call);
    Workload(header).gpu_calls += calls;
  }
  void Take(const event::Header& header, const event::Net& net) {
    if (header.kind == event::Kind::kNetListen || net.ep.other_family != 0) {
      return;
    }
    Workload(header);
    ++Flow(header, net.ep, header.kind == event::Kind::kNetAccept).connections;
  }
  void Take(const event::Header& header, const event::NetTotals& totals) {
    if (totals.ep.other_family != 0) {
      return;
    }
    const Sum fresh = New({.of = SumOf::kSocket, .a = totals.cookie, .b = totals.opened_ns}, {totals.bytes_out, totals.bytes_in},
                          header.kind == event::Kind::kNetClose);
    event::WorkloadActivity& workload = Workload(header);
    workload.bytes_out += fresh[0];
    workload.bytes_in += fresh[1];
    event::FlowActivity& flow = Flow(header, totals.ep, totals.passive);
    flow.bytes_out += fresh[0];
    flow.bytes_in += fresh[1];
  }
  void Take(const event::Header& header, const event::Verdict& verdict) {
    event::WorkloadActivity& workload = Workload(header);
    const bool denied = verdict.action == event::VerdictAction::kDeny;
    workload.allowed += verdict.action == event::VerdictAction::kAllow;
    workload.denied += denied;
    workload.would_deny += verdict.action == event::VerdictAction::kWouldDeny;
    if (!denied) {
      return;
    }
    if (verdict.has_ep) {
      ++Flow(header, verdict.ep, false).denied;
    } else if (verdict.asset < event::kMaxAssets) {
      ++Asset(header, verdict.asset).denied;
    } else if (verdict.rdev != 0) {
      ++Device(header, verdict.rdev, event::GpuClass::kNone).denied;
    }
  }

  mutable std::mutex mutex_;
  Recent<uint64_t, event::WorkloadActivity> workloads_;  // by cgroup
  Recent<AssetKey, event::AssetActivity> assets_;
  Recent<AssetKey, event::DeviceActivity> devices_;
  GpuHolders gpus_;
  Recent<FlowKey, event::FlowActivity> flows_;
  Recent<SumKey, Sum> sums_;
  Recent<CommandKey, uint64_t> commands_;  // of processes that ended, too, until they give way, which costs nothing
};

}  // namespace

std::unique_ptr<ActivityTable> ActivityTable::Create(ActivityLimits limits) {
  return std::make_unique<ActivityTableImpl>(limits);
}

}  // namespace moat::enrich
