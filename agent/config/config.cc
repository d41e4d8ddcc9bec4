// SPDX-License-Identifier: Apache-2.0
#include "agent/config/config.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <exception>
#include <map>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

#include "agent/config/assets.h"
#include "agent/config/read.h"
#include "agent/config/section.h"

namespace moat::config {
namespace {

// As event::GpuClassName(), which this folder may not see; a unit test holds the two together.
const std::vector<std::string_view> kDeviceClasses = {"nvidia",     "nvidia-uvm", "nvidia-caps", "nvidia-switch", "nvidia-fs",
                                                      "gdrdrv",     "drm",        "accel",       "kfd",           "neuron",
                                                      "habanalabs", "other",      "vfio"};

constexpr uint32_t kPage = 4096;
constexpr uint32_t kMaxRing = 1u << 30;
constexpr size_t kMaxSocketPath = 107;  // sun_path, less its end
constexpr size_t kMaxCriSockets = 8;

void ReadScope(const Reading& reading, Section& top, Config& config) {
  const Node* node = top.Child("scope");
  if (!node) {
    return;
  }
  if (node->type == Node::Type::kScalar && (node->value == "host" || CheckPath(reading, *node, "scope"))) {
    config.scope = node->value;
  } else if (node->type != Node::Type::kScalar) {
    reading.Complain(*node, "scope must be \"host\" or a cgroup below the cgroup2 mount, as \"/kubepods.slice\"");
  }
}

void CheckSocketPath(Section& section, const Node& node, const std::string& what, const std::string& path) {
  if (path.size() > kMaxSocketPath) {
    section.Complain(node, what + " is longer than a unix socket's path may be (107 bytes)");
  }
}

void ReadApi(const Reading& reading, Section& top, Config& config) {
  Section api(reading, top.Child("api"), "api");
  api.AbsolutePath("socket", config.socket);
  if (const Node* node = api.Child("socket")) {
    CheckSocketPath(api, *node, "api.socket", config.socket);
  }
  api.Text("socket_group", config.socket_group);
  api.Number("max_subscribers", config.max_subscribers, 1, 1024);
  api.Number("subscriber_queue_events", config.subscriber_queue_events, 512, 16u << 20);
  api.Number("resume_events", config.resume_events, 0, 16u << 20);
  ReadApiDoors(reading, api, config);
}

// A path, "auto", or "" for nobody.
bool ReadAsked(const Reading& reading, const Node& node, const std::string& what, size_t longest, std::string& field) {
  const bool word = node.type == Node::Type::kScalar && (node.value.empty() || node.value == Config::kAuto);
  if (!word && !CheckPath(reading, node, what)) {
    return false;
  }
  if (node.value.size() > longest) {
    reading.Complain(node, what + " is longer than a unix socket's path may be (107 bytes)");
    return false;
  }
  field = node.value;
  return true;
}

void ReadRuntimes(const Reading& reading, Section& top, Config& config) {
  Section runtimes(reading, top.Child("runtimes"), "runtimes");
  if (const Node* cri = runtimes.Child("cri"); cri != nullptr && cri->type != Node::Type::kNull) {
    config.cri_sockets.clear();
    if (cri->type == Node::Type::kList) {
      if (cri->items.size() > kMaxCriSockets) {
        reading.Complain(*cri, "runtimes.cri has more than " + std::to_string(kMaxCriSockets) + " sockets");
      }
      for (const Node& node : cri->items) {
        std::string path;
        if (CheckPath(reading, node, "runtimes.cri[]") && ReadAsked(reading, node, "runtimes.cri[]", kMaxSocketPath, path)) {
          config.cri_sockets.push_back(std::move(path));
        }
      }
    } else if (std::string path; ReadAsked(reading, *cri, "runtimes.cri", kMaxSocketPath, path) && !path.empty()) {
      config.cri_sockets.push_back(std::move(path));
    }
  }
  if (const Node* docker = runtimes.Child("docker")) {
    ReadAsked(reading, *docker, "runtimes.docker", kMaxSocketPath, config.docker_socket);
  }
  if (const Node* slurm = runtimes.Child("slurm")) {
    ReadAsked(reading, *slurm, "runtimes.slurm", SIZE_MAX, config.scontrol);
  }
}

void ReadGpu(const Reading& reading, Section& top, Config& config) {
  Section gpu(reading, top.Child("gpu"), "gpu");
  gpu.Each("devices", [&](const Node& node) {
    Section item(reading, &node, "gpu.devices[]");
    Device device;
    if (const Node* path = item.Required("path"); path && CheckPath(reading, *path, "gpu.devices[].path")) {
      device.path = path->value;
    }
    item.OneOf("class", device.device_class, kDeviceClasses);
    config.devices.push_back(std::move(device));
  });
  gpu.Each("watch", [&](const Node& node) {
    Section item(reading, &node, "gpu.watch[]");
    WatchedCommand watched;
    item.OneOf("class", watched.device_class, kDeviceClasses);
    item.Flag("whole", watched.whole);
    item.Required("command");
    // A driver looks at the number in the low eight bits and ignores the rest, and so does a command that is not whole.
    item.Number("command", watched.command, 0, watched.whole ? UINT32_MAX : 0xff);
    config.watch.push_back(std::move(watched));
  });
  gpu.Text("driver_version", config.driver_version);
  const bool numbers = config.driver_version.find_first_not_of("0123456789.") == std::string::npos;
  if (const Node* node = gpu.Child("driver_version"); node != nullptr && !numbers) {
    reading.Complain(*node, "gpu.driver_version must be a version of NVIDIA's driver, as 580.159.04: " + node->value);
  }
}

void ReadBackends(const Reading& reading, Section& top, Config& config) {
  static constexpr std::string_view kBackends[] = {"lsm", "fmod_ret", "fentry", "kprobe"};  // tracepoints are the last resort
  Section backends(reading, top.Child("backends"), "backends");
  backends.Each("avoid", [&](const Node& node) {
    if (node.type == Node::Type::kScalar && std::ranges::find(kBackends, node.value) != std::end(kBackends)) {
      config.avoid.push_back(node.value);
    } else {
      reading.Complain(node, "backends.avoid[] must be one of lsm, fmod_ret, fentry, kprobe");
    }
  });
}

void ReadTop(const Reading& reading, const Node* document, Config& config, std::vector<Node>& asset_files) {
  Section top(reading, document, "");
  AssetReader assets(config.assets);
  ReadScope(reading, top, config);
  {
    Section domains(reading, top.Child("domains"), "domains");
    domains.Flag("process", config.process);
    domains.Flag("file", config.file);
    domains.Flag("gpu", config.gpu);
    domains.Flag("net", config.net);
    domains.Flag("auth", config.auth);
  }
  {
    Section section(reading, top.Child("assets"), "assets");
    section.Each("inline", [&](const Node& node) { assets.ReadInPlace(reading, node); });
    section.Each("files", [&](const Node& node) {
      if (CheckPath(reading, node, "assets.files[]")) {
        config.asset_files.push_back(node.value);
        asset_files.push_back(node);
      }
    });
  }
  {
    Section policies(reading, top.Child("policies"), "policies");
    ReadPathOrNone(policies, "pins", config.policy_pins);
    policies.Each("files", [&](const Node& node) {
      if (CheckPath(reading, node, "policies.files[]")) {
        config.policy_files.push_back(node.value);
      }
    });
    policies.Each("resolvers", [&](const Node& node) {
      in6_addr unused{};
      if (node.type == Node::Type::kScalar &&
          (inet_pton(AF_INET, node.value.c_str(), &unused) == 1 || inet_pton(AF_INET6, node.value.c_str(), &unused) == 1)) {
        config.resolvers.push_back(node.value);
      } else {
        reading.Complain(node, "policies.resolvers[] must be the address of a DNS server, as 10.96.0.10");
      }
    });
  }
  ReadRuntimes(reading, top, config);
  {
    Section auth(reading, top.Child("auth"), "auth");
    if (const Node* libpam = auth.Child("libpam")) {
      ReadAsked(reading, *libpam, "auth.libpam", SIZE_MAX, config.libpam);
    }
  }
  ReadGpu(reading, top, config);
  ReadBackends(reading, top, config);
  ReadDetect(reading, top, config.detect);
  ReadSinks(reading, top, config.sinks);
  ReadApi(reading, top, config);
  {
    Section process(reading, top.Child("process"), "process");
    process.Flag("scan", config.scan_processes);
  }
  {
    Section rings(reading, top.Child("rings"), "rings");
    rings.Size("urgent", config.ring_urgent_bytes, kPage, kMaxRing);
    rings.Size("bulk", config.ring_bulk_bytes, kPage, kMaxRing);
  }
  {
    Section pipeline(reading, top.Child("pipeline"), "pipeline");
    pipeline.Number("queue_batches", config.queue_batches, 2, 4096);
    pipeline.Number("poll_ms", config.poll_ms, 1, 1000);
    pipeline.Number("flush_ms", config.flush_ms, 1, 1000);
    pipeline.Number("sums_ms", config.sums_ms, 100, 3600 * 1000);
  }
  {
    Section metrics(reading, top.Child("metrics"), "metrics");
    const Node* node = metrics.Child("address");
    const bool off = node != nullptr && node->type == Node::Type::kScalar && node->value.empty();
    if (node != nullptr && node->type != Node::Type::kNull && (off || CheckAddress(reading, *node, "metrics.address"))) {
      config.metrics_address = node->value;
    }
  }
  {
    Section log(reading, top.Child("log"), "log");
    log.OneOf("level", config.log_level, {"trace", "debug", "info", "warn", "error", "off"});
  }
  for (const Node& node : asset_files) {
    assets.ReadFiles(reading, node);
  }
}

Loaded LoadUnguarded(const std::string& path) {
  Loaded loaded;
  const Reading reading{path, &loaded.problems, nullptr};
  const std::string text = ReadFile(path, loaded.problems);
  if (!loaded.problems.empty()) {
    return loaded;
  }
  const std::vector<Node> documents = ParseYaml(text, path, loaded.problems);
  if (documents.size() > 1) {
    reading.Complain(documents[1],
                     "moatd.yaml is one document; assets in documents of their own go into a file under assets.files");
  }
  std::vector<Node> asset_files;
  ReadTop(reading, documents.empty() ? nullptr : &documents[0], loaded.config, asset_files);
  loaded.problems = InFileOrder(std::move(loaded.problems));  // sections tell unknown keys when they end
  return loaded;
}

// ":12" at `at`, which moves behind it. 0: there is none.
int TakeNumber(std::string_view text, size_t& at) {
  int number = 0;
  if (at >= text.size() || text[at] != ':') {
    return 0;
  }
  const auto [end, error] = std::from_chars(text.data() + at + 1, text.data() + text.size(), number);
  if (error != std::errc()) {
    return 0;
  }
  at = static_cast<size_t>(end - text.data());
  return number;
}

}  // namespace

void ReadPathOrNone(Section& section, std::string_view key, std::string& field) {
  if (const Node* node = section.Child(key); node != nullptr && node->type == Node::Type::kScalar && node->value.empty()) {
    field.clear();
  } else {
    section.AbsolutePath(key, field);
  }
}

std::vector<Problem> InFileOrder(std::vector<Problem> problems) {
  std::map<std::string, size_t> ranks;
  for (const Problem& problem : problems) {
    ranks.try_emplace(problem.file, ranks.size());
  }
  // The index last: equal places stay in the order in which they were told.
  std::vector<std::tuple<size_t, int, int, size_t>> places;
  places.reserve(problems.size());
  for (size_t i = 0; i < problems.size(); ++i) {
    places.emplace_back(ranks[problems[i].file], problems[i].line, problems[i].column, i);
  }
  std::ranges::sort(places);
  std::vector<Problem> in_order;
  in_order.reserve(problems.size());
  for (const auto& place : places) {
    in_order.push_back(std::move(problems[std::get<3>(place)]));
  }
  return in_order;
}

std::string ToString(const Problem& problem) {
  if (problem.line == 0) {
    return problem.file + ": " + problem.message;
  }
  return problem.file + ":" + std::to_string(problem.line) + ":" + std::to_string(problem.column) + ": " + problem.message;
}

Problem FromString(const std::string& text) {
  // The first ":LINE:COLUMN: ".
  for (size_t colon = text.find(':'); colon != std::string::npos; colon = text.find(':', colon + 1)) {
    size_t at = colon;
    const int line = TakeNumber(text, at), column = TakeNumber(text, at);
    if (line > 0 && column > 0 && text.compare(at, 2, ": ") == 0) {
      return {text.substr(0, colon), line, column, text.substr(at + 2)};
    }
  }
  return {"policies", 0, 0, text};
}

Loaded Load(const std::string& path) {
  try {
    return LoadUnguarded(path);
  } catch (const std::exception& e) {
    Loaded loaded;
    loaded.problems.push_back({path, 0, 0, std::string("cannot be read: ") + e.what()});
    return loaded;
  }
}

std::vector<std::string> Settings() {
  std::vector<std::string> settings;
  std::vector<Problem> problems;
  Config config;
  std::vector<Node> asset_files;
  ReadTop({"", &problems, &settings}, nullptr, config, asset_files);
  return settings;
}

}  // namespace moat::config
