// SPDX-License-Identifier: Apache-2.0
#include "agent/config/section.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "agent/base/strings.h"

namespace moat::config {
namespace {

const Node kAbsent;

// Decimal or 0x..., the whole text.
bool ParseNumber(std::string_view text, uint64_t& number) {
  const bool hex = text.starts_with("0x");
  const std::string_view digits = hex ? text.substr(2) : text;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, hex ? 16 : 10);
  return error == std::errc() && end == digits.data() + digits.size() && !digits.empty();
}

}  // namespace

std::string Quoted(std::string_view text) {
  constexpr size_t kLongest = 60;  // a hostile value must not fill the terminal
  std::string out = "\"";
  for (const char c : text.substr(0, kLongest)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return out + (text.size() > kLongest ? "...\"" : "\"");
}

void Reading::Complain(const Node& at, std::string message) const {
  problems->push_back({file, at.line, at.column, std::move(message)});
}

bool CheckPath(const Reading& reading, const Node& node, const std::string& what) {
  if (node.type != Node::Type::kScalar || node.value.empty()) {
    reading.Complain(node, what + " must be a path");
    return false;
  }
  const std::string& path = node.value;
  if (path[0] != '/') {
    reading.Complain(node, what + " must be an absolute path, not " + Quoted(path));
    return false;
  }
  if (path.size() > 4095 || std::any_of(path.begin(), path.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; })) {
    reading.Complain(node, what + " is too long for a path or has control characters");
    return false;
  }
  const std::string walked = path + "/";
  if (walked.find("/./") != std::string::npos || walked.find("/../") != std::string::npos) {
    reading.Complain(node, what + " must not contain \".\" or \"..\": " + Quoted(path));
    return false;
  }
  return true;
}

bool CheckAddress(const Reading& reading, const Node& node, const std::string& what) {
  const std::string_view text = node.type == Node::Type::kScalar ? std::string_view(node.value) : std::string_view();
  const size_t colon = text.rfind(':');
  const bool v6 = text.starts_with('[');
  std::string host(text.substr(0, colon == std::string_view::npos ? 0 : colon));
  if (v6) {
    host = host.ends_with(']') ? host.substr(1, host.size() - 2) : "";
  }
  in6_addr unused{};
  uint64_t port = 0;
  if (colon == std::string_view::npos || inet_pton(v6 ? AF_INET6 : AF_INET, host.c_str(), &unused) != 1 ||
      !ParseNumber(text.substr(colon + 1), port) || port > 65535 || text.substr(colon + 1).starts_with("0x")) {
    reading.Complain(node, what + " must be an address and a port, as 127.0.0.1:9464 or \"[::1]:9464\", not " + Quoted(text));
    return false;
  }
  return true;
}

Section::Section(const Reading& reading, const Node* node, std::string name)
    : reading_(reading), node_(node ? *node : kAbsent), name_(std::move(name)) {
  if (node_.type == Node::Type::kScalar || node_.type == Node::Type::kList) {
    Complain(node_, (name_.empty() ? std::string("the file") : name_) + " must be a mapping (key: value)");
  }
}

Section::~Section() {
  if (node_.type != Node::Type::kMap) {
    return;
  }
  for (size_t i = 0; i + 1 < node_.items.size(); i += 2) {
    const Node& key = node_.items[i];
    if (key.type != Node::Type::kScalar || std::find(asked_.begin(), asked_.end(), key.value) != asked_.end()) {
      continue;
    }
    std::string message = "unknown key " + Quoted(key.value) + (name_.empty() ? "" : " in " + name_);
    const std::vector<std::string_view> known_keys(asked_.begin(), asked_.end());
    if (const std::string hint = DidYouMean(key.value, known_keys); !hint.empty()) {
      message += hint;
    } else {
      message += "; known keys: ";
      for (const std::string& known : asked_) {
        message += (&known == asked_.data() ? "" : ", ") + known;
      }
    }
    Complain(key, std::move(message));
  }
}

std::string Section::Path(std::string_view key) const { return (name_.empty() ? "" : name_ + ".") + std::string(key); }

