// SPDX-License-Identifier: Apache-2.0
// A Kubernetes container runtime (containerd, CRI-O, cri-dockerd) asked through its socket, by the CRI, runtime.v1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/base/error.h"

namespace moat::enrich {

struct CriPod {
  std::string sandbox_id{};  // of the container that holds the pod together ("pause")
  std::string name{}, name_space{}, uid{};
  std::map<std::string, std::string> labels{};
};

struct CriContainer {
  std::string id{}, sandbox_id{};
  std::string name{};  // in its pod
  std::map<std::string, std::string> labels{};
};

struct CriImage {
  std::string name{};    // as the pod names it, "vllm/vllm-openai:v0.6"
  std::string digest{};  // "sha256:...": of the manifest, or where the runtime knows none its own id of the image
};

// All that the runtime holds, running or not: a container is listed before its first process runs.
struct CriLists {
  std::vector<CriPod> pods;
  std::vector<CriContainer> containers;
  size_t refused = 0;  // pods and containers left out, since their names are not UTF-8 or beyond all bounds
};

struct CriLimits {
  uint64_t call_ms = 2000;
  size_t message_bytes = 16 << 20;  // as the kubelet's
  size_t items = 8192;              // pods, and containers
  std::stop_token stop{};           // ends a call at once
};

// Calls block, at most call_ms each. Any thread; the connection is made by the first call and made again when it broke.
class CriClient {
 public:
  // socket: its path. Does not touch it yet.
  static std::unique_ptr<CriClient> Create(std::string socket, const CriLimits& limits = {});
  virtual ~CriClient() = default;

  virtual Result<std::string> Version() = 0;  // "containerd 1.6.20"
  virtual Result<CriLists> List() = 0;
  virtual Result<CriImage> Image(const std::string& container_id) = 0;  // kNotFound: it is gone
};

}  // namespace moat::enrich
