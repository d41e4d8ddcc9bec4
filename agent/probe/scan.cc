// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/scan.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "agent/base/fd.h"

namespace moat::probe {
namespace {

Result<std::vector<moat_exec>> Read(bpf_program* program, uint32_t pid) {
  LIBBPF_OPTS(bpf_iter_attach_opts, options);
  bpf_iter_link_info only{};
  if (pid != 0) {
    only.task.pid = pid;
    options.link_info = &only;
    options.link_info_len = sizeof(only);
  }
  bpf_link* link = bpf_program__attach_iter(program, &options);
  if (link == nullptr) {
    return FailErrno(errno, "attach the task iterator");
  }
  Fd file(bpf_iter_create(bpf_link__fd(link)));
  bpf_link__destroy(link);
  if (!file) {
    return FailErrno(errno, "open the task iterator");
  }
  std::vector<moat_exec> records;
  std::vector<char> bytes(64 * sizeof(moat_exec));
  size_t have = 0;
  for (;;) {
    const ssize_t got = read(file.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return FailErrno(errno, "read the task iterator");
    }
    if (got == 0) {
      return records;
    }
    have += static_cast<size_t>(got);
    size_t at = 0;
    for (; have - at >= sizeof(moat_exec); at += sizeof(moat_exec)) {
      std::memcpy(&records.emplace_back(), bytes.data() + at, sizeof(moat_exec));
    }
    std::memmove(bytes.data(), bytes.data() + at, have - at);
    have -= at;
  }
}

}  // namespace

Result<std::vector<moat_exec>> ScanProcesses(bpf_program* program) {
  MOAT_ASSIGN(std::vector<moat_exec> records, Read(program, 0));
  // A parent is older than its children: also one that took over orphans, since that must be an ancestor.
  std::ranges::sort(records, {}, [](const moat_exec& r) { return std::tuple(r.hdr.start_ns, r.hdr.pid); });
  return records;
}

std::optional<moat_exec> ScanProcess(bpf_program* program, uint32_t pid) {
  if (program == nullptr || pid == 0) {
    return std::nullopt;
  }
  auto records = Read(program, pid);
  if (!records || records->empty() || records->front().hdr.pid != pid) {
    return std::nullopt;
  }
  return records->front();
}

}  // namespace moat::probe
