// SPDX-License-Identifier: Apache-2.0
// Between the files of this folder: what a call of an accelerator's driver says, one function per family of drivers. Each is handed the call
// with its raw numbers filled in, and fills verb, object, name, bytes, location, handles and completeness. Pure; every byte is hostile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "agent/decode/tables/tables.h"
#include "agent/event/event.h"

namespace moat::decode {

struct GpuBytes {
  std::span<const std::byte> params;  // as far as they could be read
  std::span<const std::byte> nested;  // of what they point to
};

void DecodeNvidiaRm(const GpuBytes& bytes, event::GpuCall& call);
void DecodeNvidiaUvm(const GpuBytes& bytes, event::GpuCall& call);
void DecodeKfd(const GpuBytes& bytes, event::GpuCall& call);
void DecodeDrm(const GpuBytes& bytes, event::GpuCall& call);  // and accel
void DecodeOther(const GpuBytes& bytes, event::GpuCall& call);  // neuron, gdrdrv, nvidia-fs

// The fields of one structure. What cannot be told makes the call partial, and is 0.
class GpuFields {
 public:
  // size: as passed; 0: not told.
  GpuFields(event::GpuCall& call, std::span<const std::byte> bytes, std::string_view structure, uint32_t size = 0)
      : call_(call), bytes_(bytes), structure_(structure), size_(size) {}

  uint64_t Get(std::string_view name) const {
    const auto field = tables::FindField(structure_, name, call_.driver_version, size_);
    return field ? At(field->offset, field->bytes) : Unknown();
  }
  // At a place that is the same in all versions.
  uint64_t At(size_t offset, size_t length) const;

 private:
  uint64_t Unknown() const {
    call_.completeness = event::GpuCompleteness::kPartial;
    return 0;
  }

  event::GpuCall& call_;
  std::span<const std::byte> bytes_;
  std::string_view structure_;
  uint32_t size_;
};

}  // namespace moat::decode
