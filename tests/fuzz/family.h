// SPDX-License-Identifier: Apache-2.0
// Decoders by family, and any bytes as records of one. An input is a row of records, each as the kernel lays it out; the last may be
// cut short and is then filled up with zeros, so that inputs stay small.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "agent/event/event.h"

namespace moat::fuzz {

struct Family {
  std::string_view name;
  std::span<const event::Kind> kinds;  // none: an input is one record as it stands, its header too
  std::span<const event::GpuClass> classes;  // of GPU calls; none: any
};
std::span<const Family> Families();
const Family* FindFamily(std::string_view name);  // null: there is none

// The first record of an input: its header made one of the family, all else as it lies there. taken: how much of the input it was.
std::vector<std::byte> FirstRecord(const Family& family, std::span<const std::byte> input, size_t* taken);

struct Played {
  size_t records = 0, accepted = 0;
  size_t known = 0;  // calls of accelerators that have a verb
};
// Every record of an input through its decoder, what is accepted through its consumers, which begin empty; the last one is also shown.
// Ends the program when a check fails.
Played Play(const Family& family, std::span<const std::byte> input);

}  // namespace moat::fuzz
