// SPDX-License-Identifier: Apache-2.0
#include "agent/config/sinks.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string_view>
#include <system_error>

#include "agent/base/strings.h"
#include "agent/config/finding_kinds.h"
#include "agent/config/section.h"

namespace moat::config {
namespace {

// As event::SeverityName() and KindWords(), which this folder may not see; a unit test holds them together.
const std::vector<std::string_view> kSeverities = {"info", "low", "medium", "high", "critical"};
constexpr std::array<std::string_view, 28> kEvents = {
    "process",    "auth",      "file",           "gpu",       "net",     "policy",      "fork",     "exec",
    "exit",       "scan",      "process_access", "privilege", "login",   "file_open",   "file_map", "file_tamper",
    "file_io",    "gpu_open",  "gpu_ioctl",      "gpu_map",   "net_dns", "net_connect", "net_send", "net_listen",
    "net_accept", "net_close", "net_flow",       "verdict"};
// RFC 5424, table 1, by their usual names.
const std::vector<std::string_view> kFacilities = {
    "kern", "user",  "mail",  "daemon", "auth",   "syslog", "lpr",    "news",   "uucp",   "cron",   "authpriv", "ftp",
    "ntp",  "audit", "alert", "clock",  "local0", "local1", "local2", "local3", "local4", "local5", "local6",   "local7"};
constexpr size_t kLongestName = 63, kLongestHost = 253, kMaxHeaders = 16;
constexpr const char* kSpools = "/var/lib/moat/spool/";

bool AllOf(std::string_view text, std::string_view beside) {
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || beside.find(c) != std::string_view::npos;
  });
}

bool IsAddress(const std::string& host) {
  in6_addr unused{};
  return inet_pton(AF_INET, host.c_str(), &unused) == 1 || inet_pton(AF_INET6, host.c_str(), &unused) == 1;
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || (host.starts_with("127.") && IsAddress(host));
}

bool IsHost(std::string_view host) {
  return host.size() <= kLongestHost && !host.starts_with('.') && !host.starts_with('-') &&
         std::ranges::all_of(host, [](char c) { return AllOf({&c, 1}, "-._ABCDEFGHIJKLMNOPQRSTUVWXYZ"); }) && !host.empty();
}

// "siem.example", "siem.example:6514", "10.0.0.1:6514", "[fd00::1]:6514"; port: what it is without one.
bool SplitAddress(std::string_view text, std::string& host, uint16_t& port) {
  std::string_view rest;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) {
      return false;
    }
    host = text.substr(1, end - 1);
    rest = text.substr(end + 1);
    in6_addr unused{};
    if (inet_pton(AF_INET6, host.c_str(), &unused) != 1) {
      return false;
    }
  } else {
    const size_t colon = std::min(text.find(':'), text.size());
    host = text.substr(0, colon);
    rest = text.substr(colon);
    if (!IsHost(host)) {
      return false;
    }
  }
  if (rest.empty()) {
    return true;
  }
  uint16_t number = 0;
  const auto [end, error] = std::from_chars(rest.data() + 1, rest.data() + rest.size(), number);
  if (rest[0] != ':' || error != std::errc() || end != rest.data() + rest.size() || number == 0) {
    return false;
  }
  port = number;
  return true;
}

void ReadAddress(Section& section, std::string_view example, std::string& host, uint16_t& port) {
  const Node* node = section.Required("address");
  if (node != nullptr && (node->type != Node::Type::kScalar || !SplitAddress(node->value, host, port))) {
    section.Complain(*node, section.Path("address") + " must be a host and a port, as " + std::string(example) +
                                " or [fd00::1]:" + std::to_string(port) +
                                (node->type == Node::Type::kScalar ? ", not " + Quoted(node->value) : ""));
    host.clear();
  }
}

Tls ReadTls(const Reading& reading, const Node& node, const std::string& name, const std::string& host) {
  Section section(reading, &node, name);
  Tls tls;
  if (section.Required("ca") != nullptr) {
    section.AbsolutePath("ca", tls.ca);
  }
  section.AbsolutePath("cert", tls.cert);
  section.AbsolutePath("key", tls.key);
  if ((section.Child("cert") == nullptr) != (section.Child("key") == nullptr)) {
    section.Complain(node, name + " needs both cert and key, or neither");
  }
  tls.server_name = host;
  section.Text("server_name", tls.server_name);
  if (const Node* given = section.Child("server_name");
      given != nullptr && !IsHost(tls.server_name) && !IsAddress(tls.server_name)) {
    section.Complain(*given, name + ".server_name must be the name of a host, not " + Quoted(tls.server_name));
  }
  return tls;
}

FileSink ReadFileSink(Section& section) {
  FileSink sink;
  if (section.Required("path") != nullptr) {
    section.AbsolutePath("path", sink.path);
  }
  section.Size("max", sink.max_bytes, 64u << 10, 1u << 30);
  section.Number("keep", sink.keep, 0, 100);
  return sink;
}

