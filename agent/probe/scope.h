// SPDX-License-Identifier: Apache-2.0
// Whether a process that user space met is in scope; the kernel side asks bpf_current_task_under_cgroup.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace moat::probe {

// Path of a process's cgroup below the cgroup2 mount ("/kubepods.slice/..."); empty: it is gone.
std::string CgroupOf(uint32_t pid);

// Whether a cgroup path is scope or below it. scope "host" or "/": everything is.
bool InScope(std::string_view path, std::string_view scope);

}  // namespace moat::probe
