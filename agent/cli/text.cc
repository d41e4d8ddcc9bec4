// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/text.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <ctime>

#include "agent/base/strings.h"
#include "agent/base/utf8.h"
#include "agent/cli/options.h"

namespace moat::cli {

std::string Paint(bool on, Color color, std::string_view text) {
  static constexpr const char* kCodes[] = {"0", "31", "32", "33", "34", "35", "36", "2", "1"};
  if (!on || color == Color::kNone) {
    return std::string(text);
  }
  std::string painted = "\x1b[";
  painted.append(kCodes[static_cast<size_t>(color)]).append("m").append(text).append("\x1b[0m");
  return painted;
}

std::string Safe(std::string_view hostile) { return Printable(hostile); }

std::string Bytes(uint64_t bytes) { return BytesText(bytes); }

std::string EnumWord(const std::string& name, std::string_view prefix, int number) {
  if (name.empty()) {
    return std::to_string(number);
  }
  std::string word = name.substr(prefix.size());
  std::ranges::transform(word, word.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return word;
}

std::string Hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string Number(uint64_t number) {
  std::string digits = std::to_string(number);
  for (size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string Span(uint64_t ns) {
  uint64_t s = ns / 1'000'000'000;
  auto pair = [](uint64_t a, const char* ua, uint64_t b, const char* ub) {
    return std::to_string(a) + ua + " " + std::to_string(b) + ub;
  };
  if (s >= 86400) {
    return pair(s / 86400, "d", s % 86400 / 3600, "h");
  }
  if (s >= 3600) {
    return pair(s / 3600, "h", s % 3600 / 60, "m");
  }
  if (s >= 60) {
    return pair(s / 60, "m", s % 60, "s");
  }
  char text[32];
  std::snprintf(text, sizeof(text), "%.1fs", static_cast<double>(ns) / 1e9);
  return text;
}

std::string ClockTime(uint64_t unix_ns) {
  auto seconds = static_cast<time_t>(unix_ns / 1'000'000'000);
  static thread_local time_t last = -1;  // a second has many events, localtime_r is not cheap
  static thread_local char prefix[16];
  if (seconds != last) {
    tm local{};
    localtime_r(&seconds, &local);
    strftime(prefix, sizeof(prefix), "%H:%M:%S", &local);
    last = seconds;
  }
  char text[32];
  std::snprintf(text, sizeof(text), "%s.%06u", prefix, static_cast<unsigned>(unix_ns % 1'000'000'000 / 1000));
  return text;
}

std::string Rfc3339(uint64_t unix_ns) {
  auto seconds = static_cast<time_t>(unix_ns / 1'000'000'000);
  static thread_local time_t last = -1;
  static thread_local char prefix[24];
  if (seconds != last) {
    tm utc{};
    gmtime_r(&seconds, &utc);
    strftime(prefix, sizeof(prefix), "%Y-%m-%dT%H:%M:%S", &utc);
    last = seconds;
  }
  char text[48];
  std::snprintf(text, sizeof(text), "%s.%09uZ", prefix, static_cast<unsigned>(unix_ns % 1'000'000'000));
  return text;
}

std::string Device(uint32_t rdev) { return std::to_string(rdev >> 20) + ":" + std::to_string(rdev & 0xfffff); }

std::string Table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows, bool color) {
  std::vector<size_t> widths;
  widths.reserve(header.size());
  for (const auto& cell : header) {
    widths.push_back(cell.size());
  }
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (size_t i = 0; i < cells.size(); ++i) {
      text += cells[i];
      if (i + 1 < cells.size()) {
        text.append(widths[i] - cells[i].size() + 2, ' ');
      }
    }
    return text;
  };
  std::string text = Paint(color, Color::kBold, line(header)) + "\n";
  for (const auto& row : rows) {
    text += line(row) + "\n";
  }
  return text;
}

bool ParseDuration(const std::string& text, uint64_t* ms) {
  size_t digits = text.find_first_not_of("0123456789");
  if (text.empty() || digits == 0 || (digits == std::string::npos ? text.size() : digits) > 9) {
    return false;
  }
  std::string unit = digits == std::string::npos ? "s" : text.substr(digits);
  uint64_t scale = unit == "ms" ? 1 : unit == "s" ? 1000 : unit == "m" ? 60'000 : unit == "h" ? 3'600'000 : 0;
  *ms = std::stoull(text.substr(0, digits)) * scale;
  return *ms > 0;
}

}  // namespace moat::cli
