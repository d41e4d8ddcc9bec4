// SPDX-License-Identifier: Apache-2.0
// Between the files of this folder: one decoder per record struct. Each is called with a record of exactly sizeof its struct; the
// header of out is already filled.
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

#include "agent/decode/decode.h"

namespace moat::decode {

Outcome DecodeFork(const std::byte* record, event::Event& out);
Outcome DecodeExec(const std::byte* record, event::Event& out);  // exec and scan
Outcome DecodeExit(const std::byte* record, event::Event& out);
Outcome DecodeProcessAccess(const std::byte* record, event::Event& out);
Outcome DecodePrivilege(const std::byte* record, event::Event& out);
Outcome DecodeLogin(const std::byte* record, event::Event& out);
Outcome DecodeFileOpen(const std::byte* record, event::Event& out);
Outcome DecodeFileMap(const std::byte* record, event::Event& out);
Outcome DecodeFileTamper(const std::byte* record, event::Event& out);
Outcome DecodeFileIo(const std::byte* record, event::Event& out);
Outcome DecodeGpuOpen(const std::byte* record, event::Event& out);
Outcome DecodeGpuMap(const std::byte* record, event::Event& out);
Outcome DecodeGpuIoctl(const std::byte* record, event::Event& out);
Outcome DecodeNet(const std::byte* record, event::Event& out);  // connect, send, listen, accept
Outcome DecodeNetTotals(const std::byte* record, event::Event& out);  // close, flow
Outcome DecodeDns(const std::byte* record, event::Event& out);
Outcome DecodeVerdict(const std::byte* record, event::Event& out);

// Both ends of a socket, from a moat_endpoints.
Outcome LoadEndpoints(const std::byte* from, uint32_t net_flags, event::Endpoints& to);

// One field of a record struct, by copy.
#define MOAT_FIELD(record, type, member) \
  ::moat::decode::Load<std::remove_cvref_t<decltype(type::member)>>((record) + offsetof(type, member))

template <typename T>
inline T Load(const std::byte* from) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// The body as T, built anew only when the event held something else. The caller assigns every field.
template <typename T>
inline T& Body(event::Event& out) {
  if (T* body = std::get_if<T>(&out.body)) {
    return *body;
  }
  return out.body.emplace<T>();
}

// Copies all N bytes (a fixed size is cheaper than the right size) and finds the end. A string without an end is cut and the
// event flagged, not refused: hiding an event must not be as easy as spoiling a name.
template <size_t N>
inline void LoadString(const std::byte* from, event::FixedString<N>& to, uint32_t& flags) {
  std::memcpy(to.bytes.data(), from, N);
  size_t length = strnlen(to.bytes.data(), N);
  if (length == N) [[unlikely]] {
    length = N - 1;
    to.bytes[length] = '\0';
    flags |= event::kFlagTruncated;
  }
  to.length = static_cast<uint16_t>(length);
}

inline bool GoodAsset(uint32_t asset) { return asset < event::kMaxAssets || asset == event::kNoAsset; }

}  // namespace moat::decode
