// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/devices.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>

#include "agent/decode/tables/tables.h"
#include "agent/probe/gpu_rows.h"

namespace moat::probe {
namespace {

// Index: enum moat_gpu_class. The same words as in events and moatd.yaml; a test holds them together.
constexpr std::array<const char*, MOAT_GPU_CLASSES> kClassNames = {
    "none", "nvidia", "nvidia-uvm", "nvidia-caps", "nvidia-switch", "nvidia-fs", "gdrdrv",
    "drm",  "accel",  "kfd",        "neuron",      "habanalabs",    "other",     "vfio"};

const std::string kHostRoot = "/proc/1/root";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// Device nodes below /dev of the given majors: their usual names, for people. A container's node may have any other name.
void FindNodes(const std::string& directory, const std::map<uint32_t, moat_gpu_class>& majors, int depth,
               std::vector<ResolvedDevice>& out) {
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) {
    return;
  }
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] == '.') {
      continue;
    }
    struct stat info{};
    if (fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
      continue;
    }
    const std::string path = directory + "/" + entry->d_name;
    if (S_ISDIR(info.st_mode) && depth > 0) {
      FindNodes(path, majors, depth - 1, out);
    } else if (S_ISCHR(info.st_mode)) {
      if (const auto found = majors.find(major(info.st_rdev)); found != majors.end()) {
        out.push_back({major(info.st_rdev) << 20 | minor(info.st_rdev), path, ClassName(found->second), ""});
      }
    }
  }
  closedir(dir);
}

}  // namespace

const char* ClassName(uint32_t class_id) { return class_id < kClassNames.size() ? kClassNames[class_id] : "none"; }

moat_gpu_class ClassFromName(std::string_view name) {
  const auto* found = std::ranges::find(kClassNames, name);
  return found != kClassNames.end() ? static_cast<moat_gpu_class>(found - kClassNames.begin()) : MOAT_GPU_NONE;
}

std::vector<Major> ParseMajors(std::string_view text) {
  std::map<uint32_t, Major> found;
  bool character = false;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (line.ends_with("devices:")) {
      character = line.starts_with("Character");
      continue;
    }
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    const size_t space = line.find(' ');
    uint32_t number = 0;
    const std::string_view digits = line.substr(0, space);
    if (!character || space == std::string_view::npos ||
        std::from_chars(digits.begin(), digits.end(), number).ec != std::errc() || number >= MOAT_MAX_MAJOR) {
      continue;
    }
    const std::string_view name = line.substr(space + 1);
    // Registered numbers by number: the name for 195 has changed (nvidia-frontend until 545).
    for (const tables::Device& device : tables::Devices()) {
      if (device.major == number) {
        found[number] = {number, ClassFromName(device.device_class), std::string(name)};
      } else if (device.major == 0 && device.name == name) {
        found.try_emplace(number, Major{number, ClassFromName(device.device_class), std::string(name)});
      }
    }
  }
  std::vector<Major> out;
  out.reserve(found.size());
  for (auto& [number, major] : found) {
    out.push_back(std::move(major));
  }
  return out;
}

// DRM and accel devices have their majors in common: which driver each is of is known by sysfs.
void Devices::AddDrivers(const std::map<uint32_t, moat_gpu_class>& whole, std::map<uint32_t, moat_major_val>& majors,
                         std::map<uint32_t, uint32_t>& devices) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(root_ + "/sys/dev/char", error)) {
    const std::string name = entry.path().filename();
    uint32_t number = 0, least = 0;
    const auto [colon, bad] = std::from_chars(name.data(), name.data() + name.size(), number);
    const auto found = whole.find(number);
    if (bad != std::errc() || *colon != ':' || found == whole.end() ||
        (found->second != MOAT_GPU_DRM && found->second != MOAT_GPU_ACCEL) ||
        std::from_chars(colon + 1, name.data() + name.size(), least).ec != std::errc()) {
      continue;
    }
    const std::string driver = std::filesystem::read_symlink(entry.path() / "device/driver", error).filename();
    if (const uint32_t id = DriverFromSysfs(driver); id != MOAT_GPU_DRIVER_UNKNOWN) {
      devices[number << 20 | least] = found->second | id << 8;
      majors[number].flags |= MOAT_MAJOR_SOME;
    }
  }
}

// Whether something is not as it was.
bool Devices::Look() {
  std::string now = ReadFile(root_ + "/proc/devices");
  bool changed = !now.empty() && now != proc_devices_;
  if (changed) {
    proc_devices_ = std::move(now);
    found_ = ParseMajors(proc_devices_);
  }
  const auto caps = std::ranges::find(found_, "nvidia-caps", &Major::name);
  std::vector<Opening> openings = FindOpenings(root_, caps != found_.end() ? caps->major : 0);
  if (openings != openings_) {
    openings_ = std::move(openings);
    changed = true;
  }
  return changed;
}

Status Devices::Set(const config::Config& config) {
  (void)Look();
  return Fill(config);
}

void Devices::AddOpenings(std::map<uint32_t, moat_major_val>& majors, std::map<uint32_t, uint32_t>& devices) {
  for (const Opening& opening : openings_) {
    if (opening.class_id == MOAT_GPU_VFIO) {  // of its major, not all are
      majors[opening.rdev >> 20].flags |= MOAT_MAJOR_SOME;
      devices[opening.rdev] = opening.class_id;
    }
    auto known = std::ranges::find(list_, opening.rdev, &ResolvedDevice::rdev);
    if (known == list_.end()) {
      known = list_.insert(known, {opening.rdev, opening.path, ClassName(opening.class_id), ""});
    }
    known->object = opening.object;
  }
}

