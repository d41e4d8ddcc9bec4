// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/ocsf.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>
#include <utility>
#include <variant>
#include <vector>

#include "agent/sink/ocsf_parts.h"
#include "agent/sink/shrink.h"

namespace moat::sink {
namespace {

using event::Kind;
using ocsf::Json;
using ocsf::PutText;
using ocsf::Text;

constexpr ocsf::Class kFile = {1001, "File System Activity"}, kKernel = {1003, "Kernel Activity"},
                      kMemory = {1004, "Memory Activity"}, kProcess = {1007, "Process Activity"},
                      kNetwork = {4001, "Network Activity"}, kDns = {4003, "DNS Activity"},
                      kAuthentication = {3002, "Authentication"}, kLifecycle = {6002, "Application Lifecycle"};

struct Activity {
  int id;
  const char* name;
};

Json ProcessOf(const event::ProcessKey& key, uint32_t uid, const event::Process* info) {
  return info == nullptr ? ocsf::Process({.key = key, .uid = uid, .exe = {}, .args = {}})
                         : ocsf::Process({.key = key, .uid = info->uid, .exe = info->exe, .args = info->args});
}

std::string AssetName(uint32_t asset, const event::Names& names) {
  return asset < names.assets.size() ? names.assets[asset].name : "#" + std::to_string(asset);
}

std::string PathOf(uint32_t dev, uint64_t inode, std::string_view name, const event::Names& names) {
  const auto found = names.paths.find({dev, inode});
  return found == names.paths.end() ? std::string(name) : found->second;
}

std::string DeviceName(uint32_t rdev, const event::Names& names) {
  const auto found = names.devices.find(rdev);
  return found != names.devices.end() ? found->second : std::to_string(rdev >> 20) + ":" + std::to_string(rdev & 0xfffff);
}

Json Categories(uint32_t categories) {
  Json list = Json::array();
  event::EachGpuCategory(categories, [&](const char* category) { list.push_back(category); });
  return list;
}

// Nothing when it is not known.
Json EndpointOf(const event::Address& address, bool ipv6) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  static constexpr std::array<uint8_t, 16> kNone{};
  if ((address.bytes == kNone && address.port == 0) ||
      inet_ntop(ipv6 ? AF_INET6 : AF_INET, address.bytes.data(), text.data(), text.size()) == nullptr) {
    return nullptr;
  }
  return {{"ip", text.data()}, {"port", address.port}};
}

struct Encoder {
  const event::Event& event;
  const event::Header& header;
  const event::Names& names;
  const Origin& origin;
  uint64_t time_unix_ns;

  Json Actor() const { return {{"process", ProcessOf(header.process, header.uid, header.info.get())}}; }

  Json Begin(const ocsf::Class& class_of, Activity activity) const {
    const bool verdict = header.kind == Kind::kVerdict;
    Json json = ocsf::Base(class_of, activity.id, activity.name, SeverityOf(event), time_unix_ns, origin,
                           verdict ? std::vector<const char*>{"security_control"} : std::vector<const char*>{});
    json["metadata"]["uid"] = EventId(event, origin);
    json["metadata"]["event_code"] = event::KindName(header.kind);
    json["metadata"]["log_name"] = "events";
    json["metadata"]["sequence"] = header.seq & ocsf::kLargestInteger;
    json["actor"] = Actor();
    Json own = {{"seq", header.seq}};
    PutText(own, "comm", header.comm.view());
    PutText(own, "cgroup", header.info ? header.info->cgroup : "");
    for (uint64_t labels = header.labels; labels != 0; labels &= labels - 1) {
      own["labels"].push_back(Text(AssetName(static_cast<uint32_t>(__builtin_ctzll(labels)), names)));
    }
    json["unmapped"]["moat"] = std::move(own);
    return json;
  }
  static Json& Own(Json& json) { return json["unmapped"]["moat"]; }

  Json Process(Activity activity, Json process) const {
    Json json = Begin(kProcess, activity);
    json["process"] = std::move(process);
    return json;
  }

