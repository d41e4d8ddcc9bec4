// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/docker_client.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "agent/enrich/bounds.h"

namespace moat::enrich {

namespace {

using Json = nlohmann::json;

// "" when it is not there, or no text.
std::string_view Text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? std::string_view(found->get_ref<const std::string&>()) : "";
}

// The container's own name has one slash, "/web"; its aliases in other containers have two.
std::string_view NameIn(const Json& object) {
  const auto names = object.find("Names");
  if (names == object.end() || !names->is_array()) {
    return "";
  }
  for (const Json& item : *names) {
    const std::string_view name = item.is_string() ? std::string_view(item.get_ref<const std::string&>()) : "";
    if (name.starts_with('/') && name.find('/', 1) == std::string_view::npos) {
      return name.substr(1);
    }
  }
  return "";
}

bool Take(const Json& from, DockerContainer& to) {
  if (!from.is_object() || !TakeName(Text(from, "Id"), to.id) || !TakeName(NameIn(from), to.name) ||
      !TakeName(Text(from, "Image"), to.image) || !TakeName(Text(from, "ImageID"), to.image_id) || to.name.empty()) {
    return false;
  }
  const auto labels = from.find("Labels");
  if (labels == from.end() || !labels->is_object()) {
    return labels == from.end() || labels->is_null();
  }
  size_t bytes = 0;
  for (const auto& label : labels->items()) {
    if (!label.value().is_string() || !TakeLabel(label.key(), label.value().get_ref<const std::string&>(), to.labels, bytes)) {
      return false;
    }
  }
  return true;
}

}  // namespace

Result<std::string> DockerClient::Version() const {
  MOAT_ASSIGN(const std::string text, HttpGet(socket_, "/version", limits_));
  const Json answer = Json::parse(text, nullptr, false);  // false: no exception, it says that it is discarded
  std::string version;
  if (!answer.is_object() || !TakeName(Text(answer, "Version"), version) || version.empty()) {
    return Fail(Code::kDataLoss, socket_ + ": tells no version");
  }
  return "docker " + version;
}

Result<DockerList> DockerClient::Find(std::span<const std::string> ids) const {
  std::string filter;
  for (const std::string& id : ids.first(std::min(ids.size(), kMaxIds))) {
    filter += (filter.empty() ? "%22" : ",%22") + id + "%22";
  }
  // all: those that docker has made and not started yet, too.
  MOAT_ASSIGN(const std::string text,
              HttpGet(socket_, "/containers/json?all=1&filters=%7B%22id%22:%5B" + filter + "%5D%7D", limits_));
  const Json answer = Json::parse(text, nullptr, false);
  if (!answer.is_array()) {
    return Fail(Code::kDataLoss, socket_ + ": its list of containers is none");
  }
  DockerList list;
  for (const Json& item : answer) {
    DockerContainer container;
    if (!Take(item, container)) {
      ++list.refused;
    } else if (std::ranges::find(ids, container.id) != ids.end()) {
      list.containers.push_back(std::move(container));
    }
  }
  return list;
}

}  // namespace moat::enrich