Status Devices::Fill(const config::Config& config) {
  std::map<uint32_t, moat_major_val> majors;
  std::map<uint32_t, moat_gpu_class> whole;
  std::map<uint32_t, uint32_t> devices;
  for (const Major& found : found_) {
    majors[found.major] = {MOAT_MAJOR_ALL, found.class_id};
    whole[found.major] = found.class_id;
  }
  AddDrivers(whole, majors, devices);
  list_.clear();
  // In a container /dev is its own: what the host's nodes are called, its first process sees.
  FindNodes("/dev", whole, /*depth=*/2, list_);
  std::vector<ResolvedDevice> host;
  FindNodes(kHostRoot + "/dev", whole, /*depth=*/2, host);
  for (ResolvedDevice& device : host) {
    if (std::ranges::find(list_, device.rdev, &ResolvedDevice::rdev) == list_.end()) {
      device.path.erase(0, kHostRoot.size());
      list_.push_back(std::move(device));
    }
  }
  AddOpenings(majors, devices);
  for (const config::Device& device : config.devices) {
    struct stat info{};
    const moat_gpu_class class_id = ClassFromName(device.device_class);
    if (stat(device.path.c_str(), &info) != 0 && stat((kHostRoot + device.path).c_str(), &info) != 0) {
      spdlog::warn("device {}: {}", device.path, std::strerror(errno));
    } else if (!S_ISCHR(info.st_mode) || major(info.st_rdev) >= MOAT_MAX_MAJOR) {
      spdlog::warn("device {}: not a character device with a major below {}", device.path, MOAT_MAX_MAJOR);
    } else if (class_id == MOAT_GPU_NONE) {
      spdlog::warn("device {}: there is no class \"{}\"", device.path, device.device_class);
    } else {
      const uint32_t rdev = major(info.st_rdev) << 20 | minor(info.st_rdev);
      majors[major(info.st_rdev)].flags |= MOAT_MAJOR_SOME;
      devices[rdev] = class_id;
      std::erase_if(list_, [rdev](const ResolvedDevice& known) { return known.rdev == rdev; });
      list_.push_back({rdev, device.path, ClassName(class_id), ""});
    }
  }
  for (const auto& [rdev, class_id] : devices) {
    if (bpf_map_update_elem(devices_fd_, &rdev, &class_id, BPF_ANY) != 0) {
      return FailErrno(errno, "the device map");
    }
  }
  for (const uint32_t number : majors_) {
    majors.try_emplace(number);  // was one, is no longer: flags 0
  }
  majors_.clear();
  for (const auto& [number, value] : majors) {
    if (bpf_map_update_elem(majors_fd_, &number, &value, BPF_ANY) != 0) {
      return FailErrno(errno, "the map of majors");
    }
    majors_.push_back(number);
  }
  // Those that left last: their major no longer leads to them.
  std::vector<uint32_t> gone;
  uint32_t key = 0, *previous = nullptr;
  for (; bpf_map_get_next_key(devices_fd_, previous, &key) == 0; previous = &key) {
    if (!devices.contains(key)) {
      gone.push_back(key);
    }
  }
  for (const uint32_t rdev : gone) {
    (void)bpf_map_delete_elem(devices_fd_, &rdev);
  }
  return {};
}

bool Devices::Refresh(const config::Config& config) {
  const std::vector<Opening> before = openings_;
  if (!Look()) {
    return false;
  }
  if (Status status = Fill(config); !status) {
    spdlog::error("devices: {}", status.error().message);
  }
  return openings_ != before;
}

Status Devices::SetWatch(const std::vector<config::WatchedCommand>& commands) const {
  const auto less = [](const moat_watch_key& a, const moat_watch_key& b) { return std::memcmp(&a, &b, sizeof(a)) < 0; };
  std::set<moat_watch_key, decltype(less)> wanted(less);
  for (const config::WatchedCommand& command : commands) {
    const moat_gpu_class class_id = ClassFromName(command.device_class);
    if (!command.device_class.empty() && class_id == MOAT_GPU_NONE) {
      spdlog::warn("watched command {:#x}: there is no class \"{}\"", command.command, command.device_class);
      continue;
    }
    wanted.insert({static_cast<uint32_t>(class_id), command.command, command.whole ? 1u : 0u, 0});
  }
  std::vector<moat_watch_key> gone;
  moat_watch_key key{}, *previous = nullptr;
  for (; bpf_map_get_next_key(watch_fd_, previous, &key) == 0; previous = &key) {
    if (!wanted.contains(key)) {
      gone.push_back(key);
    }
  }
  for (const moat_watch_key& old : gone) {
    (void)bpf_map_delete_elem(watch_fd_, &old);
  }
  const uint32_t one = 1;
  for (const moat_watch_key& command : wanted) {
    if (bpf_map_update_elem(watch_fd_, &command, &one, BPF_ANY) != 0) {
      return FailErrno(errno, "the map of watched commands");
    }
  }
  return {};
}

}  // namespace moat::probe
