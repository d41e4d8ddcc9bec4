// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/drivers.h"

#include <linux/netlink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "agent/probe/devices.h"

namespace moat::probe {

Drivers::Drivers() {
  Fd notices(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1;  // the kernel's own; 2 are those of udev
  if (!notices || bind(notices.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    spdlog::info("drivers that are loaded later are noticed within a second: no notices of the kernel ({})",
                 std::strerror(errno));
    return;
  }
  notices_ = std::move(notices);
}

bool Drivers::Stirred() {
  bool any = false;
  char notice[64];  // what it says does not matter: everything is looked at
  while (notices_ && (recv(notices_.get(), notice, sizeof(notice), MSG_DONTWAIT | MSG_TRUNC) >= 0 || errno == ENOBUFS)) {
    any = true;
  }
  return any;
}

bool Drivers::Changed() {
  std::ifstream file("/proc/devices"), lines("/proc/modules");
  const bool first = devices_.empty();
  std::string devices(std::istreambuf_iterator<char>(file), {});
  loaded_ = 0;
  for (const Major& major : ParseMajors(devices)) {
    loaded_ |= 1u << major.class_id;
  }
  // Name, size, users, by whom, state and address. Those that are done loading: only then their functions can be had.
  std::set<std::string> modules;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name, skipped, state, address;
    words >> name >> skipped >> skipped >> skipped >> state >> address;
    if (state == "Live") {
      modules.insert(name.append(" ").append(address));
    }
  }
  gone_ = first || !std::ranges::includes(modules, modules_);
  const bool changed = first || devices != devices_ || modules != modules_;
  devices_ = std::move(devices);
  modules_ = std::move(modules);
  return changed;
}

}  // namespace moat::probe
