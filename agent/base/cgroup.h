// SPDX-License-Identifier: Apache-2.0
// Cgroup v2 from user space: where it is mounted, and numbers <-> paths. A cgroup's id, as BPF and events have it, is the inode
// number of its directory. Paths are relative to the mount and begin with '/'.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "agent/base/error.h"

namespace moat {

struct Cgroup2Mount {
  std::string path;  // "/sys/fs/cgroup", "/sys/fs/cgroup/unified", ...
  // Which cgroup is mounted there, as seen from this process's cgroup namespace: "/" is the whole tree on a host, and the container's own
  // part in a container, where the whole tree is "/../..".
  std::string root;
};

// Finds it in the text of a mountinfo file; of several the one that shows most, else the first.
Result<Cgroup2Mount> ParseCgroup2Mount(std::string_view mountinfo);
// The same for this process (/proc/self/mountinfo).
Result<Cgroup2Mount> FindCgroup2Mount();

// False: what is mounted there is a part of the tree, and all beside it stays unseen.
bool ShowsWholeTree(const Cgroup2Mount& mount);

Result<uint64_t> CgroupId(const Cgroup2Mount& mount, std::string_view path);

// The path of one cgroup by its id through a file handle: no walk, but CAP_DAC_READ_SEARCH in the initial user namespace is
// needed (kPermissionDenied). kNotFound: there is no such cgroup (any more).
Result<std::string> CgroupPath(const Cgroup2Mount& mount, uint64_t id);

// The path of a process's cgroup below the mount, also from within a cgroup namespace. kNotFound: there is no such process, or it has none.
Result<std::string> CgroupOfProcess(uint32_t pid);

// Calls visit(id, path) for each cgroup below the mount, parents first; false from visit ends the walk. At most `limit` visits;
// symbolic links are not followed, and what vanishes meanwhile is passed over.
void WalkCgroups(const Cgroup2Mount& mount, size_t limit, const std::function<bool(uint64_t id, const std::string& path)>& visit);

}  // namespace moat
