// SPDX-License-Identifier: Apache-2.0
// Which asset has which bit of a label. A name keeps its bit while this agent runs: processes hold it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "agent/base/error.h"
#include "agent/config/config.h"

namespace moat::app {

// One thread at a time.
class LabelBits {
 public:
  explicit LabelBits(std::vector<std::string> names = {}) : names_(std::move(names)) {}

  // By bit. A bit is given away only when all others are taken.
  Result<std::vector<config::Asset>> Place(std::vector<config::Asset> assets);
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;
};

}  // namespace moat::app
