// SPDX-License-Identifier: Apache-2.0
#include "agent/app/names.h"

#include <utility>

namespace moat::app {

std::shared_ptr<const event::Names> MakeNames(const probe::Probe& probe, const Policies* policies) {
  auto names = std::make_shared<event::Names>();
  for (const probe::ResolvedAsset& asset : probe.Assets()) {
    if (asset.id >= event::kMaxAssets) {
      continue;
    }
    if (asset.id >= names->assets.size()) {
      names->assets.resize(asset.id + 1);
    }
    names->assets[asset.id] = {asset.name, asset.asset_class, asset.bytes};
    names->canaries |= uint64_t{asset.asset_class == "canary"} << asset.id;
    for (const probe::ResolvedAsset::File& file : asset.files) {
      names->paths.try_emplace({file.dev, file.inode}, file.path);
    }
  }
  for (probe::ResolvedDevice& device : probe.Devices()) {
    if (!device.object.empty()) {
      names->opens.try_emplace(device.rdev, std::move(device.object));
    }
    names->devices.try_emplace(device.rdev, std::move(device.path));
  }
  if (policies != nullptr) {
    names->rules = policies->RuleNames();
  }
  return names;
}

}  // namespace moat::app
