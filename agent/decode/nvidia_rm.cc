// SPDX-License-Identifier: Apache-2.0
// NVIDIA's resource manager: the calls of /dev/nvidiactl and /dev/nvidiaN.
#include <cstring>

#include "agent/decode/gpu_call.h"

namespace moat::decode {
namespace {

using event::GpuLocation;

// Numbers of calls, as in nvidia_escapes.csv.
enum : uint32_t {
  kAllocMemory = 39,
  kFree = 41,
  kControl = 42,
  kAlloc = 43,
  kDup = 52,
  kShare = 53,
  kHeap = 74,
  kMap = 78,
  kUnmap = 79,
  kExportDmabuf = 217,
};

// Classes whose kind says too little.
struct Named {
  uint32_t id;
  const char* object;
  GpuLocation location;
};
constexpr Named kNamed[] = {
    {0x0000003e, "memory.system", GpuLocation::kSystem},
    {0x00000040, "memory.local", GpuLocation::kDevice},
    {0x00000071, "memory.user", GpuLocation::kUser},
    {0x000050a0, "memory.virtual", GpuLocation::kVirtual},
    {0x000000f8, "memory.fabric", GpuLocation::kDevice},
    {0x000000f9, "memory.fabric-import", GpuLocation::kNone},
    {0x000000fb, "memory.fabric-import", GpuLocation::kNone},
    {0x000000fd, "memory.multicast", GpuLocation::kDevice},
    {0x000000e0, "memory.export", GpuLocation::kNone},
    {0x000000c2, "memory.physical", GpuLocation::kDevice},
    {0x000083de, "debugger", GpuLocation::kNone},
    {0x0000503c, "rdma", GpuLocation::kNone},
};

void NameClass(uint32_t id, event::GpuCall& call) {
  if (const tables::Class* known = tables::FindClass(id)) {
    call.name = known->name.data();
    call.object = known->kind.data();
  }
  for (const Named& named : kNamed) {
    if (named.id == id) {
      call.object = named.object;
      call.location = named.location;
    }
  }
}

void DecodeAlloc(const GpuBytes& bytes, event::GpuCall& call) {
  NameClass(call.detail, call);
  call.parent = static_cast<uint32_t>(GpuFields(call, bytes.params, "").At(4, 4));
  const GpuFields nested(call, bytes.nested, "NV_MEMORY_ALLOCATION_PARAMS");
  switch (call.detail) {
    case 0x3e:
    case 0x40:
    case 0x50a0: call.bytes = nested.Get("size"); break;
    case 0x80:
      if (!bytes.nested.empty()) {
        call.device = static_cast<int64_t>(GpuFields(call, bytes.nested, "NV0080_ALLOC_PARAMETERS").Get("deviceId"));
      }
      break;
    case 0xf8: call.bytes = GpuFields(call, bytes.nested, "NV00F8_ALLOCATION_PARAMETERS").Get("allocSize"); break;
    case 0xfd: call.bytes = GpuFields(call, bytes.nested, "NV00FD_ALLOCATION_PARAMETERS").Get("allocSize"); break;
    default: break;
  }
}

void DecodeControl(event::GpuCall& call) {
  if (const tables::Control* control = tables::FindControl(call.detail)) {
    call.name = control->name.data();
    call.object = control->kind.data();
    call.unusual = control->use == 0;
  } else if (const tables::Legacy* legacy = tables::FindLegacy(call.detail)) {
    call.name = legacy->name.data();
    call.object = legacy->kind.data();
    call.completeness = event::GpuCompleteness::kPartial;  // its layout is not published
  } else {
    call.completeness = event::GpuCompleteness::kPartial;
    call.unusual = true;
  }
}

// NVOS32: one call for many; what is what depends on the function.
void DecodeHeap(const GpuBytes& bytes, event::GpuCall& call) {
  const GpuFields fields(call, bytes.params, "NVOS32_PARAMETERS", call.size);
  switch (fields.Get("function")) {
    case 2:  // ALLOC_SIZE
    case 6:  // ALLOC_TILED_PITCH_HEIGHT
    case 14:  // ALLOC_SIZE_RANGE
      call.verb = "ALLOC";
      call.object = "memory.local";
      call.location = GpuLocation::kDevice;
      call.handle = static_cast<uint32_t>(fields.Get("data.AllocSize.hMemory"));
      call.bytes = fields.Get("data.AllocSize.size");
      break;
    case 27:  // ALLOC_OS_DESCRIPTOR
      call.verb = "ALLOC";
      call.object = "memory.user";
      call.location = GpuLocation::kUser;
      call.handle = static_cast<uint32_t>(fields.Get("data.AllocOsDesc.hMemory"));
      break;
    case 3:
      call.verb = "FREE";
      call.object = "memory";
      call.handle = static_cast<uint32_t>(fields.Get("data.Free.hMemory"));
      break;
    default: break;
  }
}

}  // namespace

void DecodeNvidiaRm(const GpuBytes& bytes, event::GpuCall& call) {
  const tables::Escape* escape = tables::FindEscape(call.number);
  if (escape == nullptr) {
    return;
  }
  call.verb = escape->verb.data();
  call.name = escape->name.data();
  if (bytes.params.empty() && call.size != 0) {
    return;  // its number is all that is known
  }
  call.completeness = event::GpuCompleteness::kFull;
  const GpuFields fields(call, bytes.params, escape->structure, call.size);
  switch (call.number) {
    case kAlloc: DecodeAlloc(bytes, call); break;
    case kControl: DecodeControl(call); break;
    case kHeap: DecodeHeap(bytes, call); break;
    case kAllocMemory:
      NameClass(static_cast<uint32_t>(fields.At(12, 4)), call);
      call.handle = static_cast<uint32_t>(fields.At(8, 4));
      call.parent = static_cast<uint32_t>(fields.At(4, 4));
      if (bytes.params.size() >= 40) {
        call.bytes = fields.At(32, 8) + 1;  // the last byte's number
      } else {
        call.completeness = event::GpuCompleteness::kPartial;
      }
      break;
    case kDup:
    case kShare: call.object = "object"; break;
    case kFree: call.object = call.handle == call.client ? "client" : "object"; break;
    case kMap:
      call.object = "memory";
      call.handle = static_cast<uint32_t>(fields.At(8, 4));
      call.bytes = fields.At(24, 8);
      break;
    case kExportDmabuf:
      call.object = "memory.dma-buf";
      call.client = static_cast<uint32_t>(fields.Get("hClient"));
      call.bytes = fields.Get("totalSize");
      break;
    default: break;
  }
}

}  // namespace moat::decode
