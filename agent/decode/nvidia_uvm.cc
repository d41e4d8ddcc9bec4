// SPDX-License-Identifier: Apache-2.0
// NVIDIA's unified memory: the calls of /dev/nvidia-uvm and /dev/nvidia-uvm-tools.
#include "agent/decode/gpu_call.h"

namespace moat::decode {
namespace {

// What a call does, and which of its fields says how much.
struct Meaning {
  uint32_t number;
  const char* verb;
  const char* object;
  const char* bytes;
};
constexpr Meaning kMeanings[] = {
    {0x30000001, "OPEN", "address-space", nullptr},
    {0x30000002, "CLOSE", "address-space", nullptr},
    {25, "REGISTER", "address-space", nullptr},
    {27, "REGISTER", "channel", "length"},
    {29, "SHARE", "peer", nullptr},
    {33, "MAP", "memory.external", "length"},
    {34, "FREE", "memory.range", nullptr},
    {37, "REGISTER", "gpu", nullptr},
    {51, "MIGRATE", "memory.managed", "length"},
    {56, "TRACE", "address-space", nullptr},
    {62, "READ", "memory.managed", "size"},
    {63, "WRITE", "memory.managed", "size"},
    {68, "ALLOC", "semaphores", "length"},
    {73, "ALLOC", "memory.range", "length"},
    {76, "TRACE", "address-space", nullptr},
    {78, "ALLOC", "memory.peer", "length"},
};

}  // namespace

void DecodeNvidiaUvm(const GpuBytes& bytes, event::GpuCall& call) {
  const tables::UvmCall* known = tables::FindUvm(call.number);
  if (known == nullptr) {
    return;
  }
  call.verb = "CALL";
  call.object = "memory.managed";
  call.name = known->name.data();
  call.completeness = event::GpuCompleteness::kFull;
  for (const Meaning& meaning : kMeanings) {
    if (meaning.number == call.number) {
      call.verb = meaning.verb;
      call.object = meaning.object;
      if (meaning.bytes != nullptr) {
        call.bytes = GpuFields(call, bytes.params, known->name).Get(meaning.bytes);
      }
    }
  }
}

}  // namespace moat::decode
