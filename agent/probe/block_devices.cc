// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/block_devices.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <system_error>
#include <vector>

#include "bpf/abi/file.h"

namespace moat::probe {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxDevices = 64;  // of one file system

// "8:1\n" as the kernel keeps it; 0: not such a line.
uint32_t ParseNumber(const fs::path& path) {
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  const size_t colon = text.find(':');
  uint32_t major = 0, minor = 0;
  if (colon == std::string::npos || std::from_chars(text.data(), text.data() + colon, major).ec != std::errc() ||
      std::from_chars(text.data() + colon + 1, text.data() + text.size(), minor).ec != std::errc()) {
    return 0;
  }
  return major << 20 | minor;
}

void Collect(const fs::path& device, std::set<uint32_t>& out) {
  const uint32_t number = ParseNumber(device / "dev");
  if (number == 0 || out.size() >= kMaxDevices || !out.insert(number).second) {
    return;
  }
  std::error_code error;
  if (fs::exists(device / "partition", error)) {
    Collect(device.parent_path(), out);
  }
  for (const auto& part : fs::directory_iterator(device / "slaves", error)) {
    if (const fs::path real = fs::canonical(part.path(), error); !error) {
      Collect(real, out);
    }
  }
}

}  // namespace

std::set<uint32_t> BlockDevicesUnder(uint32_t dev, const std::string& sys) {
  std::set<uint32_t> out;
  std::error_code error;
  const fs::path link = sys + "/dev/block/" + std::to_string(dev >> 20) + ":" + std::to_string(dev & 0xfffff);
  if (const fs::path device = fs::canonical(link, error); !error) {
    Collect(device, out);
  }
  return out;
}

Status SetBlockDevices(int map_fd, std::span<const ResolvedAsset> assets) {
  std::map<uint32_t, std::set<uint32_t>> under;  // asked once per file system
  std::map<uint32_t, moat_block_val> wanted;
  for (const ResolvedAsset& asset : assets) {
    for (const auto& file : asset.files) {
      const auto [devices, fresh] = under.try_emplace(file.dev);
      if (fresh) {
        devices->second = BlockDevicesUnder(file.dev);
      }
      for (const uint32_t device : devices->second) {
        moat_block_val& value =
            wanted.try_emplace(device, moat_block_val{.labels = 0, .asset = asset.id, .pad = 0}).first->second;
        value.labels |= uint64_t{1} << (asset.id & 63);
      }
    }
  }
  std::vector<uint32_t> gone;
  uint32_t key = 0;
  for (const uint32_t* previous = nullptr; bpf_map_get_next_key(map_fd, previous, &key) == 0; previous = &key) {
    if (!wanted.contains(key)) {
      gone.push_back(key);
    }
  }
  for (const uint32_t device : gone) {
    (void)bpf_map_delete_elem(map_fd, &device);
  }
  for (const auto& [device, value] : wanted) {
    if (bpf_map_update_elem(map_fd, &device, &value, BPF_ANY) != 0) {
      return FailErrno(errno, "the block device map");
    }
  }
  return {};
}

}  // namespace moat::probe
