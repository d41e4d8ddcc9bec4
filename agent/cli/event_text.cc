// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/event_text.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <vector>

#include "agent/cli/finding_text.h"
#include "agent/cli/gpu_text.h"
#include "agent/cli/json.h"
#include "agent/cli/process_text.h"
#include "agent/cli/text.h"
#include "moat/v1/services.pb.h"

namespace moat::cli {

namespace {

std::string FlagWord(int flag) { return EnumWord(v1::Flag_Name(flag), "FLAG_", flag); }
std::string OpWord(int op) { return EnumWord(v1::TamperOp_Name(op), "TAMPER_OP_", op); }
std::string ReasonWord(int reason) { return EnumWord(v1::LostReason_Name(reason), "LOST_REASON_", reason); }
std::string VerdictWord(int action) { return EnumWord(v1::VerdictAction_Name(action), "VERDICT_ACTION_", action); }
std::string WhyWord(int why) { return EnumWord(v1::VerdictWhy_Name(why), "VERDICT_WHY_", why); }
std::string ProtocolWord(int protocol) { return EnumWord(v1::Protocol_Name(protocol), "PROTOCOL_", protocol); }

std::string Address(const std::string& address, uint32_t port) {
  return (address.find(':') == std::string::npos ? address : "[" + address + "]") + ":" + std::to_string(port);
}

const char* OpenMode(uint32_t flags) {
  switch (flags & O_ACCMODE) {
    case O_RDONLY: return "read";
    case O_WRONLY: return "write";
    default: return "read-write";
  }
}

std::string MapMode(uint32_t prot, uint32_t flags) {
  std::string mode;
  mode += prot & PROT_READ ? 'r' : '-';
  mode += prot & PROT_WRITE ? 'w' : '-';
  mode += prot & PROT_EXEC ? 'x' : '-';
  return mode + (flags & MAP_SHARED ? " shared" : " private");
}

template <typename File>
std::string FileWord(const File& file) {
  return Safe(file.path().empty() ? file.name() : file.path());
}

// "deny connect tcp 10.0.0.9:443: serving, egress.default: deny (serving.yaml:12:7)"
std::string VerdictText(const v1::Verdict& verdict) {
  std::string text = VerdictWord(verdict.action()) + " " +
                     EnumWord(v1::VerdictOperation_Name(verdict.operation()), "VERDICT_OPERATION_", verdict.operation());
  if (verdict.operation() == v1::VERDICT_OPERATION_GUARD) {
    return text + ": moat's own " + Safe(verdict.name()) + ", from within a container";
  }
  if (verdict.has_endpoints()) {
    const auto& ep = verdict.endpoints();
    text += " " + ProtocolWord(ep.protocol()) + " " + Address(ep.remote_address(), ep.remote_port());
    text += verdict.name().empty() ? "" : " as " + Safe(verdict.name());
  }
  if (verdict.inode() != 0) {
    text += " " + FileWord(verdict) + ", asset " + Safe(verdict.asset());
  }
  if (verdict.rdev() != 0) {
    text += " " + (verdict.device().empty() ? Device(verdict.rdev()) : Safe(verdict.device()));
    text += verdict.operation() == v1::VERDICT_OPERATION_GPU_CALL ? " command " + Hex(verdict.command() & 0xff) : "";
  }
  if (verdict.operation() == v1::VERDICT_OPERATION_GPU_MAP) {
    text += " pci " + Safe(verdict.name()) + " resource" + std::to_string(verdict.command());
  }
  text += verdict.category().empty() ? "" : " (" + Safe(verdict.category()) + ")";
  text += verdict.policy().empty()
              ? ": rule " + std::to_string(verdict.rule_number())
              : ": " + Safe(verdict.policy()) + ", " + Safe(verdict.rule()) + " (" + Safe(verdict.rule_at()) + ")";
  if (verdict.why() != v1::VERDICT_WHY_RULE) {
    text += ", " + WhyWord(verdict.why());
  }
  return text;
}

// What happened, without who and when.
std::string Object(const v1::Event& event, const Processes& processes) {
  switch (event.body_case()) {
    case v1::Event::kFork: return "child " + std::to_string(event.fork().child_pid());
    case v1::Event::kExec: return processes.Text(event.process());
    case v1::Event::kExit: {
      const auto& exit = event.exit();
      if (exit.signal() == 0) {
        return "code " + std::to_string(exit.code());
      }
      const char* name = sigabbrev_np(static_cast<int>(exit.signal()));
      return "killed by " + (name ? "SIG" + std::string(name) : "signal " + std::to_string(exit.signal())) +
             (exit.core() ? ", core dumped" : "");
    }
    case v1::Event::kProcessAccess: return AccessText(event.process_access());
    case v1::Event::kPrivilege: return PrivilegeText(event.privilege());
    case v1::Event::kLogin: return LoginText(event.login());
    case v1::Event::kFileOpen: {
      const auto& open = event.file_open();
      return FileWord(open) + " for " + OpenMode(open.open_flags()) + (open.open_flags() & O_DIRECT ? " (direct)" : "") + ", " +
             Bytes(open.size()) + ", asset " + Safe(open.asset());
    }
    case v1::Event::kFileMap: {
      const auto& map = event.file_map();
      return FileWord(map) + " " + MapMode(map.prot(), map.map_flags()) + ", " + Bytes(map.length()) + ", asset " +
             Safe(map.asset());
    }
    case v1::Event::kFileTamper: {
      const auto& tamper = event.file_tamper();
      return OpWord(tamper.op()) + " " + FileWord(tamper) + (tamper.bytes() ? ", " + Bytes(tamper.bytes()) : "") + ", asset " +
             Safe(tamper.asset());
    }
    case v1::Event::kFileIo: {
      const auto& io = event.file_io();
      return "asset " + Safe(io.asset()) + ": read " + Bytes(io.bytes_read()) + " in " + Number(io.reads()) +
             (io.writes() ? ", wrote " + Bytes(io.bytes_written()) + " in " + Number(io.writes()) : "") +
             (io.last() ? ", final" : "");
    }
    case v1::Event::kGpuOpen: return GpuOpenText(event.gpu_open(), OpenMode(event.gpu_open().open_flags()));
    case v1::Event::kGpuMap: return GpuMapText(event.gpu_map());
    case v1::Event::kGpuCall: return GpuCallText(event.gpu_call());
    case v1::Event::kNet: {
      const auto& ep = event.net().endpoints();
      std::string local = Address(ep.local_address(), ep.local_port()), remote = Address(ep.remote_address(), ep.remote_port());
      std::string to = event.kind() == v1::KIND_NET_LISTEN   ? local
                       : event.kind() == v1::KIND_NET_ACCEPT ? remote + " on " + local
                                                             : remote;
      return ProtocolWord(ep.protocol()) + " " + to + (ep.mapped() ? " (v4-mapped)" : "");
    }
    case v1::Event::kDns: {
      const auto& dns = event.dns();
      const auto& ep = dns.endpoints();
      return Safe(dns.type_name()) + " " + (dns.name().empty() ? "." : Safe(dns.name())) + " of " + ProtocolWord(ep.protocol()) +
             " " + Address(ep.remote_address(), ep.remote_port());
    }
    case v1::Event::kNetTotals: {
      const auto& totals = event.net_totals();
      const auto& ep = totals.endpoints();
      return ProtocolWord(ep.protocol()) + " " + Address(ep.remote_address(), ep.remote_port()) + ", out " +
             Bytes(totals.bytes_out()) + ", in " + Bytes(totals.bytes_in()) + (totals.shared() ? ", shared" : "");
    }
    case v1::Event::kVerdict: return VerdictText(event.verdict());
    case v1::Event::kGap: {
      const auto& gap = event.gap();
      return Number(gap.count()) + " events are missing" + (gap.lost_kind() ? " (" + KindName(gap.lost_kind()) + ")" : "") +
             ": " + ReasonWord(gap.reason());
    }
    case v1::Event::kFinding: return FindingLine(event.finding());
    case v1::Event::BODY_NOT_SET: break;
  }
  return processes.Text(event.process());
}

Color KindColor(const v1::Event& event) {
  switch (event.body_case()) {
    case v1::Event::kFileOpen:
    case v1::Event::kFileMap:
    case v1::Event::kFileIo: return Color::kBlue;
    case v1::Event::kFileTamper: return Color::kRed;
    case v1::Event::kGpuOpen:
    case v1::Event::kGpuMap:
    case v1::Event::kGpuCall: return Color::kMagenta;
    case v1::Event::kNet:
    case v1::Event::kDns:
    case v1::Event::kNetTotals: return Color::kCyan;
    case v1::Event::kProcessAccess:
    case v1::Event::kPrivilege: return Color::kYellow;
    case v1::Event::kLogin: return event.login().result() == 0 ? Color::kGreen : Color::kRed;
    case v1::Event::kGap: return Color::kRed;
    case v1::Event::kFinding: return SeverityColor(event.finding().severity());
    case v1::Event::kVerdict:
      return event.verdict().action() == v1::VERDICT_ACTION_ALLOW  ? Color::kGreen
             : event.verdict().action() == v1::VERDICT_ACTION_DENY ? Color::kRed
                                                                   : Color::kYellow;
    default: return Color::kGreen;
  }
}

template <typename File>
Json& JsonFile(Json& json, const File& file) {
  json.Field("asset", file.asset()).Field("path", file.path()).Field("name", file.name());
  return json.Field("inode", file.inode()).Field("device", Device(file.dev()));
}

Json& JsonEndpoints(Json& json, const v1::Endpoints& ep) {
  json.Field("protocol", ProtocolWord(ep.protocol()))
      .Field("local_address", ep.local_address())
      .Field("local_port", ep.local_port());
  json.Field("remote_address", ep.remote_address()).Field("remote_port", ep.remote_port());
  return json.Field("mapped", ep.mapped());
}

template <typename Gpu>
Json& JsonDevice(Json& json, const Gpu& gpu) {
  return json.Field("device", gpu.device()).Field("device_class", gpu.device_class()).Field("rdev", Device(gpu.rdev()));
}

// The fields of the body, into an object that is open.
void JsonBody(Json& json, const v1::Event& event) {
  switch (event.body_case()) {
    case v1::Event::kFork:
      json.Field("child_pid", event.fork().child_pid()).Field("child_start_ns", event.fork().child_start_ns());
      break;
    case v1::Event::kExec: json.Field("exe", event.exec().exe()).Strings("args", event.exec().args()); break;
    case v1::Event::kExit:
      json.Field("code", event.exit().code()).Field("signal", event.exit().signal()).Field("core", event.exit().core());
      break;
    case v1::Event::kProcessAccess: JsonAccess(json, event.process_access()); break;
    case v1::Event::kPrivilege: JsonPrivilege(json, event.privilege()); break;
    case v1::Event::kLogin: JsonLogin(json, event.login()); break;
    case v1::Event::kFileOpen: {
      const auto& open = event.file_open();
      JsonFile(json, open).Field("size", open.size()).Field("mode", OpenMode(open.open_flags()));
      json.Field("open_flags", open.open_flags()).Field("fd", open.fd());
      break;
    }
    case v1::Event::kFileMap: {
      const auto& map = event.file_map();
      JsonFile(json, map).Field("length", map.length()).Field("offset", map.offset()).Field("prot", map.prot());
      json.Field("map_flags", map.map_flags());
      break;
    }
    case v1::Event::kFileTamper: {
      const auto& tamper = event.file_tamper();
      JsonFile(json, tamper).Field("op", OpWord(tamper.op())).Field("bytes", tamper.bytes()).Field("fd", tamper.fd());
      break;
    }
    case v1::Event::kFileIo: {
      const auto& io = event.file_io();
      json.Field("asset", io.asset()).Field("bytes_read", io.bytes_read()).Field("reads", io.reads());
      json.Field("bytes_written", io.bytes_written()).Field("writes", io.writes()).Field("last", io.last());
      break;
    }
    case v1::Event::kGpuOpen: {
      const auto& open = event.gpu_open();
      JsonDevice(json, open)
          .Field("mode", OpenMode(open.open_flags()))
          .Field("open_flags", open.open_flags())
          .Field("fd", open.fd());
      json.Field("object", open.object()).Strings("categories", open.categories());
      break;
    }
    case v1::Event::kGpuMap: JsonGpuMap(json, event.gpu_map()); break;
    case v1::Event::kGpuCall: JsonGpuCall(json, event.gpu_call()); break;
    case v1::Event::kNet: JsonEndpoints(json, event.net().endpoints()).Field("cookie", event.net().cookie()); break;
    case v1::Event::kDns: {
      const auto& dns = event.dns();
      JsonEndpoints(json, dns.endpoints()).Field("cookie", dns.cookie()).Field("name", dns.name()).Field("type", dns.type());
      json.Field("type_name", dns.type_name()).Field("id", dns.id()).Field("payload_bytes", dns.payload_bytes());
      break;
    }
    case v1::Event::kNetTotals: {
      const auto& totals = event.net_totals();
      JsonEndpoints(json, totals.endpoints()).Field("cookie", totals.cookie()).Field("bytes_out", totals.bytes_out());
      json.Field("bytes_in", totals.bytes_in()).Field("sends", totals.sends()).Field("receives", totals.receives());
      json.Field("established", totals.established()).Field("passive", totals.passive()).Field("shared", totals.shared());
      break;
    }
    case v1::Event::kVerdict: {
      const auto& verdict = event.verdict();
      json.Field("action", VerdictWord(verdict.action()));
      json.Field("operation",
                 EnumWord(v1::VerdictOperation_Name(verdict.operation()), "VERDICT_OPERATION_", verdict.operation()));
      json.Field("policy", verdict.policy()).Field("rule", verdict.rule()).Field("rule_at", verdict.rule_at());
      json.Field("rule_number", verdict.rule_number())
          .Field("generation", verdict.generation())
          .Field("why", WhyWord(verdict.why()));
      if (verdict.has_endpoints()) {
        JsonEndpoints(json, verdict.endpoints()).Field("cookie", verdict.cookie());
      }
      if (verdict.inode() != 0) {
        JsonFile(json, verdict);
      }
      if (verdict.rdev() != 0) {
        json.Field("gpu_device", verdict.device()).Field("rdev", Device(verdict.rdev())).Field("command", verdict.command());
        json.Field("category", verdict.category());
      }
      if (verdict.operation() == v1::VERDICT_OPERATION_GPU_MAP) {
        json.Field("pci_device", verdict.name()).Field("resource", verdict.command()).Field("category", verdict.category());
      }
      break;
    }
    case v1::Event::kGap: {
      const auto& gap = event.gap();
      json.Field("lost_kind", gap.lost_kind() ? KindName(gap.lost_kind()) : std::string());
      json.Field("reason", ReasonWord(gap.reason())).Field("count", gap.count());
      break;
    }
    case v1::Event::kFinding: JsonFinding(json, event.finding()); break;
    case v1::Event::BODY_NOT_SET: break;
  }
}

std::string ProcessJson(const v1::Process& process) {
  std::string text;
  Json json(text);
  json.Open('{').Field("pid", process.pid()).Field("start_ns", process.start_ns());
  if (process.known()) {
    json.Field("parent_pid", process.parent_pid()).Field("parent_start_ns", process.parent_start_ns());
    json.Field("uid", process.uid()).Field("euid", process.euid()).Field("gid", process.gid());
    json.Field("cap_effective", Hex(process.cap_effective())).Field("cgroup", process.cgroup()).Field("exe", process.exe());
    json.Field("filename", process.filename()).Strings("args", process.args()).Field("from_scan", process.from_scan());
    json.Key("exec_flags").Open('[');
    for (int flag : process.exec_flags()) {
      json.Value(EnumWord(v1::ExecFlag_Name(flag), "EXEC_FLAG_", flag));
    }
    json.Close(']');
  }
  json.Close('}');
  return text;
}

std::string ProcessLine(const v1::Process& process) {
  std::string line = Safe(process.exe().empty() ? process.filename() : process.exe());
  for (int i = 1; i < process.args_size() && line.size() < 200; ++i) {
    line += " " + Safe(process.args(i));
  }
  if (line.size() > 240) {
    size_t cut = 240;
    while (cut > 0 && (static_cast<unsigned char>(line[cut]) & 0xc0) == 0x80) {
      --cut;  // not inside a character
    }
    line.resize(cut);
    line += "...";
  }
  for (int flag : process.exec_flags()) {
    if (flag == v1::EXEC_FLAG_TTY || flag == v1::EXEC_FLAG_LIBRARY_PATH) {
      continue;  // usual: JSON has them
    }
    line += " [" + EnumWord(v1::ExecFlag_Name(flag), "EXEC_FLAG_", flag) + "]";
  }
  return line;
}

}  // namespace

std::string KindName(int kind) {
  static const std::vector<std::string> kNames = [] {  // asked for every event
    std::vector<std::string> names(v1::Kind_ARRAYSIZE);
    for (int i = 0; i < v1::Kind_ARRAYSIZE; ++i) {
      names[static_cast<size_t>(i)] = EnumWord(v1::Kind_Name(i), "KIND_", i);
    }
    return names;
  }();
  return kind >= 0 && kind < v1::Kind_ARRAYSIZE ? kNames[static_cast<size_t>(kind)] : std::to_string(kind);
}

void Processes::Add(const v1::WatchResponse& response, bool json) {
  for (const auto& process : response.processes()) {
    text_[process.ref()] = json ? ProcessJson(process) : ProcessLine(process);
  }
}

const std::string& Processes::Text(uint32_t ref) const {
  static const std::string kNone;
  auto found = text_.find(ref);
  return found == text_.end() ? kNone : found->second;
}

void AppendHuman(std::string& to, const v1::Event& event, const Processes& processes, bool color) {
  to += Paint(color, Color::kDim, ClockTime(event.time_unix_ns()));
  to += ' ';
  std::string who = event.pid() ? Safe(event.comm()) + "[" + std::to_string(event.pid()) + "]" : "-";
  who.resize(std::max<size_t>(who.size(), 22), ' ');
  std::string kind = KindName(event.kind());
  kind.resize(std::max<size_t>(kind.size(), 11), ' ');
  to += Paint(color, KindColor(event), kind) + " " + who + " ";
  to += event.body_case() == v1::Event::kGap ? Paint(color, Color::kRed, Object(event, processes)) : Object(event, processes);
  if (event.labels_size() > 0) {
    std::string labels = "  {";
    for (int i = 0; i < event.labels_size(); ++i) {
      labels += (i ? "," : "") + Safe(event.labels(i));
    }
    to += Paint(color, Color::kYellow, labels + "}");
  }
  for (int flag : event.flags()) {
    to += Paint(color, Color::kRed, " [" + FlagWord(flag) + "]");
  }
  to += '\n';
}

void AppendJson(std::string& to, const v1::Event& event, const Processes& processes) {
  const std::string name = KindName(event.kind());
  Json json(to);
  json.Open('{').Field("seq", event.seq()).Field("time", Rfc3339(event.time_unix_ns()));
  json.Field("monotonic_ns", event.time_monotonic_ns()).Field("kind", name).Field("comm", event.comm());
  json.Field("pid", event.pid()).Field("tid", event.tid()).Field("uid", event.uid());
  const std::string& process = processes.Text(event.process());
  json.Key("process").Raw(process.empty() ? "null" : process).Strings("labels", event.labels());
  json.Key("flags").Open('[');
  for (int flag : event.flags()) {
    json.Value(FlagWord(flag));
  }
  json.Close(']');
  if (event.body_case() != v1::Event::BODY_NOT_SET) {
    json.Key(name).Open('{');
    JsonBody(json, event);
    json.Close('}');
  }
  json.Close('}');
  to += '\n';
}

void AppendLost(std::string& to, uint64_t lost, bool agent_restarted, bool json, bool color) {
  if (json) {
    Json(to).Open('{').Field("kind", "lost").Field("count", lost).Field("agent_restarted", agent_restarted).Close('}');
    to += '\n';
    return;
  }
  if (agent_restarted) {
    to += Paint(color, Color::kRed, "!! the agent was restarted since the cursor: what it saw before that is not known") + "\n";
  }
  if (lost) {
    to += Paint(color, Color::kRed, "!! " + Number(lost) + " events did not reach this subscriber") + "\n";
  }
}

}  // namespace moat::cli