  Json FileOf(Activity activity, const std::string& path, int type_id, uint32_t asset) const {
    Json json = Begin(kFile, activity);
    json["file"] = ocsf::File(path, type_id);
    if (asset != event::kNoAsset) {
      Own(json)["asset"] = Text(AssetName(asset, names));
    }
    return json;
  }

  Json Memory(Activity activity, uint64_t size) const {
    Json json = Begin(kMemory, activity);
    json["process"] = ProcessOf(header.process, header.uid, header.info.get());
    json["size"] = static_cast<int64_t>(size & INT64_MAX);
    return json;
  }

  Json Network(Activity activity, const event::Endpoints& ep, bool inbound, const ocsf::Class& class_of = kNetwork) const {
    Json json = Begin(class_of, activity);
    Json remote, local;
    if (ep.other_family != 0) {
      std::array<uint32_t, 2> words{};
      std::memcpy(words.data(), ep.remote.bytes.data(), sizeof(words));
      const bool vsock = ep.other_family == AF_VSOCK;
      remote = {{"name", vsock ? "vsock:" + std::to_string(words[1]) + ":" + std::to_string(words[0])
                               : "interface:" + std::to_string(words[0])}};
    } else {
      remote = EndpointOf(ep.remote, ep.ipv6);
      local = EndpointOf(ep.local, ep.ipv6);
    }
    if (remote.is_null() && local.is_null()) {
      remote = {{"name", "unknown"}};
    }
    if (!remote.is_null()) {
      json[inbound ? "src_endpoint" : "dst_endpoint"] = std::move(remote);
    }
    if (!local.is_null()) {
      json[inbound ? "dst_endpoint" : "src_endpoint"] = std::move(local);
    }
    json["connection_info"] = {{"direction_id", inbound ? 1 : 2}, {"direction", inbound ? "Inbound" : "Outbound"}};
    if (ep.other_family == 0) {
      json["connection_info"]["protocol_num"] = ep.protocol;
      json["connection_info"]["protocol_ver_id"] = ep.ipv6 ? 6 : 4;
      if (ep.protocol == IPPROTO_TCP || ep.protocol == IPPROTO_UDP) {
        json["connection_info"]["protocol_name"] = ep.protocol == IPPROTO_TCP ? "tcp" : "udp";
      }
    }
    return json;
  }

  Json operator()(const std::monostate&) const { return nullptr; }
  Json operator()(const event::FindingPtr&) const { return nullptr; }
  Json operator()(const event::Gap&) const { return nullptr; }

  Json operator()(const event::Fork& fork) const {
    Json json = Process({1, "Launch"}, ProcessOf(fork.child, header.uid, nullptr));
    json["launch_type_id"] = 2;
    json["launch_type"] = "Fork";
    return json;
  }
  Json operator()(const event::Exec& exec) const {
    const bool scan = header.kind == Kind::kScan;  // it ran before the agent
    Json json =
        Process(scan ? Activity{99, "Scan"} : Activity{1, "Launch"}, ProcessOf(header.process, header.uid, exec.image.get()));
    if (!scan) {
      json["launch_type_id"] = 3;
      json["launch_type"] = "Exec";
    }
    if (exec.image && exec.image->parent.pid != 0) {
      json["actor"]["process"] = ProcessOf(exec.image->parent, exec.image->uid, nullptr);
      json["actor"]["process"].erase("user");  // the parent's is not known
    }
    if (exec.image) {
      Own(json)["memfd"] = (exec.image->exec_flags & event::kExecMemfd) != 0;
      Own(json)["deleted"] = (exec.image->exec_flags & event::kExecDeleted) != 0;
      Own(json)["setuid"] = (exec.image->exec_flags & event::kExecSetuid) != 0;
    }
    return json;
  }
  Json operator()(const event::Exit& exit) const {
    Json json = Process({2, "Terminate"}, ProcessOf(header.process, header.uid, header.info.get()));
    json["exit_code"] = exit.code & ocsf::kLargestInteger;
    if (exit.signal != 0) {
      Own(json)["signal"] = exit.signal;
    }
    return json;
  }

