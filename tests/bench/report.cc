// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace moat::bench {

std::string Text(const char* format, double value) {
  char text[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  std::snprintf(text, sizeof text, format, value);
#pragma GCC diagnostic pop
  return text;
}

double Quantile(std::vector<double> values, double p) {
  if (values.empty()) {
    return 0;
  }
  std::sort(values.begin(), values.end());
  const double at = p * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(std::floor(at));
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (values[high] - values[low]) * (at - static_cast<double>(low));
}

void Report::Print() const {
  constexpr size_t kColumns = 9;
  std::vector<std::array<std::string, kColumns>> table = {
      {"what", "base", "empty", "ring-only", "moat", "measured", "scaled", "goal", ""}};
  for (const Row& row : rows_) {
    table.push_back({row.name, row.base, row.empty, row.ring, row.moat, row.change, row.scaled, row.goal,
                     !row.meets   ? ""
                     : *row.meets ? "meets"
                                  : "falls short"});
  }
  std::array<size_t, kColumns> widths{};
  for (const auto& line : table) {
    for (size_t i = 0; i < kColumns; i++) {
      widths[i] = std::max(widths[i], line[i].size());
    }
  }
  for (const auto& line : table) {
    for (size_t i = 0; i < kColumns; i++) {
      // Names and verdicts to the left, figures to the right.
      const int width = static_cast<int>(widths[i]);
      std::printf(i == 0 || i + 1 == kColumns ? "%-*s  " : "%*s  ", width, line[i].c_str());
    }
    std::printf("\n");
  }
  for (const std::string& note : notes_) {
    std::printf("note: %s\n", note.c_str());
  }
  for (const std::string& line : broken_) {
    std::printf("BROKEN: %s\n", line.c_str());
  }
  std::printf(
      "%zu of %zu goals fall short\n", FallShort(),
      static_cast<size_t>(std::count_if(rows_.begin(), rows_.end(), [](const Row& row) { return row.meets.has_value(); })));
}

size_t Report::FallShort() const {
  return static_cast<size_t>(std::count_if(rows_.begin(), rows_.end(), [](const Row& row) { return row.meets && !*row.meets; }));
}

}  // namespace moat::bench
