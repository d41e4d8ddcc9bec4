// SPDX-License-Identifier: Apache-2.0
// A driver that says yes to everything: in the guests of tests/vm the stand-in GPU, elsewhere devices that know no ioctl, and a seccomp
// filter that lets none reach them and answers 0.
#pragma once

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "tests/bpf/inspect.h"
#include "tests/workload/gpu_scenarios.h"

namespace moat::test {

inline bool HasStandIn() { return access("/run/moat-gpu/ioctls", R_OK) == 0; }

enum GpuCategory : uint32_t { kDebug = 1, kProfile = 2, kForeign = 4, kExport = 8, kReconfigure = 16, kInternal = 32, kRaw = 64 };

constexpr uint32_t GpuCommand(uint32_t number, uint32_t size, uint32_t direction = _IOC_READ | _IOC_WRITE, char magic = 'F') {
  return _IOC(direction, magic, number, size);
}

// Parameters as words: of NVOS54, NVOS64 and their like.
using Words = std::array<uint32_t, 16>;
inline uint32_t Low(const void* at) { return static_cast<uint32_t>(reinterpret_cast<uint64_t>(at)); }
inline uint32_t High(const void* at) { return static_cast<uint32_t>(reinterpret_cast<uint64_t>(at) >> 32); }
inline Words Control(uint32_t command, const void* params = nullptr, uint32_t size = 0, uint32_t client = 0xc1d00001,
                     uint32_t object = 0x5c000001) {
  return {client, object, command, 0, Low(params), High(params), size};
}
inline Words Alloc(uint32_t id, const void* params = nullptr, uint32_t client = 0xc1d00001, uint32_t object = 0x5c000002) {
  return {client, 0x5c000001, object, id, Low(params), High(params)};
}

class GpuTest : public BpfTest {
 protected:
  static const char* Nvidia() { return HasStandIn() ? "/dev/nvidiactl" : "/dev/null"; }
  static const char* Uvm() { return HasStandIn() ? "/dev/nvidia-uvm" : "/dev/zero"; }

  void SetUp() override {
    BpfTest::SetUp();
    config().process = config().file = config().net = false;
    config().driver_version = "580.159.04";
    if (!HasStandIn()) {
      config().devices = {{.path = Nvidia(), .device_class = "nvidia"}, {.path = Uvm(), .device_class = "nvidia-uvm"}};
    }
  }

  // In a workload, before its first call: from now on every ioctl of this thread, and of its children, is answered with 0.
  static void SayYes() {
    if (HasStandIn()) {
      return;
    }
    MOAT_CHILD_CHECK(gpu::AnswerYes());
  }

  static int MustOpen(const char* path) {
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    MOAT_CHILD_CHECK(fd >= 0);
    return fd;
  }
  static void Call(int fd, uint32_t command, void* params) { MOAT_CHILD_CHECK(ioctl(fd, command, params) == 0); }
  static void AllocObject(int fd, Words words) { Call(fd, GpuCommand(43, 48), words.data()); }
  static void ControlObject(int fd, Words words) { Call(fd, GpuCommand(42, 32), words.data()); }
  static void NewClient(int fd, uint32_t client) { AllocObject(fd, Alloc(0x41, nullptr, client, client)); }

  // Of all processes, as they were made.
  std::vector<moat_gpu_ioctl> Ioctls(pid_t pid = 0) {
    auto calls = Of<moat_gpu_ioctl>(MOAT_KIND_GPU_IOCTL, pid);  // by two rings
    std::ranges::sort(calls, {}, [](const moat_gpu_ioctl& call) { return call.hdr.time_ns; });
    return calls;
  }
  struct Seen {
    uint32_t categories, target;
    bool operator==(const Seen&) const = default;
  };
  // What was seen of one kind of call by a process: number, and detail where it has one.
  std::vector<Seen> Of(pid_t pid, uint32_t number, uint32_t detail = 0) {
    std::vector<Seen> seen;
    for (const moat_gpu_ioctl& call : Ioctls(pid)) {
      if (call.number == number && call.detail == detail) {
        seen.push_back({call.categories, (call.why & MOAT_IOCTL_TARGET) != 0 ? call.target.pid : 0});
      }
    }
    return seen;
  }
  using BpfTest::Of;
};

}  // namespace moat::test
