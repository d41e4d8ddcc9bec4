// SPDX-License-Identifier: Apache-2.0
// Ids of types in the kernel's BTF, by one pass over its strings and one over its types. libbpf's parser takes five times as
// long, and is run once per object already.
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
  using Name = std::pair<uint32_t, std::string>;  // BTF_KIND_*, name
  // /sys/kernel/btf/vmlinux. Only these names can be found afterwards.
  static Result<KernelBtf> Load(std::span<const Name> names);
  // The same of BTF bytes.
  static Result<KernelBtf> Parse(std::string_view bytes, std::span<const Name> names);

  int Find(uint32_t kind, std::string_view name) const;  // negative: none

 private:
  std::map<Name, int> ids_;
};

}  // namespace moat::probe
