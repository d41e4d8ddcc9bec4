// SPDX-License-Identifier: Apache-2.0
// A blind-spot case: one way to get at an asset, an accelerator or the network, done an exact number of times, and the whole truth
// about it. blind_bpf_test.cc holds every case against what the best hooks of this kernel see, and against the tracepoints alone.
//
//   {.name = "io_uring read", .group = Group::kFile, .events = {"file.read"}, .exposure = "io_uring",
//    .unavailable = ..., .act = [](Stage& stage) { ... 23 times ... }, .truth = {.bytes_read = 23000, .labelled = 1}}
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/bpf/file_kit.h"
#include "tests/bpf/inspect.h"

namespace moat::test {

enum class Group { kFile, kLabel, kNet, kGpu };

// What is true of the acting process; what is not stated is not asked.
struct Truth {
  using Number = std::optional<uint64_t>;
  Number opens = {};  // file.open records
  Number bytes_read = {};  // of the asset, in the sums
  Number bytes_written = {};
  Number maps = {};  // file.map records
  Number tampers = {};  // file.tamper records
  Number labelled = {};  // 1: it ends with the asset's label
  Number connects = {};  // net records
  Number sends = {};
  Number accepts = {};
  Number bytes_out = {};  // in the totals of the process
  Number gpu_opens = {};
  Number gpu_ioctls = {};  // counted calls of kGpuCommand
};

struct TruthField {
  const char* name;
  Truth::Number Truth::* number;
};
constexpr TruthField kTruthFields[] = {
    {"opens", &Truth::opens},         {"bytes_read", &Truth::bytes_read}, {"bytes_written", &Truth::bytes_written},
    {"maps", &Truth::maps},           {"tampers", &Truth::tampers},       {"labelled", &Truth::labelled},
    {"connects", &Truth::connects},   {"sends", &Truth::sends},           {"accepts", &Truth::accepts},
    {"bytes_out", &Truth::bytes_out}, {"gpu_opens", &Truth::gpu_opens},   {"gpu_ioctls", &Truth::gpu_ioctls},
};

constexpr uint32_t kGpuCommand = 0xc010462a;  // any: the stand-in, /dev/null, knows none

// What setup, act and cleanup of a case share. Asset 0 is the directory `model`; setup may name another.
struct Stage {
  std::string asset;  // the path given to the probe; setup may change it
  std::string weights;  // the asset's file that act uses, kModelBytes of 'w'
  std::string other;  // a file that is no asset
  std::string dir;  // all of them below it; removed afterwards
  std::string cannot;  // set by setup: what this machine lacks for it after all
  int fd = -1, peer = -1, old_namespace = -1;  // of setup, closed by cleanup of the case
  Shared<pid_t> actor;  // who the truth is about; 0: the workload's process

  std::string Path(const std::string& name) const { return dir + "/" + name; }
};

struct BlindSpot {
  const char* name;  // stable, lower case
  Group group;
  std::vector<const char*> events;  // the hooks that would see it, the more special first
  const char* exposure;  // id of exposures.h; "": every kernel must see it
  std::function<std::string()> unavailable = {};  // why this machine cannot do it at all; "": it can
  std::function<void(Stage&)> setup = {};  // in the test, before the probe starts; gtest's checks
  std::function<void(Stage&)> act;  // in the workload, inside the cgroup; MOAT_CHILD_CHECK
  std::function<void(Stage&)> cleanup = {};  // in the test, after the probe has ended, also when setup failed
  Truth truth;
};

// One function per file of cases.
void AddOpenCases(std::vector<BlindSpot>& cases);
void AddReadCases(std::vector<BlindSpot>& cases);
void AddUringCases(std::vector<BlindSpot>& cases);
void AddMountCases(std::vector<BlindSpot>& cases);
void AddDiskCases(std::vector<BlindSpot>& cases);
void AddLabelCases(std::vector<BlindSpot>& cases);
void AddNetCases(std::vector<BlindSpot>& cases);
void AddSocketCases(std::vector<BlindSpot>& cases);
void AddGpuCases(std::vector<BlindSpot>& cases);

const std::vector<BlindSpot>& Cases();  // all of them

}  // namespace moat::test
