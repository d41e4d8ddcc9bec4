// SPDX-License-Identifier: Apache-2.0
#include "agent/app/label_bits.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace moat::app {

Result<std::vector<config::Asset>> LabelBits::Place(std::vector<config::Asset> assets) {
  std::vector<std::string> names = names_;
  const auto bit_of = [&names](const std::string& name) {
    return static_cast<size_t>(std::ranges::find(names, name) - names.begin());
  };
  for (const config::Asset& asset : assets) {
    if (bit_of(asset.name) < names.size()) {
      continue;
    }
    if (names.size() < config::kMaxAssets) {
      names.push_back(asset.name);
      continue;
    }
    const auto unused = std::ranges::find_if(
        names, [&](const std::string& name) { return std::ranges::find(assets, name, &config::Asset::name) == assets.end(); });
    if (unused == names.end()) {
      return Fail(Code::kResourceExhausted, "more than " + std::to_string(config::kMaxAssets) + " assets");
    }
    spdlog::warn("asset {} takes the label of {}, which is no asset any more: who holds that one is taken to hold this one",
                 asset.name, *unused);
    *unused = asset.name;
  }
  std::vector<config::Asset> placed(names.size());
  for (size_t bit = 0; bit < names.size(); ++bit) {
    placed[bit].name = names[bit];  // of one that is gone: no paths, but those who hold it have a name for it
  }
  for (config::Asset& asset : assets) {
    placed[bit_of(asset.name)] = std::move(asset);
  }
  names_ = std::move(names);
  return placed;
}

}  // namespace moat::app
