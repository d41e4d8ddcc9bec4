// SPDX-License-Identifier: Apache-2.0
// Appends JSON to a string: at hundreds of thousands of events a second a tree of values is what costs. Strings must be valid
// UTF-8 (the agent sends no other); every control character is escaped, so that a line of JSON is safe on a terminal too.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace moat::cli {

class Json {
 public:
  explicit Json(std::string& to) : to_(to) {}

  Json& Open(char bracket) {
    to_ += bracket;
    first_ = true;
    return *this;
  }
  Json& Close(char bracket) {
    to_ += bracket;
    first_ = false;
    return *this;
  }
  Json& Key(std::string_view key) {
    Comma();
    (to_ += '"').append(key).append("\":");
    first_ = true;
    return *this;
  }
  Json& Value(std::string_view text);
  Json& Value(const std::string& text) { return Value(std::string_view(text)); }
  Json& Value(const char* text) { return Value(std::string_view(text)); }
  Json& Value(bool value) { return Raw(value ? "true" : "false"); }
  Json& Value(std::integral auto value) { return Raw(std::to_string(value)); }
  Json& Raw(std::string_view json) {
    Comma();
    to_.append(json);
    return *this;
  }
  template <typename T>
  Json& Field(std::string_view key, const T& value) {
    return Key(key).Value(value);
  }
  template <typename List>
  Json& Strings(std::string_view key, const List& list) {
    Key(key).Open('[');
    for (const auto& value : list) {
      Value(value);
    }
    return Close(']');
  }

 private:
  void Comma() {
    if (!first_) {
      to_ += ',';
    }
    first_ = false;
  }

  std::string& to_;
  bool first_ = true;
};

}  // namespace moat::cli
