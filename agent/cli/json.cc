// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/json.h"

namespace moat::cli {

Json& Json::Value(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  Comma();
  to_ += '"';
  size_t plain = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    auto c = static_cast<unsigned char>(text[i]);
    bool c1 = c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0;  // U+0080 to U+009F
    if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && !c1) {
      continue;
    }
    to_.append(text, plain, i - plain);
    if (c1) {
      c = static_cast<unsigned char>(text[++i]);
    }
    plain = i + 1;
    switch (c) {
      case '"': to_ += "\\\""; break;
      case '\\': to_ += "\\\\"; break;
      case '\n': to_ += "\\n"; break;
      case '\r': to_ += "\\r"; break;
      case '\t': to_ += "\\t"; break;
      default:
        to_ += "\\u00";
        to_ += kHex[c >> 4];
        to_ += kHex[c & 15];
    }
  }
  to_.append(text, plain);
  to_ += '"';
  return *this;
}

}  // namespace moat::cli
