// SPDX-License-Identifier: Apache-2.0
// What the transcriptions beside say of a structure, in a form that a freestanding 32-bit compiler takes too.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace moat::layouts {

// Drivers that serve 32-bit programs force 8-byte members to 8; i386 alone would give them 4.
using Aligned64 [[gnu::aligned(8)]] = uint64_t;

struct Place {
  const char* field;
  uint32_t offset, bytes;
};

// One layout of a structure, and the versions that have it; "": from the first, or to the last that there is.
struct Layout {
  const char *structure, *first, *last;
  uint32_t size;
  Place places[64];  // those used come first
};

// An error shows both numbers.
template <uint32_t kHere, uint32_t kAt64Bits>
constexpr uint32_t Same() {
  static_assert(kHere == kAt64Bits, "lies elsewhere than at 64 bits");
  return kHere;
}

template <size_t kLayouts>
constexpr uint32_t Offsets(const Layout (&layouts)[kLayouts]) {
  uint32_t count = 0;
  for (const Layout& layout : layouts) {
    for (const Place& place : layout.places) {
      count += place.field != nullptr;
    }
  }
  return count;
}

#define LAYOUT(type, name, first, last, bytes, ...)                      \
  []() -> Layout {                                                       \
    using T = type;                                                      \
    return {name, first, last, Same<sizeof(T), bytes>(), {__VA_ARGS__}}; \
  }()
// The number is where x86-64 has the member: the literal that the 32-bit run is held to.
#define AT(member, at) {#member, Same<offsetof(T, member), at>(), sizeof(T::member)}

}  // namespace moat::layouts
