// SPDX-License-Identifier: Apache-2.0
// What was seen since the agent started, summed: plain rows for those who show them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/event/event.h"

namespace moat::event {

// What is kept of texts that anyone may have chosen. A container in a pod in a node that is a container has a cgroup of 300 bytes.
inline constexpr size_t kMaxActorExecutable = 256, kMaxActorCgroup = 512;

// Whoever did it: an executable in a cgroup.
struct Actor {
  std::string executable{}, cgroup{};  // empty: unknown
  uint64_t cgroup_id = 0;
};

struct SeenAt {
  uint64_t first_ns = 0, last_ns = 0;  // CLOCK_MONOTONIC
};

struct WorkloadActivity {
  std::string cgroup{};
  uint64_t cgroup_id = 0, processes = 0, labels = 0, bytes_out = 0, bytes_in = 0, gpu_calls = 0;
  uint64_t allowed = 0, denied = 0, would_deny = 0;  // verdicts
  SeenAt seen{};
};

struct AssetActivity {
  Actor actor{};
  uint32_t asset = 0;
  uint64_t opens = 0, maps = 0, changes = 0, denied = 0, bytes_read = 0, bytes_written = 0;
  SeenAt seen{};
};

struct DeviceActivity {
  Actor actor{};
  uint32_t rdev = 0;
  const char* device_class = "";
  uint64_t opens = 0, calls = 0, denied = 0;  // calls: those that are events
  SeenAt seen{};
};

inline constexpr size_t kMaxGpuDevices = 32;

// What a process holds on one device.
struct GpuMemory {
  uint32_t rdev = 0;  // its node, or KFD's, which is one for all; 0: one of NVIDIA's
  int64_t device = -1;  // NVIDIA, KFD: its number with the driver (event::GpuCall::device); -1: not known, or of no device
  uint64_t device_bytes = 0, system_bytes = 0, user_bytes = 0, other_bytes = 0;  // held now
  uint64_t allocated_bytes = 0, freed_bytes = 0;  // ever
};

// A process that uses accelerators, while it lives.
struct GpuActivity {
  ProcessKey process{};
  Actor actor{};
  std::vector<uint32_t> devices{};  // opened; others came by descriptors
  uint64_t devices_omitted = 0;
  uint64_t device_bytes = 0, system_bytes = 0, user_bytes = 0, other_bytes = 0;  // held now; other: addresses, for one
  uint64_t allocated_bytes = 0, freed_bytes = 0;  // ever
  std::vector<GpuMemory> memory{};  // the same by device
  uint64_t memory_omitted = 0;  // times that there was no room for a device more in it
  uint64_t objects_lost = 0;  // that were not counted for want of room, or of a handle: more is held than is said
  uint64_t calls = 0;  // that are events
  std::vector<const char*> verbs{};
  uint32_t categories = 0;  // of all calls so far
  uint64_t sensitive = 0;  // calls, opens and mappings that had one
  const char* last_name = "";  // the last of them: the call, the class of the device that was opened, "PCI resource"
  uint32_t last_categories = 0;
  ProcessKey last_target{};
  uint64_t last_sensitive_ns = 0;  // CLOCK_MONOTONIC
  SeenAt seen{};
};

struct FlowActivity {
  Actor actor{};
  std::array<uint8_t, 16> peer{};
  bool ipv6 = false, inbound = false;
  uint16_t port = 0, protocol = 0;  // port: the peer's; of an inbound flow this host's
  uint64_t connections = 0, denied = 0, bytes_out = 0, bytes_in = 0, labels = 0;
  SeenAt seen{};
};

// Rows by when they were seen last, newest first. evicted: rows that gave way for want of room.
template <typename Row>
struct Rows {
  std::vector<Row> rows{};
  uint64_t evicted = 0;
};

enum class ActivityOf : uint8_t { kWorkloads, kAssets, kDevices, kGpus, kFlows };

// Rows of one kind alone: who asks for one is not to wait for the others.
struct Activity {
  Rows<WorkloadActivity> workloads{};
  Rows<AssetActivity> assets{};
  Rows<DeviceActivity> devices{};
  Rows<GpuActivity> gpus{};
  Rows<FlowActivity> flows{};
  uint64_t sums_evicted =
      0;  // running totals of processes and sockets: what comes of one later is counted once more from its beginning
};

}  // namespace moat::event
