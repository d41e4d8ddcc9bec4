// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/text_diff.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

#include "agent/cli/text.h"

namespace moat::cli {
namespace {

constexpr size_t kMaxCells = size_t{16} << 20;  // of the table; beyond it what differs is shown as all replaced
constexpr size_t kAround = 3;

struct Line {
  char mark = ' ';  // '-', '+', or ' ': in both
  std::string_view text{};
};

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// The longest common subsequence of what lies between the first and the last difference.
std::vector<Line> Compare(const std::vector<std::string_view>& a, const std::vector<std::string_view>& b) {
  size_t head = 0, tail = 0;
  while (head < std::min(a.size(), b.size()) && a[head] == b[head]) {
    ++head;
  }
  while (tail < std::min(a.size(), b.size()) - head && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) {
    ++tail;
  }
  const size_t rows = a.size() - head - tail, columns = b.size() - head - tail;
  const bool small = (rows + 1) * (columns + 1) <= kMaxCells;
  std::vector<uint32_t> longest(small ? (rows + 1) * (columns + 1) : 0);
  const auto at = [&](size_t i, size_t j) -> uint32_t& { return longest[i * (columns + 1) + j]; };
  for (size_t i = rows; small && i-- > 0;) {
    for (size_t j = columns; j-- > 0;) {
      at(i, j) = a[head + i] == b[head + j] ? at(i + 1, j + 1) + 1 : std::max(at(i + 1, j), at(i, j + 1));
    }
  }
  std::vector<Line> out;
  out.reserve(a.size() + columns);
  for (size_t i = 0; i < head; ++i) {
    out.push_back({.text = a[i]});
  }
  for (size_t i = 0, j = 0; i < rows || j < columns;) {
    if (small && i < rows && j < columns && a[head + i] == b[head + j]) {
      out.push_back({.text = a[head + i]});
      ++i;
      ++j;
    } else if (i < rows && (!small || j == columns || at(i + 1, j) >= at(i, j + 1))) {
      out.push_back({.mark = '-', .text = a[head + i++]});
    } else {
      out.push_back({.mark = '+', .text = b[head + j++]});
    }
  }
  for (size_t i = a.size() - tail; i < a.size(); ++i) {
    out.push_back({.text = a[i]});
  }
  return out;
}

}  // namespace

std::string UnifiedDiff(const std::string& before, const std::string& after, bool color) {
  const std::vector<Line> lines = Compare(Lines(before), Lines(after));
  const auto changed = [&](size_t i) { return lines[i].mark != ' '; };
  std::string text;
  size_t line_a = 1, line_b = 1, next = 0;  // next: the first line that was not yet looked at
  while (next < lines.size()) {
    size_t first = next;
    while (first < lines.size() && !changed(first)) {
      ++first;
    }
    if (first == lines.size()) {
      break;
    }
    const size_t begin = std::max(next, first > kAround ? first - kAround : 0);
    line_a += begin - next;
    line_b += begin - next;
    size_t last = first;  // the last change of this hunk
    for (size_t i = first; i < lines.size() && i <= last + 2 * kAround; ++i) {
      last = changed(i) ? i : last;
    }
    const size_t end = std::min(lines.size(), last + kAround + 1);
    size_t count_a = 0, count_b = 0;
    std::string body;
    for (size_t i = begin; i < end; ++i) {
      const Line& line = lines[i];
      count_a += line.mark != '+';
      count_b += line.mark != '-';
      const Color paint = line.mark == '-' ? Color::kRed : line.mark == '+' ? Color::kGreen : Color::kNone;
      body += Paint(color, paint, line.mark + Safe(line.text)) + "\n";
    }
    const auto range = [](size_t at, size_t count) {
      return std::to_string(count == 0 ? at - 1 : at) + "," + std::to_string(count);
    };
    text += Paint(color, Color::kCyan, "@@ -" + range(line_a, count_a) + " +" + range(line_b, count_b) + " @@") + "\n" + body;
    line_a += count_a;
    line_b += count_b;
    next = end;
  }
  return text;
}

}  // namespace moat::cli
