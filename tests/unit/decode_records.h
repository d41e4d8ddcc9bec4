// SPDX-License-Identifier: Apache-2.0
// Records of the border made by hand, for the tests of decode.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <span>

#include "agent/decode/decode.h"
#include "bpf/abi/event.h"

namespace moat::decode {

template <typename T>
T Make(int kind) {
  T record;
  std::memset(&record, 0, sizeof(record));
  record.hdr.size = sizeof(T);
  record.hdr.version = MOAT_ABI_VERSION;
  record.hdr.kind = static_cast<uint16_t>(kind);
  record.hdr.flags = MOAT_F_UNREADABLE;
  record.hdr.uid = 1001;
  record.hdr.time_ns = 111;
  record.hdr.pid = 42;
  record.hdr.tid = 43;
  record.hdr.start_ns = 222;
  record.hdr.cgroup_id = 333;
  record.hdr.labels = 5;
  std::strcpy(record.hdr.comm, "python3");
  return record;
}

template <typename T>
std::span<const std::byte> Bytes(const T& record) {
  return std::as_bytes(std::span(&record, 1));
}

template <typename T>
Outcome DecodeOf(const T& record, event::Event& out) {
  return Decode(Bytes(record), out);
}

template <typename T>
Outcome DecodeOf(const T& record) {
  event::Event out;
  return Decode(Bytes(record), out);
}

// Decodes over an event that held another body and another header before: nothing of it may be left.
template <typename Body, typename T>
Body Good(const T& record) {
  event::Event out;
  out.header.seq = 99;
  out.header.info = std::make_shared<event::Process>();
  out.header.comm.length = 15;
  out.body = event::Gap{event::Kind::kExec, 1, 2};
  EXPECT_EQ(Decode(Bytes(record), out), Outcome::kOk);
  EXPECT_EQ(static_cast<int>(out.header.kind), record.hdr.kind);
  EXPECT_EQ(out.header.seq, 0u);
  EXPECT_EQ(out.header.info, nullptr);
  EXPECT_EQ(out.header.time_ns, 111u);
  const Body* body = std::get_if<Body>(&out.body);
  EXPECT_NE(body, nullptr);
  return body ? *body : Body{};
}

}  // namespace moat::decode
