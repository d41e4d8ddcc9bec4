// SPDX-License-Identifier: Apache-2.0
// Accelerator devices: opens and ioctls.
#include "bpf/abi/gpu.h"
#include "agent/decode/domain.h"

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
static_assert(static_cast<int>(GpuClass::kOther) == MOAT_GPU_OTHER);
static_assert(sizeof(event::GpuIoctl::params) == MOAT_GPU_PARAMS_LEN);

Outcome DecodeGpuOpen(const std::byte* record, event::Event& out) {
  auto class_id = MOAT_FIELD(record, moat_gpu_open, class_id);
  if (class_id > MOAT_GPU_OTHER) {
    return Outcome::kValue;
  }
  auto& body = Body<event::GpuOpen>(out);
  body.rdev = MOAT_FIELD(record, moat_gpu_open, rdev);
  body.open_flags = MOAT_FIELD(record, moat_gpu_open, open_flags);
  body.fd = static_cast<int32_t>(MOAT_FIELD(record, moat_gpu_open, fd));
  body.device_class = static_cast<GpuClass>(class_id);
  return Outcome::kOk;
}

Outcome DecodeGpuIoctl(const std::byte* record, event::Event& out) {
  auto class_id = MOAT_FIELD(record, moat_gpu_ioctl, class_id);
  auto params_len = MOAT_FIELD(record, moat_gpu_ioctl, params_len);
  auto why = MOAT_FIELD(record, moat_gpu_ioctl, why);
  if (params_len > MOAT_GPU_PARAMS_LEN) {
    return Outcome::kLength;
  }
  if (class_id > MOAT_GPU_OTHER) {
    return Outcome::kValue;
  }
  auto& body = Body<event::GpuIoctl>(out);
  body.rdev = MOAT_FIELD(record, moat_gpu_ioctl, rdev);
  body.cmd = MOAT_FIELD(record, moat_gpu_ioctl, cmd);
  body.size = MOAT_FIELD(record, moat_gpu_ioctl, size);
  body.device_class = static_cast<GpuClass>(class_id);
  body.first = (why & MOAT_IOCTL_FIRST) != 0;
  body.watched = (why & MOAT_IOCTL_WATCHED) != 0;
  body.params_len = static_cast<uint8_t>(params_len);
  body.result = MOAT_FIELD(record, moat_gpu_ioctl, result);
  body.arg = MOAT_FIELD(record, moat_gpu_ioctl, arg);
  body.count = MOAT_FIELD(record, moat_gpu_ioctl, count);
  // Behind them lies what lay in the ring.
  std::memcpy(body.params.data(), record + offsetof(moat_gpu_ioctl, params), params_len);
  std::memset(body.params.data() + params_len, 0, body.params.size() - params_len);
  return Outcome::kOk;
}

}  // namespace moat::decode