  // Writing into another process is injection, whatever is written.
  Json operator()(const event::ProcessAccess& access) const {
    using Op = event::AccessOp;
    const bool writes =
        access.op == Op::kPoke || access.op == Op::kRegisters || access.op == Op::kVmWrite || access.op == Op::kMemWrite;
    Json json =
        Process(writes ? Activity{4, "Inject"} : Activity{3, "Open"}, ProcessOf(access.target, access.target_uid, nullptr));
    json["status_id"] = access.result < 0 ? 2 : 1;
    json["status"] = access.result < 0 ? "Failure" : "Success";
    Own(json)["operation"] = event::AccessOpName(access.op);
    Own(json)["count"] = access.count;
    PutText(Own(json), "target_comm", access.target_comm.view());
    return json;
  }
  Json operator()(const event::Privilege& privilege) const {
    Json json = Begin(kKernel, {4, "Invoke"});
    json["kernel"] = {{"name", event::PrivilegeOpName(privilege.op)}, {"type_id", 2}, {"type", "System Call"}};
    json["status_id"] = privilege.result < 0 ? 2 : 1;
    json["status"] = privilege.result < 0 ? "Failure" : "Success";
    Json& own = Own(json);
    own["flags"] = privilege.flags;
    PutText(own, "target", privilege.target.view());
    PutText(own, "source", privilege.source.view());
    PutText(own, "type", privilege.type.view());
    return json;
  }
  Json operator()(const event::Login& login) const {
    Json json = Begin(kAuthentication, {1, "Logon"});
    json["user"] = {{"name", Text(login.user.view().empty() ? std::string_view("unknown") : login.user.view())}};
    json["service"] = {{"name", Text(login.service.view().empty() ? std::string_view("unknown") : login.service.view())}};
    json["status_id"] = login.result != 0 ? 2 : 1;
    json["status"] = login.result != 0 ? "Failure" : "Success";
    json["status_code"] = event::PamResultName(login.result);
    PutText(Own(json), "step", event::LoginStepName(login.step));
    PutText(Own(json), "terminal", login.terminal.view());
    PutText(Own(json), "by", login.by.view());
    PutText(Own(json), "remote", login.remote.view());
    return json;
  }

  Json operator()(const event::FileOpen& open) const {
    Json json = FileOf({14, "Open"}, PathOf(open.dev, open.inode, open.name.view(), names), 1, open.asset);
    json["file"]["size"] = static_cast<int64_t>(open.size & INT64_MAX);
    Own(json)["open_flags"] = open.open_flags;
    return json;
  }
  Json operator()(const event::FileTamper& tamper) const {
    static constexpr Activity kOps[] = {{99, "none"},  {3, "Update"}, {3, "Update"}, {5, "Rename"},
                                        {4, "Delete"}, {1, "Create"}, {3, "Update"}, {5, "Rename"}};
    const auto op = static_cast<size_t>(tamper.op);
    Json json = FileOf(op < std::size(kOps) ? kOps[op] : kOps[0], PathOf(tamper.dev, tamper.inode, tamper.name.view(), names), 1,
                       tamper.asset);
    Own(json)["operation"] = event::TamperOpName(tamper.op);
    Own(json)["bytes"] = tamper.bytes;
    return json;
  }
  Json operator()(const event::FileIo& io) const {
    const bool reads = io.bytes_read > 0 || io.bytes_written == 0;
    Json json = FileOf(reads ? Activity{2, "Read"} : Activity{3, "Update"}, AssetName(io.asset, names), 0, io.asset);
    Own(json)["bytes_read"] = io.bytes_read;
    Own(json)["reads"] = io.reads;
    Own(json)["bytes_written"] = io.bytes_written;
    Own(json)["writes"] = io.writes;
    Own(json)["last"] = io.last;
    return json;
  }
  Json operator()(const event::FileMap& map) const {
    Json json = Memory({9, "Map View"}, map.length);
    json["requested_permissions"] = map.prot;
    Own(json)["asset"] = Text(AssetName(map.asset, names));
    Own(json)["path"] = Text(PathOf(map.dev, map.inode, map.name.view(), names));
    Own(json)["offset"] = map.offset;
    return json;
  }

