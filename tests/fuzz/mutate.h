// SPDX-License-Identifier: Apache-2.0
// What a mutation of bytes alone does not find: numbers, classes, controls, sizes and versions that the tables know, and records that go
// together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/fuzz/family.h"

namespace moat::fuzz {

// Changes one record of an input, or repeats one. The same for a seed.
void Mutate(const Family& family, uint32_t seed, std::vector<std::byte>& input);

}  // namespace moat::fuzz
