// SPDX-License-Identifier: Apache-2.0
// Accelerator devices: opens, mapped resources and ioctls.
#include "bpf/abi/gpu.h"

#include <algorithm>

#include "agent/decode/domain.h"
#include "agent/decode/gpu_call.h"

namespace moat::decode {

using event::GpuClass;
static_assert(static_cast<int>(GpuClass::kNone) == MOAT_GPU_NONE && static_cast<int>(GpuClass::kNvidia) == MOAT_GPU_NVIDIA);
static_assert(static_cast<int>(GpuClass::kNvidiaUvm) == MOAT_GPU_NVIDIA_UVM);
static_assert(static_cast<int>(GpuClass::kNvidiaCaps) == MOAT_GPU_NVIDIA_CAPS);
static_assert(static_cast<int>(GpuClass::kNvidiaSwitch) == MOAT_GPU_NVIDIA_SWITCH);
static_assert(static_cast<int>(GpuClass::kNvidiaFs) == MOAT_GPU_NVIDIA_FS &&
              static_cast<int>(GpuClass::kGdrdrv) == MOAT_GPU_GDRDRV);
static_assert(static_cast<int>(GpuClass::kDrm) == MOAT_GPU_DRM && static_cast<int>(GpuClass::kAccel) == MOAT_GPU_ACCEL);
static_assert(static_cast<int>(GpuClass::kKfd) == MOAT_GPU_KFD && static_cast<int>(GpuClass::kNeuron) == MOAT_GPU_NEURON);
static_assert(static_cast<int>(GpuClass::kHabanalabs) == MOAT_GPU_HABANALABS);
static_assert(static_cast<int>(GpuClass::kOther) == MOAT_GPU_OTHER && static_cast<int>(GpuClass::kVfio) == MOAT_GPU_VFIO);
static_assert(static_cast<int>(GpuClass::kCount) == MOAT_GPU_CLASSES);
static_assert(sizeof(event::GpuCall::params) <= MOAT_GPU_PARAMS_LEN && sizeof(event::GpuCall::nested) <= MOAT_GPU_NESTED_LEN);

namespace {

template <size_t N>
uint8_t Keep(std::span<const std::byte> from, std::array<uint8_t, N>& to) {
  const size_t length = std::min(from.size(), N);
  std::memcpy(to.data(), from.data(), length);
  std::memset(to.data() + length, 0, N - length);  // behind them lies what lay in the event before
  return static_cast<uint8_t>(length);
}

void DecodeCall(const GpuBytes& bytes, event::GpuCall& call) {
  switch (call.device_class) {
    case GpuClass::kNvidia: DecodeNvidiaRm(bytes, call); break;
    case GpuClass::kNvidiaUvm: DecodeNvidiaUvm(bytes, call); break;
    case GpuClass::kKfd: DecodeKfd(bytes, call); break;
    case GpuClass::kDrm:
    case GpuClass::kAccel: DecodeDrm(bytes, call); break;
    case GpuClass::kNvidiaFs:
    case GpuClass::kGdrdrv:
    case GpuClass::kNeuron: DecodeOther(bytes, call); break;
    default: break;
  }
}

}  // namespace

uint64_t GpuFields::At(size_t offset, size_t length) const {
  if (length > sizeof(uint64_t) || offset > bytes_.size() || bytes_.size() - offset < length) {
    return Unknown();
  }
  uint64_t value = 0;  // little-endian, as all machines that moat runs on
  std::memcpy(&value, bytes_.data() + offset, length);
  return value;
}

Outcome DecodeGpuOpen(const std::byte* record, event::Event& out) {
  auto class_id = MOAT_GPU_CLASS(MOAT_FIELD(record, moat_gpu_open, class_id));
  if (class_id >= MOAT_GPU_CLASSES) {
    return Outcome::kValue;
  }
  auto& body = Body<event::GpuOpen>(out);
  body.rdev = MOAT_FIELD(record, moat_gpu_open, rdev);
  body.open_flags = MOAT_FIELD(record, moat_gpu_open, open_flags);
  body.fd = static_cast<int32_t>(MOAT_FIELD(record, moat_gpu_open, fd));
  body.categories = MOAT_FIELD(record, moat_gpu_open, categories);
  body.device_class = static_cast<GpuClass>(class_id);
  return Outcome::kOk;
}

Outcome DecodeGpuMap(const std::byte* record, event::Event& out) {
  auto& body = Body<event::GpuMap>(out);
  body.length = MOAT_FIELD(record, moat_gpu_map, length);
  body.resource = MOAT_FIELD(record, moat_gpu_map, resource);
  body.pci_class = MOAT_FIELD(record, moat_gpu_map, pci_class);
  body.vendor = MOAT_FIELD(record, moat_gpu_map, vendor);
  body.product = MOAT_FIELD(record, moat_gpu_map, product);
  body.prot = MOAT_FIELD(record, moat_gpu_map, prot);
  body.categories = MOAT_FIELD(record, moat_gpu_map, categories);
  LoadString(record + offsetof(moat_gpu_map, device), body.device, out.header.flags);
  return Outcome::kOk;
}

Outcome DecodeGpuIoctl(const std::byte* record, event::Event& out) {
  const auto class_and_driver = MOAT_FIELD(record, moat_gpu_ioctl, class_id);
  const auto class_id = MOAT_GPU_CLASS(class_and_driver), driver = MOAT_GPU_DRIVER(class_and_driver);
  const auto params_len = MOAT_FIELD(record, moat_gpu_ioctl, params_len);
  const auto nested_len = MOAT_FIELD(record, moat_gpu_ioctl, nested_len);
  const auto why = MOAT_FIELD(record, moat_gpu_ioctl, why);
  if (params_len > MOAT_GPU_PARAMS_LEN || nested_len > MOAT_GPU_NESTED_LEN) {
    return Outcome::kLength;
  }
  if (class_id >= MOAT_GPU_CLASSES || driver >= MOAT_GPU_DRIVER_COUNT) {
    return Outcome::kValue;
  }
  event::GpuCall& body = Body<event::GpuCall>(out) = {};
  body.arg = MOAT_FIELD(record, moat_gpu_ioctl, arg);
  body.result = MOAT_FIELD(record, moat_gpu_ioctl, result);
  body.count = MOAT_FIELD(record, moat_gpu_ioctl, count);
  body.errors = MOAT_FIELD(record, moat_gpu_ioctl, errors);
  body.rdev = MOAT_FIELD(record, moat_gpu_ioctl, rdev);
  body.cmd = MOAT_FIELD(record, moat_gpu_ioctl, cmd);
  body.number = MOAT_FIELD(record, moat_gpu_ioctl, number);
  body.size = MOAT_FIELD(record, moat_gpu_ioctl, size);
  body.detail = MOAT_FIELD(record, moat_gpu_ioctl, detail);
  body.categories = MOAT_FIELD(record, moat_gpu_ioctl, categories);
  body.driver_version = MOAT_FIELD(record, moat_gpu_ioctl, driver_version);
  body.nested_size = MOAT_FIELD(record, moat_gpu_ioctl, nested_size);
  body.client = MOAT_FIELD(record, moat_gpu_ioctl, client);
  body.handle = MOAT_FIELD(record, moat_gpu_ioctl, object);
  body.device_class = static_cast<GpuClass>(class_id);
  body.driver = static_cast<uint8_t>(driver);
  body.first = (why & MOAT_IOCTL_FIRST) != 0;
  body.watched = (why & MOAT_IOCTL_WATCHED) != 0;
  body.failed = (why & MOAT_IOCTL_FAILED) != 0;
  body.wrapped = (why & MOAT_IOCTL_WRAPPED) != 0;
  body.copied = (why & MOAT_IOCTL_COPIED) != 0;
  body.status_known = (why & MOAT_IOCTL_STATUS) != 0;
  body.status = body.status_known ? MOAT_FIELD(record, moat_gpu_ioctl, status) : 0;
  if ((why & MOAT_IOCTL_TARGET) != 0) {
    const auto target = MOAT_FIELD(record, moat_gpu_ioctl, target);
    body.target = {.pid = target.pid, .start_ns = target.start_ns};
  }
  const GpuBytes bytes{.params = {record + offsetof(moat_gpu_ioctl, params), params_len},
                       .nested = {record + offsetof(moat_gpu_ioctl, nested), nested_len}};
  body.params_len = Keep(bytes.params, body.params);
  body.nested_len = Keep(bytes.nested, body.nested);
  DecodeCall(bytes, body);
  return Outcome::kOk;
}

}  // namespace moat::decode
