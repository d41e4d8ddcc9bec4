// SPDX-License-Identifier: Apache-2.0
// Reads one YAML mapping into fields. Each getter leaves its field as it is when the key is absent or wrong, adds a problem when
// wrong, and remembers the key: what nobody asked for is an unknown key, told when the section goes. So the getters are the
// only list of keys there is.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/config/yaml.h"

namespace moat::config {

struct Reading {  // of one file
  std::string file;
  std::vector<Problem>* problems = nullptr;
  std::vector<std::string>* settings = nullptr;  // when set: every key asked for, with its section

  void Complain(const Node& at, std::string message) const;
};

class Section {
 public:
  // node: null is an empty section. name: "api", empty at the top of a file; used in messages.
  Section(const Reading& reading, const Node* node, std::string name);
  ~Section();
  Section(const Section&) = delete;
  Section& operator=(const Section&) = delete;

  // The value, asked for: null when absent. Where the key stands is in it.
  const Node* Child(std::string_view key);
  const Node* Required(std::string_view key);

  void Text(std::string_view key, std::string& field);
  void OneOf(std::string_view key, std::string& field, const std::vector<std::string_view>& allowed);
  void AbsolutePath(std::string_view key, std::string& field);
  void Flag(std::string_view key, bool& field);
  void Number(std::string_view key, uint32_t& field, uint32_t low, uint32_t high);
  // Bytes: "4MiB", "64KiB" or a number; a power of two.
  void Size(std::string_view key, uint32_t& field, uint32_t low, uint32_t high);
  void Each(std::string_view key, const std::function<void(const Node&)>& item);

  const Node& node() const { return node_; }
  void Complain(const Node& at, std::string message) const { reading_.Complain(at, std::move(message)); }
  std::string Path(std::string_view key) const;  // "api.socket"

 private:
  const Node* Scalar(std::string_view key, std::string_view wanted);

  const Reading& reading_;
  const Node& node_;
  const std::string name_;
  std::vector<std::string> asked_;
};

// A value for a message: in quotes, cut at 60 bytes, without control characters.
std::string Quoted(std::string_view text);

// A scalar as an absolute path without "." and ".." parts and control characters; a problem and false when it is not one.
bool CheckPath(const Reading& reading, const Node& node, const std::string& what);

// A scalar as an address to listen on, "127.0.0.1:9464" or "[::1]:9464"; a problem and false when it is not one. Port 0: any.
bool CheckAddress(const Reading& reading, const Node& node, const std::string& what);

}  // namespace moat::config
