// SPDX-License-Identifier: Apache-2.0
// moatd.yaml as plain data. Every field has its default here and in deploy/config/moatd.yaml, held together by a test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/config/api.h"
#include "agent/config/detect.h"
#include "agent/config/sinks.h"

namespace moat::config {

constexpr size_t kMaxAssets = 64;          // one label bit each
constexpr size_t kMaxFileBytes = 1 << 20;  // of one YAML file

struct Asset {  // kind: Asset
  std::string name;
  std::string asset_class = "weights";  // weights | dataset | adapter | secret | canary
  std::vector<std::string> paths;       // files or directories, absolute
  bool operator==(const Asset&) const = default;
};

struct WatchedCommand {  // an ioctl of which every call is an event
  std::string device_class;  // "nvidia", ... as GpuClassName(); empty: any
  uint32_t command = 0;
  bool whole = false;  // the whole 32-bit word, not the number alone
  bool operator==(const WatchedCommand&) const = default;
};

struct Device {  // an accelerator that /proc/devices does not tell
  std::string path;          // "/dev/null": its device number is taken
  std::string device_class = "other";
  bool operator==(const Device&) const = default;
};

struct Config {
  // scope: whose events. "host", or a cgroup path below the cgroup2 mount ("/kubepods.slice").
  std::string scope = "host";
  // api
  std::string socket = "/run/moat/moat.sock";
  std::string socket_group;  // empty: the group of moatd
  uint32_t subscriber_queue_events = 65536;
  uint32_t resume_events = 8192;  // kept for resume cursors
  uint32_t max_subscribers = 64;
  TcpApi tcp;
  std::string health_address;  // plaintext, grpc.health.v1 only, as "127.0.0.1:7444"; empty: none
  AuditLog audit;
  // rings (bytes, powers of two, at least a page)
  uint32_t ring_urgent_bytes = 1 << 20;
  uint32_t ring_bulk_bytes = 4 << 20;
  // pipeline
  uint32_t queue_batches = 64;
  uint32_t flush_ms = 10;     // to subscribers
  uint32_t poll_ms = 30;      // between drains while events flow
  uint32_t sums_ms = 1000;    // FILE_IO and NET_FLOW of what is still open
  // process
  bool scan_processes = true;
  // domains
  bool process = true, file = true, gpu = true, net = true, auth = true;
  // backends not to be used, as HookStatus.backend names them: lsm, fmod_ret, fentry, kprobe
  std::vector<std::string> avoid;
  // assets: files or directories of YAML documents, and assets given in place
  std::vector<std::string> asset_files;
  std::vector<Asset> assets;  // in place first, then those of asset_files; the index is the label bit
  // policies: files or directories of YAML documents, read again when they change; none: nothing is enforced, and no program for it runs
  std::vector<std::string> policy_files;
  // Where in a bpffs the kernel keeps what is enforced when moatd ends; empty: it ends with moatd.
  std::string policy_pins = "/sys/fs/bpf/moat";
  // DNS servers whose answers say what an address is called, beside those in /etc/resolv.conf. Addresses, as inet_pton reads them.
  std::vector<std::string> resolvers;
  bool enforce() const { return !policy_files.empty(); }
  // runtimes: who is asked whose a pod, container or job is. kAuto: what usual hosts have, where it is there; empty: nobody
  static constexpr const char* kAuto = "auto";
  std::vector<std::string> cri_sockets = {kAuto};
  std::string docker_socket = kAuto;
  std::string scontrol = kAuto;
  // auth: the libpam.so.0 whose answers are seen; kAuto: the host's, where it usually lies; empty: none
  std::string libpam = kAuto;
  // gpu
  std::vector<Device> devices;
  std::vector<WatchedCommand> watch;
  std::string driver_version;  // of NVIDIA's driver, where /sys/module does not tell it; empty: it does
  std::string gpu_root;  // below which drivers are looked for in /proc and /sys; no setting: tests have a directory of their own
  Detect detect;
  // metrics: "127.0.0.1:9464", "[::1]:9464"; empty: nothing listens
  std::string metrics_address;
  std::vector<Sink> sinks;  // where findings go; none: nowhere but to the API
  // log
  std::string log_level = "info";

  bool operator==(const Config&) const = default;
};

// A mistake in a file, for "file:line:column: message". Line 0: the file as a whole.
struct Problem {
  std::string file;
  int line = 0, column = 0;
  std::string message;
};
std::string ToString(const Problem& problem);
// The other way; a text without a place is a message.
Problem FromString(const std::string& text);

// By line and column within each file; the files stay in the order in which they were read.
std::vector<Problem> InFileOrder(std::vector<Problem> problems);

struct Loaded {
  Config config;
  std::vector<Problem> problems;  // all of them, in file order; empty: good
};

// Reads moatd.yaml and the asset files that it names. Never throws; unknown keys are problems with a suggestion. Any thread.
// SIGHUP calls it again and takes the assets.
Loaded Load(const std::string& path);

// Every setting that the parser knows, "api.socket"; for the test that holds deploy/config/moatd.yaml to them.
std::vector<std::string> Settings();

}  // namespace moat::config
