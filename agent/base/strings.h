// SPDX-License-Identifier: Apache-2.0
// "Did you mean": the nearest of the words that would have been right.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace moat {

// Edits (insert, delete, replace, swap of neighbours) from a to b, in bytes; limit + 1 when more than limit.
size_t EditDistance(std::string_view a, std::string_view b, size_t limit);

// The candidate nearest to word, the first of equals; empty when none is near (a third of the longer word's length, at least one).
std::string_view Nearest(std::string_view word, std::span<const std::string_view> candidates);

// " (did you mean 'x'?)", or "".
std::string DidYouMean(std::string_view word, std::span<const std::string_view> candidates);

// "4.2 GiB"; below 1 KiB exact: "17 B".
std::string BytesText(uint64_t bytes);

}  // namespace moat
