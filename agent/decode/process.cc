// SPDX-License-Identifier: Apache-2.0
// Process life: fork, exec, exit, scan.
#include <memory>

#include "agent/decode/domain.h"
#include "bpf/abi/access.h"
#include "bpf/abi/privilege.h"
#include "bpf/abi/process.h"

namespace moat::decode {

static_assert(event::kExecMemfd == MOAT_EXEC_MEMFD && event::kExecDeleted == MOAT_EXEC_DELETED);
static_assert(event::kExecArgvTruncated == MOAT_EXEC_ARGV_TRUNCATED && event::kExecPathTruncated == MOAT_EXEC_PATH_TRUNCATED);
static_assert(event::kExecArgvUnreadable == MOAT_EXEC_ARGV_UNREADABLE && event::kExecSetuid == MOAT_EXEC_SETUID);
static_assert(event::kExecStdinSocket == MOAT_EXEC_STDIN_SOCKET && event::kExecStdoutSocket == MOAT_EXEC_STDOUT_SOCKET);
static_assert(event::kExecStderrSocket == MOAT_EXEC_STDERR_SOCKET && event::kExecStdioSocket == MOAT_EXEC_STDIO_SOCKET);
static_assert(event::kExecStdioInet == MOAT_EXEC_STDIO_INET && event::kExecTty == MOAT_EXEC_TTY);
static_assert(event::kExecPreload == MOAT_EXEC_PRELOAD && event::kExecAudit == MOAT_EXEC_AUDIT);
static_assert(event::kExecLibraryPath == MOAT_EXEC_LIBRARY_PATH && event::kExecEnvTruncated == MOAT_EXEC_ENV_TRUNCATED);
static_assert(event::kExecEnvUnreadable == MOAT_EXEC_ENV_UNREADABLE);
static_assert(static_cast<int>(event::AccessOp::kAttach) == MOAT_ACCESS_ATTACH);
static_assert(static_cast<int>(event::AccessOp::kMemRead) == MOAT_ACCESS_MEM_READ);
static_assert(static_cast<int>(event::AccessOp::kCount) == MOAT_ACCESS_COUNT);
static_assert(static_cast<int>(event::PrivilegeOp::kSetns) == MOAT_PRIVILEGE_SETNS);
static_assert(static_cast<int>(event::PrivilegeOp::kFsopen) == MOAT_PRIVILEGE_FSOPEN);
static_assert(static_cast<int>(event::PrivilegeOp::kCount) == MOAT_PRIVILEGE_COUNT);
static_assert(sizeof(event::Privilege::target.bytes) == MOAT_PRIVILEGE_TARGET_LEN);
static_assert(sizeof(event::Privilege::source.bytes) == MOAT_PRIVILEGE_SOURCE_LEN);
static_assert(sizeof(event::Privilege::type.bytes) == MOAT_PRIVILEGE_TYPE_LEN);

namespace {

// Names, NUL-separated, innermost first -> a path. The root of a mount is a name "/", an empty one says nothing: both are passed
// over. A path whose outer part was cut has no leading '/', so that it never passes for an absolute one.
std::string JoinPath(std::string_view names, uint32_t exec_flags) {
  std::string path;
  path.reserve(names.size() + 16);
  size_t end = names.size();
  while (end > 0) {
    size_t nul = names.rfind('\0', end - 1);
    size_t begin = nul == std::string_view::npos ? 0 : nul + 1;
    std::string_view name = names.substr(begin, end - begin);
    if (!name.empty() && name != "/") {
      if (!path.empty() || !(exec_flags & MOAT_EXEC_PATH_TRUNCATED)) {
        path += '/';
      }
      path += name;
    }
    if (begin == 0) {
      break;
    }
    end = begin - 1;
  }
  if (exec_flags & MOAT_EXEC_MEMFD) {
    path += " (deleted)";  // as /proc/PID/exe has it: "/memfd:name (deleted)"; a memfd never had a link
  }
  return path;
}

// Arguments as they lie in the new stack: each ends with a NUL, an empty one is an argument too. The last has no NUL when cut.
std::vector<std::string> SplitArgs(std::string_view bytes) {
  std::vector<std::string> args;
  while (!bytes.empty()) {
    size_t nul = bytes.find('\0');
    args.emplace_back(bytes.substr(0, nul));
    if (nul == std::string_view::npos) {
      break;
    }
    bytes.remove_prefix(nul + 1);
  }
  return args;
}

std::string_view Chars(const std::byte* from, size_t size) { return {reinterpret_cast<const char*>(from), size}; }

}  // namespace

Outcome DecodeFork(const std::byte* record, event::Event& out) {
  Body<event::Fork>(out).child = {MOAT_FIELD(record, moat_fork, child_pid), MOAT_FIELD(record, moat_fork, child_start_ns)};
  return Outcome::kOk;
}

Outcome DecodeExec(const std::byte* record, event::Event& out) {
  auto argv_len = MOAT_FIELD(record, moat_exec, argv_len);
  auto path_len = MOAT_FIELD(record, moat_exec, path_len);
  if (argv_len > MOAT_ARGV_LEN || path_len > MOAT_PATH_LEN) {
    return Outcome::kLength;
  }
  auto image = std::make_shared<event::Process>();
  event::Header& header = out.header;
  image->key = header.process;
  image->parent = {MOAT_FIELD(record, moat_exec, ppid), MOAT_FIELD(record, moat_exec, parent_start_ns)};
  image->uid = header.uid;
  image->euid = MOAT_FIELD(record, moat_exec, euid);
  image->gid = MOAT_FIELD(record, moat_exec, gid);
  image->cap_permitted = MOAT_FIELD(record, moat_exec, cap_permitted);
  image->cap_effective = MOAT_FIELD(record, moat_exec, cap_effective);
  image->cgroup_id = header.cgroup_id;
  image->exe_inode = MOAT_FIELD(record, moat_exec, inode);
  image->exe_dev = MOAT_FIELD(record, moat_exec, dev);
  image->exec_flags = MOAT_FIELD(record, moat_exec, exec_flags);
  image->from_scan = header.kind == event::Kind::kScan;
  image->exe = JoinPath(Chars(record + offsetof(moat_exec, path), path_len), image->exec_flags);
  std::string_view filename = Chars(record + offsetof(moat_exec, filename), MOAT_FILENAME_LEN);
  if (filename.find('\0') == std::string_view::npos) {
    header.flags |= event::kFlagTruncated;
  }
  image->filename = filename.substr(0, filename.find('\0'));
  image->args = SplitArgs(Chars(record + offsetof(moat_exec, argv), argv_len));
  Body<event::Exec>(out).image = std::move(image);
  return Outcome::kOk;
}

Outcome DecodeExit(const std::byte* record, event::Event& out) {
  auto code = MOAT_FIELD(record, moat_exit, code);
  auto signal = MOAT_FIELD(record, moat_exit, signal);
  auto core = MOAT_FIELD(record, moat_exit, core);
  if (code > 255 || signal > 127 || core > 1) {
    return Outcome::kValue;
  }
  auto& body = Body<event::Exit>(out);
  body.code = code;
  body.signal = signal;
  body.core = core != 0;
  return Outcome::kOk;
}

Outcome DecodeProcessAccess(const std::byte* record, event::Event& out) {
  auto op = MOAT_FIELD(record, moat_access, operation);
  if (op < MOAT_ACCESS_ATTACH || op >= MOAT_ACCESS_COUNT) {
    return Outcome::kValue;
  }
  auto& body = Body<event::ProcessAccess>(out);
  body.target = {MOAT_FIELD(record, moat_access, target_pid), MOAT_FIELD(record, moat_access, target_start_ns)};
  body.result = MOAT_FIELD(record, moat_access, result);
  body.count = MOAT_FIELD(record, moat_access, count);
  body.target_labels = MOAT_FIELD(record, moat_access, target_labels);
  body.target_uid = MOAT_FIELD(record, moat_access, target_uid);
  body.request = MOAT_FIELD(record, moat_access, request);
  body.op = static_cast<event::AccessOp>(op);
  LoadString(record + offsetof(moat_access, target_comm), body.target_comm, out.header.flags);
  return Outcome::kOk;
}

Outcome DecodePrivilege(const std::byte* record, event::Event& out) {
  auto op = MOAT_FIELD(record, moat_privilege, operation);
  if (op < MOAT_PRIVILEGE_SETNS || op >= MOAT_PRIVILEGE_COUNT) {
    return Outcome::kValue;
  }
  auto& body = Body<event::Privilege>(out);
  body.result = MOAT_FIELD(record, moat_privilege, result);
  body.flags = MOAT_FIELD(record, moat_privilege, flags);
  body.inode = MOAT_FIELD(record, moat_privilege, inode);
  body.mount_ns = MOAT_FIELD(record, moat_privilege, mount_ns);
  body.pid_ns = MOAT_FIELD(record, moat_privilege, pid_ns);
  body.net_ns = MOAT_FIELD(record, moat_privilege, net_ns);
  body.user_ns = MOAT_FIELD(record, moat_privilege, user_ns);
  body.op = static_cast<event::PrivilegeOp>(op);
  LoadString(record + offsetof(moat_privilege, target), body.target, out.header.flags);
  LoadString(record + offsetof(moat_privilege, source), body.source, out.header.flags);
  LoadString(record + offsetof(moat_privilege, type), body.type, out.header.flags);
  return Outcome::kOk;
}

}  // namespace moat::decode
