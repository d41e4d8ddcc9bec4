// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/ocsf_parts.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <system_error>

#include "agent/base/utf8.h"
#include "agent/sink/shrink.h"

namespace moat::sink::ocsf {
namespace {

std::string BaseName(std::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos || slash + 1 == path.size() ? path : path.substr(slash + 1));
}

bool IsUuid(std::string_view text) {
  if (text.size() != 36) {
    return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const char c = text[i];
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (dash ? c != '-' : !hex) {
      return false;
    }
  }
  return true;
}

const char* SeverityCaption(event::Severity severity) {
  constexpr const char* kCaptions[] = {"Unknown", "Informational", "Low", "Medium", "High", "Critical"};
  const auto index = static_cast<size_t>(severity);
  return kCaptions[index < std::size(kCaptions) ? index : 0];
}

int CategoryOf(int class_uid) { return class_uid / 1000; }
const char* CategoryName(int category) {
  switch (category) {
    case 1: return "System Activity";
    case 2: return "Findings";
    case 3: return "Identity & Access Management";
    case 4: return "Network Activity";
    default: return "Application Activity";
  }
}

}  // namespace

Json Text(std::string_view bytes) { return ToUtf8(bytes); }

void PutText(Json& to, const char* key, std::string_view bytes) {
  if (!bytes.empty()) {
    to[key] = Text(bytes);
  }
}

uint64_t Ms(uint64_t unix_ns) { return unix_ns / 1'000'000; }

std::string OneLine(const Json& json) {
  // Texts are valid already; should one have slipped through, it costs a character and not the message.
  std::string dumped = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (std::ranges::all_of(dumped, [](char c) { return c >= 0x20 && c < 0x7f; })) {
    return dumped;
  }
  std::string line;
  line.reserve(dumped.size());
  std::string_view rest = dumped;
  while (!rest.empty()) {
    const Utf8Char first = FirstChar(rest);
    if (first.valid && IsUnprintable(first.code)) {  // not ASCII but for DEL, and so inside a string
      char text[16];
      if (first.code > 0xffff) {
        const char32_t low = first.code - 0x10000;
        std::snprintf(text, sizeof(text), "\\u%04x\\u%04x", static_cast<unsigned>(0xd800 + (low >> 10)),
                      static_cast<unsigned>(0xdc00 + (low & 0x3ff)));
      } else {
        std::snprintf(text, sizeof(text), "\\u%04x", static_cast<unsigned>(first.code));
      }
      line += text;
    } else {
      line += rest.substr(0, first.length);
    }
    rest.remove_prefix(first.length);
  }
  return line;
}

uint64_t Shorten(Json& json, size_t longest) {
  if (json.is_structured()) {
    uint64_t cut = 0;
    for (Json& part : json) {
      cut += Shorten(part, longest);
    }
    return cut;
  }
  auto* text = json.get_ptr<Json::string_t*>();
  return text != nullptr && CutText(*text, longest) ? 1 : 0;
}

Json Base(const Class& class_of, int activity, const char* activity_name, event::Severity severity, uint64_t time_unix_ns,
          const Origin& origin, const std::vector<const char*>& profiles) {
  const int category = CategoryOf(class_of.uid);
  Json json = {{"class_uid", class_of.uid},
               {"class_name", class_of.name},
               {"category_uid", category},
               {"category_name", CategoryName(category)},
               {"activity_id", activity},
               {"activity_name", activity_name},
               {"type_uid", class_of.uid * 100 + activity},
               {"type_name", std::string(class_of.name) + ": " + activity_name},
               {"time", Ms(time_unix_ns)},
               {"severity_id", static_cast<int>(severity)},
               {"severity", SeverityCaption(severity)}};
  Json names = Json::array({"host"});
  for (const char* profile : profiles) {
    names.push_back(profile);
  }
  json["metadata"] = {{"version", kVersion},
                      {"product", {{"name", "moat"}, {"vendor_name", "moat"}, {"version", Text(origin.version)}}},
                      {"profiles", std::move(names)}};
  json["device"] = {{"type_id", 1}, {"type", "Server"}, {"os", {{"name", "Linux"}, {"type_id", 200}, {"type", "Linux"}}}};
  json["device"]["hostname"] = origin.hostname.empty() ? Json("unknown") : Text(origin.hostname);
  return json;
}

Json Process(const event::FindingProcess& process) {
  // pid alone is used again; with the start time it is one process of this boot.
  Json json = {{"pid", process.key.pid}, {"uid", std::to_string(process.key.pid) + "-" + std::to_string(process.key.start_ns)}};
  if (!process.exe.empty()) {
    json["name"] = Text(BaseName(process.exe));
    json["file"] = File(process.exe, 8);
  }
  std::string line;
  for (const std::string& arg : process.args) {
    line += (line.empty() ? "" : " ") + arg;
  }
  PutText(json, "cmd_line", line);
  json["user"] = {{"uid", std::to_string(process.uid)}};
  return json;
}

Json Container(const event::Workload& workload) {
  if (workload.container_id.empty() && workload.pod_uid.empty()) {
    return nullptr;
  }
  Json json = Json::object();
  PutText(json, "uid", workload.container_id);
  PutText(json, "name",
          !workload.pod_container.empty()    ? workload.pod_container
          : !workload.container_name.empty() ? workload.container_name
                                             : workload.pod_name);
  if (json.empty()) {
    json["uid"] = Text(workload.pod_uid);
  }
  if (!workload.container_image.empty() || !workload.image_digest.empty()) {
    json["image"]["uid"] = Text(workload.image_digest.empty() ? workload.container_image : workload.image_digest);
    PutText(json["image"], "name", workload.container_image);
  }
  if (!workload.pod_uid.empty()) {
    json["orchestrator"] = "Kubernetes";
  }
  if (IsUuid(workload.pod_uid)) {  // that of a static pod is a hash
    json["pod_uuid"] = workload.pod_uid;
  }
  for (const auto& [key, value] : workload.container_labels) {
    json["tags"].push_back({{"name", Text(key)}, {"value", Text(value)}});
  }
  return json;
}

Json File(std::string_view path, int type_id) {
  constexpr const char* kTypes[] = {"Unknown",      "Regular File", "Folder",        "Character Device", "Block Device",
                                    "Local Socket", "Named Pipe",   "Symbolic Link", "Executable File"};
  Json json = {{"name", Text(BaseName(path))}, {"type_id", type_id}, {"type", kTypes[type_id]}};
  if (path.find('/') != std::string_view::npos) {
    json["path"] = Text(path);
  }
  return json;
}

Json Endpoint(const std::string& peer) {
  const size_t colon = peer.rfind(':');
  if (colon != std::string::npos) {
    std::string host = peer.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) {
      host = host.substr(1, host.size() - 2);
    }
    uint16_t port = 0;
    const auto [end, error] = std::from_chars(peer.data() + colon + 1, peer.data() + peer.size(), port);
    in6_addr unused{};
    if (error == std::errc() && end == peer.data() + peer.size() && host.size() < INET6_ADDRSTRLEN &&
        (inet_pton(AF_INET, host.c_str(), &unused) == 1 || inet_pton(AF_INET6, host.c_str(), &unused) == 1)) {
      return {{"ip", host}, {"port", port}};
    }
  }
  in6_addr unused{};
  if (inet_pton(AF_INET, peer.c_str(), &unused) == 1 || inet_pton(AF_INET6, peer.c_str(), &unused) == 1) {
    return {{"ip", peer}};
  }
  return {{"name", Text(peer)}};
}

}  // namespace moat::sink::ocsf