SyslogSink ReadSyslogSink(const Reading& reading, Section& section) {
  SyslogSink sink;
  ReadAddress(section, "siem.example:6514", sink.host, sink.port);
  if (const Node* tls = section.Required("tls")) {
    sink.tls = ReadTls(reading, *tls, section.Path("tls"), sink.host);
  }
  std::string facility(kFacilities[sink.facility]);
  section.OneOf("facility", facility, kFacilities);
  sink.facility = static_cast<uint8_t>(std::ranges::find(kFacilities, facility) - kFacilities.begin());
  section.Number("timeout_ms", sink.timeout_ms, 100, 300'000);
  return sink;
}

OtlpSink::Header ReadHeader(const Reading& reading, const Node& node, const std::string& name) {
  Section section(reading, &node, name);
  OtlpSink::Header header;
  section.Text("name", header.name);
  if (const Node* given = section.Required("name");
      given != nullptr && (!AllOf(header.name, "-_.") || header.name.starts_with("grpc-"))) {
    section.Complain(*given, name +
                                 ".name must be lower case letters, digits, \"-\", \"_\" and \".\", and not begin with grpc-: " +
                                 Quoted(header.name));
  }
  section.Text("value", header.value);
  section.AbsolutePath("value_file", header.value_file);
  if ((section.Child("value") == nullptr) == (section.Child("value_file") == nullptr)) {
    section.Complain(node, name + " needs a value or a value_file, and not both");
  }
  if (const Node* given = section.Child("value");
      given != nullptr && !std::ranges::all_of(header.value, [](char c) { return c >= 0x20 && c < 0x7f; })) {
    section.Complain(*given, name + ".value may have printable ASCII only");
  }
  return header;
}

OtlpSink ReadOtlpSink(const Reading& reading, Section& section) {
  OtlpSink sink;
  ReadAddress(section, "collector.example:4317", sink.host, sink.port);
  if (const Node* tls = section.Child("tls")) {
    sink.tls = ReadTls(reading, *tls, section.Path("tls"), sink.host);
  } else if (const Node* address = section.Child("address"); address != nullptr && !sink.host.empty() && !IsLoopback(sink.host)) {
    section.Complain(*address, section.Path("address") + " is not of this host: findings leave it by TLS only, so " +
                                   section.Path("tls") + " must be given");
  }
  section.Each("headers",
               [&](const Node& node) { sink.headers.push_back(ReadHeader(reading, node, section.Path("headers[]"))); });
  if (sink.headers.size() > kMaxHeaders) {
    section.Complain(*section.Child("headers"), section.Path("headers") + " has more than " + std::to_string(kMaxHeaders));
  }
  section.Number("timeout_ms", sink.timeout_ms, 100, 300'000);
  return sink;
}

Sink ReadSink(const Reading& reading, const Node& node) {
  Section section(reading, &node, "sinks[]");
  Sink sink;
  section.Text("name", sink.name);
  if (const Node* name = section.Required("name");
      name != nullptr && (!AllOf(sink.name, "-") || sink.name.starts_with('-') || sink.name.size() > kLongestName)) {
    section.Complain(*name, "sinks[].name must be lower case letters, digits and \"-\", at most 63, not " + Quoted(sink.name));
    sink.name.clear();
  }
  section.OneOf("encoding", sink.encoding, {"ocsf", "cef"});
  section.OneOf("min_severity", sink.min_severity, kSeverities);
  ReadFindingKinds(section, sink.kinds);
  section.Each("events", [&](const Node& kind) {
    if (kind.type == Node::Type::kScalar && std::ranges::find(kEvents, kind.value) != kEvents.end()) {
      sink.events.push_back(kind.value);
    } else {
      section.Complain(kind,
                       "sinks[].events[] has no such kind of event: " + Quoted(kind.value) + DidYouMean(kind.value, kEvents));
    }
  });
  if (!sink.events.empty() && sink.encoding == "cef") {
    section.Complain(*section.Child("events"), "sinks[].events needs the encoding ocsf: as cef only findings can be told");
  }
  if (!sink.events.empty() && (section.Child("kinds") != nullptr || section.Child("min_severity") != nullptr)) {
    section.Complain(
        *section.Child("events"),
        "a sink has events or findings: kinds and min_severity are of findings, for which another sink can have the same receiver");
  }
  section.Number("queue", sink.queue, 16, 1u << 20);
  {
    Section spool(reading, section.Child("spool"), "sinks[].spool");
    sink.spool.path = sink.name.empty() ? "" : kSpools + sink.name;
    spool.AbsolutePath("path", sink.spool.path);
    spool.Size("max", sink.spool.max_bytes, 1u << 20, 1u << 30);
  }
  std::string type;
  if (section.Required("type") != nullptr) {
    section.OneOf("type", type, {"file", "syslog", "otlp"});
  }
  if (type == "syslog") {
    sink.transport = ReadSyslogSink(reading, section);
  } else if (type == "otlp") {
    sink.transport = ReadOtlpSink(reading, section);
  } else if (type == "file") {
    sink.transport = ReadFileSink(section);
  } else {  // not known which: no key of any is unknown
    for (const char* key : {"path", "max", "keep", "address", "tls", "facility", "timeout_ms", "headers"}) {
      section.Child(key);
    }
  }
  return sink;
}

}  // namespace

void ReadSinks(const Reading& reading, Section& top, std::vector<Sink>& sinks) {
  std::map<std::string, int> lines;  // of names, spools and files: what two sinks may not share
  const auto once = [&](const Node& node, const char* what, const std::string& value) {
    if (const auto [found, fresh] = lines.try_emplace(std::string(what) + '\0' + value, node.line); !fresh && !value.empty()) {
      reading.Complain(node, "two sinks have the " + std::string(what) + " " + Quoted(value) + "; the other is in line " +
                                 std::to_string(found->second));
    }
  };
  top.Each("sinks", [&](const Node& node) {
    Sink sink = ReadSink(reading, node);
    once(node, "name", sink.name);
    once(node, "spool", sink.spool.path);
    if (const auto* file = std::get_if<FileSink>(&sink.transport)) {
      once(node, "file", file->path);
    }
    sinks.push_back(std::move(sink));
  });
  if (sinks.size() > kMaxSinks) {
    reading.Complain(*top.Child("sinks"), "there are more than " + std::to_string(kMaxSinks) + " sinks");
  }
}

}  // namespace moat::config
