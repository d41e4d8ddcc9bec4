// SPDX-License-Identifier: Apache-2.0
// Words for a terminal: colours, sizes, times, tables. Strings from the agent pass Safe() before they are printed: a file name may
// hold control sequences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moat::cli {

enum class Color { kNone, kRed, kGreen, kYellow, kBlue, kMagenta, kCyan, kDim, kBold };
// text in a colour, or as it is when on is false. text is printed as it stands.
std::string Paint(bool on, Color color, std::string_view text);
std::string Safe(std::string_view hostile);
std::string Bytes(uint64_t bytes);  // "4.2 GiB"; below 1 KiB exact: "17 B"
// "KIND_FILE_OPEN" -> "file_open", for any enum of the proto; without a name its number.
std::string EnumWord(const std::string& name, std::string_view prefix, int number);
std::string Hex(uint64_t value);  // "0x2a"
std::string Number(uint64_t number);  // "1,234,567"
std::string Span(uint64_t ns);  // "3d 4h", "5m 12s", "1.2s"
std::string ClockTime(uint64_t unix_ns);  // local "12:34:56.789012"
std::string Rfc3339(uint64_t unix_ns);  // "2026-01-02T03:04:05.123456789Z"
std::string Device(uint32_t rdev);  // "195:0"

// Rows under a header, each column as wide as its widest cell. Cells are plain text; paint only in the last column.
std::string Table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows, bool color);

}  // namespace moat::cli
