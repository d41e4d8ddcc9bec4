// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/drivers.h"

#include <linux/netlink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

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
  std::ifstream devices("/proc/devices"), modules("/proc/modules");
  std::string text(std::istreambuf_iterator<char>(devices), {});
  uint32_t loaded = 0;
  for (const Major& major : ParseMajors(text)) {
    loaded |= 1u << major.class_id;
  }
  // Name, size, users, by whom, state and address: the last two tell one loading from the next, and from one that is not done yet.
  for (std::string line; std::getline(modules, line);) {
    std::istringstream words(line);
    std::string name, skipped, state, address;
    words >> name >> skipped >> skipped >> skipped >> state >> address;
    text += name + ' ' + state + ' ' + address + '\n';
  }
  loaded_ = loaded;
  return std::exchange(seen_, text) != text;
}

}  // namespace moat::probe
