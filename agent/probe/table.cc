// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/table.h"

namespace moat::probe {
namespace {

constexpr const char* kUring = "operations submitted through io_uring";
constexpr const char* kCompat = "32-bit system calls (int 0x80)";
constexpr const char* kPassed = "a descriptor received from another process is not an open (what is done with it is seen)";
constexpr const char* kAfter = "the call is seen when it returns: it cannot be denied here";

// NOLINTNEXTLINE(cert-err58-cpp): allocation failure here is before main
const std::vector<Row> kTable = {
    // syscall: the way to all hooks of Backend::kSyscallExit
    {"syscall.exit", "syscall", {{Backend::kTpBtf, "moat_syscall_exit", {"sys_exit"}, MOAT_KIND_NONE, {}}}},
    // process
    {"process.fork", "process", {{Backend::kTpBtf, "moat_process_fork", {"sched_process_fork"}, MOAT_KIND_FORK, {}}}},
    {"process.exec", "process", {{Backend::kTpBtf, "moat_process_exec", {"sched_process_exec"}, MOAT_KIND_EXEC, {}}}},
    {"process.exit", "process", {{Backend::kTpBtf, "moat_process_exit", {"sched_process_exit"}, MOAT_KIND_EXIT, {}}}},
    {"process.free", "process", {{Backend::kTpBtf, "moat_process_free", {"sched_process_free"}, MOAT_KIND_NONE, {}}}},
    {"process.scan", "process", {{Backend::kIter, "moat_process_scan", {}, MOAT_KIND_NONE, {}}}},
    // file
    {"file.open",
     "file",
     {{Backend::kSyscallExit,
       "moat_file_open",
       {"open", "openat", "openat2", "creat", "open_by_handle_at"},
       MOAT_KIND_FILE_OPEN,
       {kUring, kCompat, kPassed, kAfter},
       /*passes_on=*/true}}},
    {"file.read",
     "file",
     {{Backend::kSyscallExit,
       "moat_file_read",
       {"read", "pread64", "readv", "preadv", "preadv2"},
       MOAT_KIND_FILE_IO,
       {kUring, kCompat, "reads by the kernel itself (NFS server, loop devices)"}}}},
    {"file.write",
     "file",
     {{Backend::kSyscallExit,
       "moat_file_write",
       {"write", "pwrite64", "writev", "pwritev", "pwritev2"},
       MOAT_KIND_FILE_TAMPER,
       {kUring, kCompat, kAfter}}}},
    {"file.map",
     "file",
     {{Backend::kSyscallExit,
       "moat_file_mmap",
       {"mmap"},
       MOAT_KIND_FILE_MAP,
       {kCompat, "which pages of a mapping are touched: the whole mapping counts as read"}}}},
    {"file.sendfile", "file", {{Backend::kSyscallExit, "moat_file_sendfile", {"sendfile"}, MOAT_KIND_FILE_IO, {kCompat}}}},
    {"file.copy",
     "file",
     {{Backend::kSyscallExit,
       "moat_file_copy",
       {"copy_file_range", "splice"},
       MOAT_KIND_FILE_IO,
       {kUring, kCompat, "clones of a whole file by ioctl (FICLONE)"}}}},
    {"file.truncate", "file", {{Backend::kSyscallExit, "moat_file_truncate", {"ftruncate"}, MOAT_KIND_FILE_TAMPER, {kCompat}}}},
    {"file.exit", "file", {{Backend::kTpBtf, "moat_file_exit", {"sched_process_exit"}, MOAT_KIND_FILE_IO, {}}}},
    // gpu
    {"gpu.open",
     "gpu",
     {{Backend::kSyscallExit,
       "moat_gpu_open",
       {"open", "openat", "openat2", "creat", "open_by_handle_at"},
       MOAT_KIND_GPU_OPEN,
       {kUring, kCompat, kPassed, kAfter}}}},
    {"gpu.ioctl",
     "gpu",
     {{Backend::kSyscallExit,
       "moat_gpu_ioctl",
       {"ioctl"},
       MOAT_KIND_GPU_IOCTL,
       {kCompat, kAfter, "commands inside io_uring passthrough", "work submitted through mapped doorbells makes no call",
        "a user-space driver over vfio or a mapped PCI resource"}}}},
    // net
    {"net.connect4", "net", {{Backend::kCgroupAddr, "moat_net_connect4", {}, MOAT_KIND_NET_CONNECT, {}}}},
    {"net.connect6", "net", {{Backend::kCgroupAddr, "moat_net_connect6", {}, MOAT_KIND_NET_CONNECT, {}}}},
    {"net.sendmsg4",
     "net",
     {{Backend::kCgroupAddr,
       "moat_net_sendmsg4",
       {},
       MOAT_KIND_NET_SEND,
       {"raw, packet and ICMP sockets, and families other than IPv4 and IPv6"}}}},
    {"net.sendmsg6", "net", {{Backend::kCgroupAddr, "moat_net_sendmsg6", {}, MOAT_KIND_NET_SEND, {}}}},
    {"net.bind4", "net", {{Backend::kCgroupSock, "moat_net_bind4", {}, MOAT_KIND_NONE, {}}}},
    {"net.bind6", "net", {{Backend::kCgroupSock, "moat_net_bind6", {}, MOAT_KIND_NONE, {}}}},
    {"net.release",
     "net",
     {{Backend::kCgroupSock,
       "moat_net_release",
       {},
       MOAT_KIND_NET_CLOSE,
       {"the end of a UDP socket made outside the scope and handed in"}}}},
    {"net.destroy", "net", {{Backend::kTpBtf, "moat_net_destroy", {"tcp_destroy_sock"}, MOAT_KIND_NET_CLOSE, {}}}},
    {"net.state",
     "net",
     {{Backend::kTpBtf, "moat_net_state", {"inet_sock_set_state"}, MOAT_KIND_NET_LISTEN, {"MPTCP subflows are not told apart"}}}},
    {"net.sent",
     "net",
     {{Backend::kTpBtf,
       "moat_net_sent",
       {"sock_send_length"},
       MOAT_KIND_NET_FLOW,
       {"bytes that the kernel itself sends (NFS, kTLS rekeying)"}}}},
    {"net.received", "net", {{Backend::kTpBtf, "moat_net_received", {"sock_recv_length"}, MOAT_KIND_NET_FLOW, {}}}},
    {"net.accept",
     "net",
     {{Backend::kSyscallExit, "moat_net_accept", {"accept", "accept4"}, MOAT_KIND_NET_ACCEPT, {kUring, kCompat}}}},
};

}  // namespace

std::span<const Row> Table() { return kTable; }

const char* BackendName(Backend backend) {
  switch (backend) {
    case Backend::kTpBtf: return "tp_btf";
    case Backend::kSyscallExit: return "sys_exit";
    case Backend::kIter: return "iter";
    case Backend::kCgroupAddr:
    case Backend::kCgroupSock: return "cgroup";
  }
  return "";
}

}  // namespace moat::probe
