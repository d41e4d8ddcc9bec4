// SPDX-License-Identifier: Apache-2.0
#include "agent/base/utf8.h"

#include <cstdint>
#include <cstdio>
#include <cstring>

namespace moat {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

using Step = Utf8Char;

// Unicode 15, 3.9, table 3-7.
Step Next(std::string_view s) {
  auto at = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  uint8_t first = at(0);
  if (first < 0x80) {
    return {1, true, first};
  }
  if (first < 0xC2 || first > 0xF4) {
    return {1, false, 0};
  }
  size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  // The second byte's range is what shuts out overlong forms, surrogates and too high numbers.
  uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  char32_t code = first & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if (i >= s.size() || at(i) < low || at(i) > high) {
      return {i, false, 0};
    }
    code = code << 6 | (at(i) & 0x3F);
    low = 0x80;
    high = 0xBF;
  }
  return {length, true, code};
}

// Bytes from the start that are ASCII, eight at a time.
size_t AsciiPrefix(std::string_view s) {
  size_t i = 0;
  for (; i + 8 <= s.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, s.data() + i, 8);
    if (word & 0x8080808080808080ull) {
      break;
    }
  }
  while (i < s.size() && static_cast<uint8_t>(s[i]) < 0x80) {
    ++i;
  }
  return i;
}

bool Unsafe(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0xAD || c == 0x61C || c == 0x180E || (c >= 0x200B && c <= 0x200F) ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xFFF9 && c <= 0xFFFB) ||
         (c >= 0xE0000 && c <= 0xE007F);  // U+E0000: tags, invisible
}

void AppendEscaped(std::string& to, char32_t c) {
  switch (c) {
    case '\n': to += "\\n"; return;
    case '\t': to += "\\t"; return;
    case '\r': to += "\\r"; return;
    case '\\': to += "\\\\"; return;
    default: break;
  }
  char text[16];
  std::snprintf(text, sizeof(text), c < 0x80 ? "\\x%02x" : "\\u{%x}", static_cast<unsigned>(c));
  to += text;
}

}  // namespace

Utf8Char FirstChar(std::string_view bytes) { return Next(bytes); }
bool IsUnprintable(char32_t code) { return Unsafe(code); }

bool IsUtf8(std::string_view bytes) {
  bytes.remove_prefix(AsciiPrefix(bytes));
  while (!bytes.empty()) {
    Step step = Next(bytes);
    if (!step.valid) {
      return false;
    }
    bytes.remove_prefix(step.length);
  }
  return true;
}

void AppendUtf8(std::string& to, std::string_view bytes) {
  while (!bytes.empty()) {
    size_t good = AsciiPrefix(bytes);
    Step step{0, true, 0};
    while (good < bytes.size() && (step = Next(bytes.substr(good))).valid) {
      good += step.length;
    }
    to += bytes.substr(0, good);
    bytes.remove_prefix(good);
    if (!bytes.empty()) {
      to += kReplacement;
      bytes.remove_prefix(step.length);
    }
  }
}

std::string ToUtf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  AppendUtf8(text, bytes);
  return text;
}

std::string Printable(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    Step step = Next(bytes);
    if (!step.valid) {
      text += kReplacement;
    } else if (Unsafe(step.code) || step.code == '\\') {
      AppendEscaped(text, step.code);
    } else {
      text += bytes.substr(0, step.length);
    }
    bytes.remove_prefix(step.length);
  }
  return text;
}

}  // namespace moat
