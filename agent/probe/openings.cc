// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/openings.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>

#include "agent/decode/tables/tables.h"

namespace moat::probe {
namespace {

namespace fs = std::filesystem;

std::string FirstLine(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<uint32_t> Number(std::string_view text, int base = 10) {
  uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

// "DeviceFileMinor: 1" of a capability's file.
std::optional<uint32_t> MinorOf(const fs::path& path) {
  constexpr std::string_view kKey = "DeviceFileMinor: ";
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kKey)) {
      return Number(std::string_view(line).substr(kKey.size()));
    }
  }
  return std::nullopt;
}

void FindCapabilities(const fs::path& folder, uint32_t caps_major, std::vector<Opening>& out) {
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; at != end; at.increment(error)) {
    if (error || !at->is_regular_file(error)) {
      continue;
    }
    if (const auto least = MinorOf(at->path()); least && *least < 1u << 20) {
      const std::string name = at->path().lexically_relative(folder);
      out.push_back({caps_major << 20 | *least, MOAT_GPU_NVIDIA_CAPS, tables::CapabilityCategories(name), name,
                     "/dev/nvidia-caps/nvidia-cap" + std::to_string(*least)});
    }
  }
}

// "511:0" of a device's dev.
std::optional<uint32_t> DeviceNumber(const fs::path& path) {
  const std::string text = FirstLine(path);
  const size_t colon = text.find(':');
  if (colon == std::string::npos) {
    return std::nullopt;
  }
  const auto most = Number(std::string_view(text).substr(0, colon)), least = Number(std::string_view(text).substr(colon + 1));
  return most && *most < MOAT_MAX_MAJOR && least && *least < 1u << 20 ? std::optional(*most << 20 | *least) : std::nullopt;
}

// PCI base classes of displays and of processing accelerators, as bpf/lib/pci.bpf.h has them. "0x030200" is a display.
bool IsAccelerator(const fs::path& device) {
  const std::string text = FirstLine(device / "class");
  const auto number = Number(std::string_view(text).substr(std::min<size_t>(text.size(), 2)), 16);
  return number && (*number >> 16 == 0x03 || *number >> 16 == 0x12);
}

// The number of a vfio group's node is not that of the group: /sys/class/vfio/GROUP/dev tells it.
void FindGroups(const fs::path& root, std::vector<Opening>& out) {
  std::error_code error;
  for (const auto& group : fs::directory_iterator(root / "sys/class/vfio", error)) {
    const std::string name = group.path().filename(), number = name.substr(name.rfind('-') + 1);  // "7", "noiommu-7"
    std::vector<std::string> accelerators;
    for (const auto& device : fs::directory_iterator(root / "sys/kernel/iommu_groups" / number / "devices", error)) {
      if (IsAccelerator(device.path())) {
        accelerators.push_back(device.path().filename());
      }
    }
    const auto rdev = DeviceNumber(group.path() / "dev");
    if (accelerators.empty() || !rdev) {
      continue;
    }
    std::ranges::sort(accelerators);
    std::string object;
    for (const std::string& address : accelerators) {
      object += (object.empty() ? "" : ",") + address;
    }
    out.push_back({*rdev, MOAT_GPU_VFIO, MOAT_GPU_RAW_ACCESS, object, "/dev/vfio/" + name});
  }
}

// The newer way, without groups (6.6).
void FindVfioDevices(const fs::path& root, std::vector<Opening>& out) {
  std::error_code error;
  for (const auto& device : fs::directory_iterator(root / "sys/class/vfio-dev", error)) {
    const auto rdev = DeviceNumber(device.path() / "dev");
    if (rdev && IsAccelerator(device.path() / "device")) {
      out.push_back({*rdev, MOAT_GPU_VFIO, MOAT_GPU_RAW_ACCESS, fs::read_symlink(device.path() / "device", error).filename(),
                     "/dev/vfio/devices/" + device.path().filename().string()});
    }
  }
}

}  // namespace

std::vector<Opening> FindOpenings(const std::string& root, uint32_t caps_major) {
  const fs::path from = root.empty() ? "/" : root;
  std::vector<Opening> out;
  if (caps_major != 0) {
    FindCapabilities(from / "proc/driver/nvidia/capabilities", caps_major, out);
    FindCapabilities(from / "proc/driver/nvidia-nvlink/capabilities", caps_major, out);
  }
  FindGroups(from, out);
  FindVfioDevices(from, out);
  std::ranges::sort(out, {}, &Opening::rdev);
  return out;
}

}  // namespace moat::probe
