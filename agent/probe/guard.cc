// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/guard.h"

#include <bpf/bpf.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "agent/base/fd.h"
#include "bpf/abi/guard.h"

namespace moat::probe {
namespace {

namespace fs = std::filesystem;

constexpr ino_t kHostPidNs = 0xeffffffc;  // PROC_PID_INIT_INO, include/linux/proc_ns.h

// What is pinned there: a map, or a link and its program.
std::vector<moat_guard_key> KeysOf(const fs::directory_entry& entry) {
  const std::string name = entry.path().filename();
  const Fd object(bpf_obj_get(entry.path().c_str()));
  union {
    bpf_map_info map;
    bpf_link_info link;
  } info{};
  uint32_t length = sizeof(info);
  if (!object || bpf_obj_get_info_by_fd(object.get(), &info, &length) != 0) {
    return {};
  }
  if (name.starts_with("map_")) {
    return {{.number = info.map.id, .kind = MOAT_GUARD_MAP, .dev = 0}};
  }
  return {{.number = info.link.id, .kind = MOAT_GUARD_LINK, .dev = 0},
          {.number = info.link.prog_id, .kind = MOAT_GUARD_PROG, .dev = 0}};
}

std::vector<moat_guard_key> Rows(int map) {
  std::vector<moat_guard_key> rows;
  moat_guard_key key{}, next{};
  for (const moat_guard_key* at = nullptr; bpf_map_get_next_key(map, at, &next) == 0; at = &key) {
    key = next;
    rows.push_back(key);
  }
  return rows;
}

}  // namespace

Status Guard(const Pins& pins, const Domain& enforce, const SharedMaps& maps) {
  struct stat own{};
  if (stat("/proc/self/ns/pid", &own) != 0 || own.st_ino != kHostPidNs) {
    return Fail(Code::kFailedPrecondition, "moatd is not in the host's pid namespace (of a pod: hostPID: true)");
  }
  std::vector<moat_guard_key> keys;
  const fs::path scope = pins.path();
  for (const fs::path& directory : {scope, scope.parent_path()}) {
    struct stat info{};
    if (stat(directory.c_str(), &info) != 0) {
      return FailErrno(errno, "look at " + directory.string());
    }
    const uint32_t dev = major(info.st_dev) << 20 | minor(info.st_dev);
    keys.push_back({.number = info.st_ino, .kind = MOAT_GUARD_DIR, .dev = dev});
    keys.push_back({.number = 0, .kind = MOAT_GUARD_FS, .dev = dev});
  }
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(scope, error)) {
    for (const moat_guard_key& key : KeysOf(entry)) {
      keys.push_back(key);
    }
  }
  const int map = enforce.MapFd("moat_pol_guarded");
  for (const moat_guard_key& old : Rows(map)) {
    (void)bpf_map_delete_elem(map, &old);
  }
  const uint32_t yes = 1;
  for (const moat_guard_key& key : keys) {
    if (bpf_map_update_elem(map, &key, &yes, BPF_ANY) != 0) {
      return FailErrno(errno, "write the table of what is guarded");
    }
  }
  __atomic_store_n(&maps.control()->guard_pid_ns, static_cast<uint32_t>(own.st_ino), __ATOMIC_RELEASE);
  return {};
}

}  // namespace moat::probe