const Node* Section::Child(std::string_view key) {
  if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
    asked_.emplace_back(key);
    if (reading_.settings) {
      reading_.settings->push_back(Path(key));
    }
  }
  for (size_t i = 0; node_.type == Node::Type::kMap && i + 1 < node_.items.size(); i += 2) {
    if (node_.items[i].type == Node::Type::kScalar && node_.items[i].value == key) {
      return &node_.items[i + 1];
    }
  }
  return nullptr;
}

const Node* Section::Required(std::string_view key) {
  const Node* child = Child(key);
  if (!child) {
    Complain(node_, "\"" + Path(key) + "\" is missing");
  }
  return child;
}

const Node* Section::Scalar(std::string_view key, std::string_view wanted) {
  const Node* child = Child(key);
  if (child && child->type != Node::Type::kScalar) {
    Complain(*child, Path(key) + " must be " + std::string(wanted));
    return nullptr;
  }
  return child;
}

void Section::Text(std::string_view key, std::string& field) {
  if (const Node* child = Scalar(key, "a text")) {
    field = child->value;
  }
}

void Section::OneOf(std::string_view key, std::string& field, const std::vector<std::string_view>& allowed) {
  std::string list;
  for (const std::string_view word : allowed) {
    list += (list.empty() ? "" : ", ") + std::string(word);
  }
  const Node* child = Scalar(key, "one of " + list);
  if (!child) {
    return;
  }
  if (std::find(allowed.begin(), allowed.end(), child->value) == allowed.end()) {
    Complain(*child, Path(key) + " must be one of " + list + ", not " + Quoted(child->value) + DidYouMean(child->value, allowed));
    return;
  }
  field = child->value;
}

void Section::AbsolutePath(std::string_view key, std::string& field) {
  const Node* child = Child(key);
  if (child && CheckPath(reading_, *child, Path(key))) {
    field = child->value;
  }
}

void Section::Flag(std::string_view key, bool& field) {
  const Node* child = Scalar(key, "true or false");
  if (!child) {
    return;
  }
  if (!child->plain || (child->value != "true" && child->value != "false")) {
    Complain(*child, Path(key) + " must be true or false, not " + Quoted(child->value));
    return;
  }
  field = child->value == "true";
}

void Section::Number(std::string_view key, uint32_t& field, uint32_t low, uint32_t high) {
  const std::string wanted = "a number from " + std::to_string(low) + " to " + std::to_string(high);
  const Node* child = Scalar(key, wanted);
  if (!child) {
    return;
  }
  uint64_t number = 0;
  if (!child->plain || !ParseNumber(child->value, number) || number < low || number > high) {
    Complain(*child, Path(key) + " must be " + wanted + ", not " + Quoted(child->value));
    return;
  }
  field = static_cast<uint32_t>(number);
}

void Section::Size(std::string_view key, uint32_t& field, uint32_t low, uint32_t high) {
  const Node* child = Scalar(key, "a size, as \"4MiB\"");
  if (!child) {
    return;
  }
  std::string_view digits = child->value;
  uint64_t unit = 1;
  for (const auto& [suffix, factor] :
       {std::pair<std::string_view, uint64_t>{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}) {
    if (digits.ends_with(suffix)) {
      digits.remove_suffix(suffix.size());
      unit = factor;
      break;
    }
  }
  uint64_t number = 0;
  if (!ParseNumber(digits, number) || number > high / unit || number * unit < low) {
    Complain(*child, Path(key) + " must be a size from " + std::to_string(low) + " to " + std::to_string(high) +
                         " bytes, as \"4MiB\", not " + Quoted(child->value));
    return;
  }
  number *= unit;
  if ((number & (number - 1)) != 0) {
    Complain(*child, Path(key) + " must be a power of two, as 64KiB or 4MiB; " + Quoted(child->value) + " is not");
    return;
  }
  field = static_cast<uint32_t>(number);
}

void Section::Each(std::string_view key, const std::function<void(const Node&)>& item) {
  const Node* child = Child(key);
  if (!child || child->type == Node::Type::kNull) {
    return;
  }
  if (child->type != Node::Type::kList) {
    Complain(*child, Path(key) + " must be a list");
    return;
  }
  for (const Node& node : child->items) {
    item(node);
  }
}

}  // namespace moat::config
