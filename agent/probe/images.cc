// SPDX-License-Identifier: Apache-2.0
// The only place that sees the skeletons: of each only the embedded object is used, by name like any other.
#include <array>

#include "agent/probe/domain.h"
#include "file.skel.h"
#include "gpu.skel.h"
#include "net.skel.h"
#include "process.skel.h"
#include "syscall.skel.h"

namespace moat::probe {
namespace {

Image Make(const char* name, const void* (*bytes)(size_t*)) {
  size_t size = 0;
  const void* data = bytes(&size);
  return {name, {static_cast<const std::byte*>(data), size}};
}

}  // namespace

std::span<const Image> Images() {
  static const std::array<Image, 5> images = {Make("syscall", syscall_bpf__elf_bytes), Make("process", process_bpf__elf_bytes),
                                              Make("file", file_bpf__elf_bytes), Make("gpu", gpu_bpf__elf_bytes),
                                              Make("net", net_bpf__elf_bytes)};
  return images;
}

}  // namespace moat::probe
