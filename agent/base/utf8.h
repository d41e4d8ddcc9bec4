// SPDX-License-Identifier: Apache-2.0
// Bytes that anyone may have chosen (names, arguments, paths) made fit for protobuf strings and for terminals.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace moat {

// Well-formed by RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(std::string_view bytes);

// Valid UTF-8: each maximal part of a broken sequence becomes one U+FFFD, as the Unicode standard recommends. Valid text is
// untouched, control characters included. The Append form serves hot paths that own a buffer.
std::string ToUtf8(std::string_view bytes);
void AppendUtf8(std::string& to, std::string_view bytes);

// For one line of a terminal: valid UTF-8 in which nothing moves the cursor, changes colours, starts a line or turns the reading
// direction: control characters (C0, DEL, C1), line and paragraph separators, and direction and invisible format characters are
// written as "\n", "\t", "\r", "\\", "\xNN" (bytes below 0x80) or "\u{NNNN}".
std::string Printable(std::string_view bytes);

// One character at the beginning of bytes that are not empty, or the maximal part of a broken one.
struct Utf8Char {
  size_t length;  // bytes used, at least one
  bool valid;
  char32_t code;
};
Utf8Char FirstChar(std::string_view bytes);
// What Printable() escapes, but for the backslash.
bool IsUnprintable(char32_t code);

}  // namespace moat
