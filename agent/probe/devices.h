// SPDX-License-Identifier: Apache-2.0
// Which device numbers are accelerators: fixed majors, names in /proc/devices, and those of the configuration.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/base/error.h"
#include "agent/config/config.h"
#include "agent/probe/openings.h"
#include "agent/probe/probe.h"
#include "bpf/abi/gpu.h"

namespace moat::probe {

// "nvidia", "nvidia-uvm", ...; MOAT_GPU_NONE: no such class.
moat_gpu_class ClassFromName(std::string_view name);
const char* ClassName(uint32_t class_id);

// A major all of whose minors are accelerators.
struct Major {
  uint32_t major = 0;
  moat_gpu_class class_id = MOAT_GPU_NONE;
  std::string name;
};
// From the text of /proc/devices: character devices only, by number for 195, 226 and 261, by name for the others.
std::vector<Major> ParseMajors(std::string_view text);

// The caller serialises.
class Devices {
 public:
  // root: in place of "/" for /proc and /sys.
  Devices(int majors_fd, int devices_fd, int watch_fd, std::string root)
      : majors_fd_(majors_fd), devices_fd_(devices_fd), watch_fd_(watch_fd), root_(std::move(root)) {}

  // Fills the maps. Problems (a configured path that is no character device, ...) are logged and the rest goes on.
  Status Set(const config::Config& config);
  // Looks again (a driver may have been loaded, a GPU given to vfio) and, when something changed, fills the maps anew. Cheap otherwise.
  // True: what opening devices means has changed.
  bool Refresh(const config::Config& config);
  // Fills the watch map; the caller raises control->watch_epoch afterwards.
  Status SetWatch(const std::vector<config::WatchedCommand>& commands) const;

  const std::vector<ResolvedDevice>& list() const { return list_; }
  const std::vector<Opening>& openings() const { return openings_; }

 private:
  bool Look();
  Status Fill(const config::Config& config);
  void AddOpenings(std::map<uint32_t, moat_major_val>& majors, std::map<uint32_t, uint32_t>& devices);
  void AddDrivers(const std::map<uint32_t, moat_gpu_class>& whole, std::map<uint32_t, moat_major_val>& majors,
                  std::map<uint32_t, uint32_t>& devices);
  int majors_fd_, devices_fd_, watch_fd_;
  const std::string root_;
  std::string proc_devices_;
  std::vector<Major> found_;  // as proc_devices_ has them
  std::vector<Opening> openings_;
  std::vector<uint32_t> majors_;  // written to the map so far
  std::vector<ResolvedDevice> list_;
};

}  // namespace moat::probe
