// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/family.h"

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "bpf/abi/gpu.h"
#include "bpf/abi/process.h"
#include "tests/fuzz/consumer.h"
#include "tests/fuzz/text.h"

namespace moat::fuzz {
namespace {

using event::GpuClass;
using event::Kind;

constexpr Kind kCall[] = {Kind::kGpuIoctl};
constexpr Kind kGpu[] = {Kind::kGpuIoctl, Kind::kGpuOpen, Kind::kGpuMap, Kind::kExit};  // what holders learn from
constexpr Kind kProcess[] = {Kind::kExec, Kind::kFork, Kind::kExit, Kind::kScan};
constexpr Kind kFile[] = {Kind::kFileOpen, Kind::kFileMap, Kind::kFileTamper, Kind::kFileIo};
constexpr Kind kNet[] = {Kind::kNetConnect, Kind::kNetSend, Kind::kNetListen, Kind::kNetAccept,
                         Kind::kNetClose,   Kind::kNetFlow, Kind::kNetDns};
constexpr Kind kVerdict[] = {Kind::kVerdict};

constexpr GpuClass kRm[] = {GpuClass::kNvidia};
constexpr GpuClass kUvm[] = {GpuClass::kNvidiaUvm};
constexpr GpuClass kKfd[] = {GpuClass::kKfd};
constexpr GpuClass kDrm[] = {GpuClass::kDrm, GpuClass::kAccel};
constexpr GpuClass kOthers[] = {GpuClass::kNeuron, GpuClass::kGdrdrv, GpuClass::kNvidiaFs};

constexpr Family kFamilies[] = {
    {"nvidia-rm", kCall, kRm},  {"nvidia-uvm", kCall, kUvm}, {"kfd", kCall, kKfd},      {"drm", kCall, kDrm},
    {"others", kCall, kOthers}, {"gpu", kGpu, {}},           {"process", kProcess, {}}, {"file", kFile, {}},
    {"net", kNet, {}},          {"verdict", kVerdict, {}},   {"raw", {}, {}},
};

// The value if it is one of them, else one of them.
template <typename T>
T OneOf(std::span<const T> allowed, size_t value) {
  const auto found = std::ranges::find(allowed, value, [](T one) { return static_cast<size_t>(one); });
  return found != allowed.end() ? *found : allowed[value % allowed.size()];
}

template <typename T>
void Put(std::vector<std::byte>& record, size_t offset, T value) {
  std::memcpy(record.data() + offset, &value, sizeof(value));
}

template <typename T>
T Get(std::span<const std::byte> record, size_t offset) {
  T value;
  std::memcpy(&value, record.data() + offset, sizeof(value));
  return value;
}

// What lies behind the used part of an array is not defined: a sanitizer shall tell of whoever reads it.
void Hide(std::span<const std::byte> record, size_t begin, size_t size, size_t used) {
  if (used < size) {
    ASAN_POISON_MEMORY_REGION(record.data() + begin + used, size - used);
  }
}

void HideUnused(std::span<const std::byte> record) {
  const bool has_header = record.size() >= sizeof(moat_hdr);
  const size_t kind = has_header ? Get<uint16_t>(record, offsetof(moat_hdr, kind)) : 0;
  if (kind == MOAT_KIND_GPU_IOCTL && record.size() == sizeof(moat_gpu_ioctl)) {
    Hide(record, offsetof(moat_gpu_ioctl, params), MOAT_GPU_PARAMS_LEN,
         Get<uint32_t>(record, offsetof(moat_gpu_ioctl, params_len)));
    Hide(record, offsetof(moat_gpu_ioctl, nested), MOAT_GPU_NESTED_LEN,
         Get<uint32_t>(record, offsetof(moat_gpu_ioctl, nested_len)));
  } else if ((kind == MOAT_KIND_EXEC || kind == MOAT_KIND_SCAN) && record.size() == sizeof(moat_exec)) {
    Hide(record, offsetof(moat_exec, path), MOAT_PATH_LEN, Get<uint16_t>(record, offsetof(moat_exec, path_len)));
    Hide(record, offsetof(moat_exec, argv), MOAT_ARGV_LEN, Get<uint16_t>(record, offsetof(moat_exec, argv_len)));
  }
}

}  // namespace

std::span<const Family> Families() { return kFamilies; }

const Family* FindFamily(std::string_view name) {
  const auto* found = std::ranges::find(kFamilies, name, &Family::name);
  return found != std::end(kFamilies) ? found : nullptr;
}

std::vector<std::byte> FirstRecord(const Family& family, std::span<const std::byte> input, size_t* taken) {
  if (family.kinds.empty()) {
    *taken = input.size();
    return {input.begin(), input.end()};
  }
  moat_hdr header{};
  std::memcpy(&header, input.data(), std::min(input.size(), sizeof(header)));
  const Kind kind = OneOf(family.kinds, header.kind);
  const size_t size = SizeOf(kind).size;
  *taken = std::min(size, input.size());
  std::vector<std::byte> record(size);
  std::memcpy(record.data(), input.data(), *taken);
  Put(record, offsetof(moat_hdr, size), static_cast<uint32_t>(size));
  Put(record, offsetof(moat_hdr, version), uint16_t{MOAT_ABI_VERSION});
  Put(record, offsetof(moat_hdr, kind), static_cast<uint16_t>(kind));
  if (!family.classes.empty()) {
    const size_t at = offsetof(moat_gpu_ioctl, class_id);  // its lowest byte; the others are the driver
    Put(record, at, static_cast<uint8_t>(OneOf(family.classes, std::to_integer<size_t>(record[at]))));
  }
  return record;
}

Played Play(const Family& family, std::span<const std::byte> input) {
  Consumer consumer(
      [](const event::ProcessKey& key) { return key.pid % 2 != 0 ? std::optional(event::Process{}) : std::nullopt; });
  event::Event event, last;  // used again, as the ring thread does
  Played played;
  while (!input.empty()) {
    size_t taken = 0;
    const std::vector<std::byte> record = FirstRecord(family, input, &taken);
    input = input.subspan(taken);
    // At the end of a block of its own, so that a sanitizer sees any read beyond it; every other one at an odd address.
    const size_t skew = played.records % 2;
    const auto block = std::make_unique_for_overwrite<std::byte[]>(skew + record.size());
    std::memcpy(block.get() + skew, record.data(), record.size());
    const std::span<const std::byte> bytes(block.get() + skew, record.size());
    HideUnused(bytes);
    ++played.records;
    if (Decode(bytes, event) != decode::Outcome::kOk) {
      continue;
    }
    ++played.accepted;
    const auto* call = std::get_if<event::GpuCall>(&event.body);
    played.known += call != nullptr && *call->verb != '\0' ? 1 : 0;
    consumer.Take(event);
    last = event;
  }
  consumer.Finish();
  if (played.accepted != 0) {
    CheckText(last);  // it knows nothing of those before, and costs fifty times what decoding does
  }
  return played;
}

}  // namespace moat::fuzz
