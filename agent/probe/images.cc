// SPDX-License-Identifier: Apache-2.0
// The only place that sees the skeletons: of each only the embedded object is used, by name like any other.
#include <array>

#include "agent/probe/domain.h"
#include "auth.skel.h"
#include "auth_legacy.skel.h"
#include "bpf/abi/label.h"  // before the skeletons, which name its types
#include "enforce.skel.h"
#include "enforce_legacy.skel.h"
#include "file.skel.h"
#include "file_legacy.skel.h"
#include "gpu.skel.h"
#include "gpu_legacy.skel.h"
#include "net.skel.h"
#include "net_legacy.skel.h"
#include "process.skel.h"
#include "process_legacy.skel.h"
#include "syscall.skel.h"
#include "syscall_legacy.skel.h"

namespace moat::probe {
namespace {

std::span<const std::byte> Bytes(const void* (*skeleton)(size_t*)) {
  size_t size = 0;
  const void* data = skeleton(&size);
  return {static_cast<const std::byte*>(data), size};
}

}  // namespace

std::span<const Image> Images() {
  static const std::array<Image, 7> images = {
      Image{"syscall", Bytes(syscall_bpf__elf_bytes), Bytes(syscall_legacy_bpf__elf_bytes)},
      Image{"process", Bytes(process_bpf__elf_bytes), Bytes(process_legacy_bpf__elf_bytes)},
      Image{"auth", Bytes(auth_bpf__elf_bytes), Bytes(auth_legacy_bpf__elf_bytes)},
      Image{"file", Bytes(file_bpf__elf_bytes), Bytes(file_legacy_bpf__elf_bytes)},
      Image{"gpu", Bytes(gpu_bpf__elf_bytes), Bytes(gpu_legacy_bpf__elf_bytes)},
      Image{"net", Bytes(net_bpf__elf_bytes), Bytes(net_legacy_bpf__elf_bytes)},
      Image{"enforce", Bytes(enforce_bpf__elf_bytes), Bytes(enforce_legacy_bpf__elf_bytes)}};
  return images;
}

}  // namespace moat::probe
