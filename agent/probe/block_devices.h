// SPDX-License-Identifier: Apache-2.0
// The block devices under a file system: who reads one of them has the bytes of every file on it, without opening any.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>

#include "agent/base/error.h"
#include "agent/probe/probe.h"

namespace moat::probe {

// Device numbers (major << 20 | minor) of the device that `dev` (a super block's s_dev) names and of all it is made of: the disk of a
// partition, the parts of a RAID or a logical volume. Read from sysfs below `sys` ("/sys"). Empty: the file system lies on none (tmpfs,
// overlay, nfs), or it does not say on which (btrfs).
std::set<uint32_t> BlockDevicesUnder(uint32_t dev, const std::string& sys = "/sys");

// Makes the map hold exactly the devices under these assets. map_fd: moat_blocks.
Status SetBlockDevices(int map_fd, std::span<const ResolvedAsset> assets);

}  // namespace moat::probe