  Json operator()(const event::GpuOpen& open) const {
    Json json = FileOf({14, "Open"}, DeviceName(open.rdev, names), 3, event::kNoAsset);
    Own(json)["device_class"] = event::GpuClassName(open.device_class);
    Own(json)["categories"] = Categories(open.categories);
    return json;
  }
  Json operator()(const event::GpuMap& map) const {
    Json json = Memory({9, "Map View"}, map.length);
    json["requested_permissions"] = map.prot;
    Own(json)["device"] = Text(map.device.view());
    Own(json)["resource"] = map.resource;
    Own(json)["categories"] = Categories(map.categories);
    return json;
  }
  Json operator()(const event::GpuCall& call) const {
    Json json = Begin(kKernel, {4, "Invoke"});
    json["kernel"] = {{"name", *call.name != '\0' ? Text(call.name) : Json("command " + std::to_string(call.cmd))},
                      {"type_id", 2},
                      {"type", "System Call"},
                      {"system_call", "ioctl"}};
    json["status_id"] = call.failed ? 2 : 1;
    json["status"] = call.failed ? "Failure" : "Success";
    Json& own = Own(json);
    own["verb"] = call.verb;
    own["object"] = call.object;
    own["device"] = Text(DeviceName(call.rdev, names));
    own["device_class"] = event::GpuClassName(call.device_class);
    own["command"] = call.cmd;
    own["count"] = call.count;
    own["bytes"] = call.bytes;
    own["categories"] = Categories(call.categories);
    if (call.target.pid != 0) {
      own["target_pid"] = call.target.pid;
    }
    return json;
  }

  Json operator()(const event::Net& net) const {
    switch (header.kind) {
      case Kind::kNetAccept: return Network({1, "Open"}, net.ep, true);
      case Kind::kNetListen: return Network({7, "Listen"}, net.ep, true);
      case Kind::kNetSend: return Network({6, "Traffic"}, net.ep, false);
      default: return Network({1, "Open"}, net.ep, false);
    }
  }
  Json operator()(const event::NetTotals& net) const {
    Json json = Network(header.kind == Kind::kNetClose ? Activity{2, "Close"} : Activity{6, "Traffic"}, net.ep, net.passive);
    json["traffic"] = {{"bytes_out", static_cast<int64_t>(net.bytes_out & INT64_MAX)},
                       {"bytes_in", static_cast<int64_t>(net.bytes_in & INT64_MAX)},
                       {"bytes", static_cast<int64_t>((net.bytes_out + net.bytes_in) & INT64_MAX)}};
    Own(json)["sends"] = net.sends;
    Own(json)["receives"] = net.receives;
    return json;
  }

  Json operator()(const event::Dns& dns) const {
    Json json = Network({1, "Query"}, dns.ep, false, kDns);
    json["query"] = {{"hostname", Text(dns.name.view().empty() ? std::string_view(".") : dns.name.view())},
                     {"packet_uid", dns.id},
                     {"type", event::DnsTypeName(dns.type)}};
    Own(json)["payload_bytes"] = dns.payload;
    return json;
  }

