// SPDX-License-Identifier: Apache-2.0
// Docker asked through its socket which containers these are.
#pragma once

#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "agent/base/error.h"
#include "agent/enrich/unix_http.h"

namespace moat::enrich {

struct DockerContainer {
  std::string id{};
  std::string name{};      // "web", without docker's '/'
  std::string image{};     // as whoever started it named it, "nginx:1.25"
  std::string image_id{};  // "sha256:..."
  std::map<std::string, std::string> labels{};
};

struct DockerList {
  std::vector<DockerContainer> containers;
  size_t refused = 0;  // left out, since their names are not UTF-8 or beyond all bounds
};

// Any thread; calls block.
class DockerClient {
 public:
  explicit DockerClient(std::string socket, const HttpLimits& limits = {}) : socket_(std::move(socket)), limits_(limits) {}

  static constexpr size_t kMaxIds = 32;

  Result<std::string> Version() const;  // "docker 24.0.5"
  // Of at most kMaxIds containers (64 hexadecimal digits each) those that docker has, running or not. Anything else that it should
  // tell is left out.
  Result<DockerList> Find(std::span<const std::string> ids) const;

 private:
  std::string socket_;
  HttpLimits limits_;
};

}  // namespace moat::enrich