  Json VerdictBase(const event::Verdict& verdict) const {
    using Op = event::VerdictOperation;
    const std::string file = PathOf(verdict.dev, verdict.inode, verdict.name.view(), names);
    switch (verdict.operation) {
      case Op::kRead: return FileOf({2, "Read"}, file, 1, verdict.asset);
      case Op::kWrite:
      case Op::kTruncate: return FileOf({3, "Update"}, file, 1, verdict.asset);
      case Op::kRename: return FileOf({5, "Rename"}, file, 1, verdict.asset);
      case Op::kUnlink: return FileOf({4, "Delete"}, file, 1, verdict.asset);
      case Op::kLink: return FileOf({1, "Create"}, file, 1, verdict.asset);
      case Op::kSetattr: return FileOf({6, "Set Attributes"}, file, 1, verdict.asset);
      case Op::kGpuOpen: return FileOf({14, "Open"}, DeviceName(verdict.rdev, names), 3, event::kNoAsset);
      case Op::kMap: {
        Json json = Memory({9, "Map View"}, 0);
        Own(json)["path"] = Text(file);
        return json;
      }
      case Op::kGpuMap: {
        Json json = Memory({9, "Map View"}, 0);
        Own(json)["device"] = Text(verdict.name.view());
        return json;
      }
      case Op::kExec: {
        Json json = Process({1, "Launch"}, ProcessOf(header.process, header.uid, header.info.get()));
        Own(json)["path"] = Text(file);
        return json;
      }
      case Op::kConnect:
      case Op::kSend:
      case Op::kPacket:
      case Op::kSocket:
        return Network(
            verdict.operation == Op::kSend || verdict.operation == Op::kPacket ? Activity{6, "Traffic"} : Activity{1, "Open"},
            verdict.ep, false);
      default: {
        Json json = Begin(kKernel, {4, "Invoke"});
        const char* name = event::VerdictOperationName(verdict.operation);
        json["kernel"] = {{"name", name == nullptr ? "unknown" : name}, {"type_id", 2}, {"type", "System Call"}};
        if (verdict.rdev != 0) {
          Own(json)["device"] = Text(DeviceName(verdict.rdev, names));
        }
        return json;
      }
    }
  }
  Json operator()(const event::Verdict& verdict) const {
    using Is = event::VerdictAction;
    Json json = VerdictBase(verdict);
    const bool denied = verdict.action == Is::kDeny, allowed = verdict.action == Is::kAllow;
    json["action_id"] = denied ? 2 : allowed ? 1 : 3;
    json["action"] = denied ? "Denied" : allowed ? "Allowed" : "Observed";
    json["disposition_id"] = denied ? 2 : allowed ? 1 : 17;
    json["disposition"] = denied ? "Blocked" : allowed ? "Allowed" : "Logged";
    Json& own = Own(json);
    own["verdict"] = event::VerdictActionName(verdict.action);
    own["generation"] = verdict.generation;
    if (const auto rule = names.rules.find(verdict.rule); rule != names.rules.end()) {
      json["policy"] = {{"name", Text(rule->second.policy)}, {"uid", std::to_string(verdict.rule)}};
      PutText(own, "rule", rule->second.text);
      PutText(own, "rule_at", rule->second.at);
    }
    if (verdict.category != event::kNoCategory && *event::GpuCategoryName(verdict.category) != '\0') {
      own["category"] = event::GpuCategoryName(verdict.category);
    }
    return json;
  }
};

}  // namespace

std::string EventId(const event::Event& event, const Origin& origin) {
  return origin.run + "-" + std::to_string(event.header.seq);
}

event::Severity SeverityOf(const event::Event& event) {
  const auto* verdict = std::get_if<event::Verdict>(&event.body);
  return verdict != nullptr && verdict->action == event::VerdictAction::kDeny ? event::Severity::kMedium : event::Severity::kInfo;
}

std::string OcsfEvent(const event::Event& event, const event::Names& names, const Origin& origin, uint64_t time_unix_ns) {
  const Json json = std::visit(Encoder{event, event.header, names, origin, time_unix_ns}, event.body);
  if (json.is_null()) {
    return "";
  }
  std::string line = ocsf::OneLine(json);
  for (const size_t longest : {1024u, 256u, 96u}) {
    if (line.size() <= kMaxText) {
      break;
    }
    Json shorter = json;
    const uint64_t shortened = ocsf::Shorten(shorter, longest);
    Encoder::Own(shorter)["shortened"] = shortened;
    line = ocsf::OneLine(shorter);
  }
  return line;
}

const char* LifecycleName(Lifecycle what) {
  switch (what) {
    case Lifecycle::kStart: return "agent-start";
    case Lifecycle::kStop: return "agent-stop";
    case Lifecycle::kUpdate: return "agent-update";
  }
  return "agent";
}

std::string OcsfLifecycle(Lifecycle what, std::string_view message, const Origin& origin, uint64_t time_unix_ns) {
  const char* name = what == Lifecycle::kStart ? "Start" : what == Lifecycle::kStop ? "Stop" : "Update";
  Json json = ocsf::Base(kLifecycle, static_cast<int>(what), name, event::Severity::kInfo, time_unix_ns, origin, {});
  json["metadata"]["log_name"] = "agent";
  json["app"] = {{"name", "moatd"}, {"vendor_name", "moat"}, {"version", Text(origin.version)}};
  PutText(json, "message", message);
  return ocsf::OneLine(json);
}

}  // namespace moat::sink
