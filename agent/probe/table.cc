// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/table.h"

#include <algorithm>
#include <iterator>

#include "agent/probe/features.h"

// A check of the security modules by each way to it, as MOAT_SECURITY (bpf/lib/hook.bpf.h) defines the programs.
// NOLINTBEGIN(cppcoreguidelines-macro-usage): literals are pasted together
#define MOAT_SECURITY(program, hook, kind, ...)                                         \
  {Backend::kLsm, program "_lsm", {hook}, kind, {__VA_ARGS__}},                         \
      {Backend::kFmodRet, program "_fmod", {"security_" hook}, kind, {__VA_ARGS__}},    \
      {Backend::kFentry, program "_fentry", {"security_" hook}, kind, {__VA_ARGS__}}, { \
    Backend::kKprobe, program "_kprobe", {"security_" hook}, kind, { __VA_ARGS__ }      \
  }
// The same, by the two ways that can deny.
#define MOAT_DENIES(program, hook)                           \
  {Backend::kLsm, program "_lsm", {hook}}, {                 \
    Backend::kFmodRet, program "_fmod", { "security_" hook } \
  }
// NOLINTEND(cppcoreguidelines-macro-usage)

namespace moat::probe {
namespace {

constexpr Unseen kUring = {"io_uring", "operations submitted through io_uring"};
constexpr Unseen kCompat = {"compat32", "32-bit system calls (int 0x80)"};
constexpr Unseen kAio = {"aio", "asynchronous reads and writes (io_submit)"};
constexpr Unseen kPassed = {"passed_fd",
                            "a descriptor received from another process is not an open (what is done with it is seen)"};
constexpr Unseen kAfter = {"after", "the call is seen when it returns: it cannot be denied here"};
constexpr Unseen kResult = {"result", "the call is seen before it is carried out: its result is not known"};
constexpr Unseen kNoDeny = {"no_deny", "nothing can be refused here: it takes lsm or fmod_ret programs"};
constexpr Unseen kNoGuard = {"no_guard",
                             "who may use BPF can change moat's own maps and links: it is only noticed, within 5 seconds"};
constexpr Unseen kOPath = {"o_path", "opens with O_PATH, which give no way to the bytes"};
constexpr Unseen kClone = {"ficlone", "files cloned by sharing their extents (FICLONE, copy_file_range on btrfs and xfs)"};
constexpr Unseen kPages = {"page_touch", "which pages of a mapping are touched: the whole mapping counts as read"};
constexpr Unseen kKernelReads = {"kernel_reads",
                                 "reads by the kernel itself (NFS server, loop devices) count for its own threads"};
constexpr Unseen kPassthrough = {"uring_cmd", "commands inside io_uring passthrough"};
constexpr Unseen kDoorbells = {"doorbell", "work submitted through mapped doorbells makes no call"};
constexpr Unseen kVfio = {"vfio", "a user-space driver over vfio or a mapped PCI resource"};
constexpr Unseen kOverlay = {"overlay", "files of a lower layer, used through an overlay file system"};
constexpr Unseen kMemfd = {"memfd", "a copy of an asset in memory (memfd): its readers are not marked"};
constexpr Unseen kShared = {"shared_memory", "memory shared with a process that holds assets"};
constexpr Unseen kPipe = {"pipe_data", "what a process that holds assets hands on through a pipe or a socket of this host"};
constexpr Unseen kOtherReads = {
    "other_reads", "bytes on file systems that read in a way of their own (overlay, FUSE, NFS): opening there counts as reading"};
constexpr Unseen kPreempted = {
    "preempted", "who reads while another is preempted inside the same program on its processor (told as runs missed)"};
constexpr Unseen kRemote = {"remote", "changes made on another host of a network file system"};
constexpr Unseen kWho = {"who", "who did it, when the process ended before the notice was read and was not known before"};
constexpr Unseen kPacketBytes = {"packet", "bytes of packet sockets"};
constexpr Unseen kVsockBytes = {"vsock", "bytes of vsock sockets"};
constexpr Unseen kCookie = {"old_sockets",
                            "bytes of sockets made before moatd or outside the scope stand in the process's totals only"};

// NOLINTNEXTLINE(cert-err58-cpp): allocation failure here is before main
const std::vector<Row> kTable = {
    // syscall: the way to all hooks of Backend::kSyscallExit
    {"syscall.exit", "syscall", {{Backend::kTpBtf, "moat_syscall_exit", {"sys_exit"}}}},

    // process
    {"process.fork", "process", {{Backend::kTpBtf, "moat_process_fork", {"sched_process_fork"}, MOAT_KIND_FORK}}},
    {"process.fork_label",
     "process",
     {{.backend = Backend::kTpBtf, .needs = &Features::runs_whole, .with = "process.fork", .with_backend = Backend::kTpBtf},
      {.backend = Backend::kKprobe,
       .program = "moat_process_inherit",
       .attach = {"wake_up_new_task"},
       .needs = &Features::preempts}},
     {{"preempted_fork", "the labels of a child, when its parent forks while another is preempted in the same program"}}},
    {"process.exec", "process", {{Backend::kTpBtf, "moat_process_exec", {"sched_process_exec"}, MOAT_KIND_EXEC}}},
    {"process.exit",
     "process",
     {{.backend = Backend::kTpBtf,
       .program = "moat_process_exit",
       .attach = {"sched_process_exit"},
       .missed = MOAT_KIND_EXIT,
       .needs = &Features::group_dead},
      {Backend::kTpBtf, "moat_process_exit_live", {"sched_process_exit"}, MOAT_KIND_EXIT}}},
    {"process.free", "process", {{Backend::kTpBtf, "moat_process_free", {"sched_process_free"}}}},
    {"process.scan", "process", {{Backend::kIter, "moat_process_scan"}}},
    {"process.ptrace",
     "process",
     {MOAT_SECURITY("moat_process_ptrace", "ptrace_access_check", MOAT_KIND_NONE,
                    {"traced_before", "what a process reads after another has begun to trace it"})},
     {{"proc_mem", "memory of a process that holds assets, read by another (process_vm_readv, /proc/PID/mem, ptrace)"}}},
    {"process.traceme",
     "process",
     {MOAT_SECURITY("moat_process_traceme", "ptrace_traceme", MOAT_KIND_NONE)},
     {{"traceme", "memory of a process that holds assets and has itself traced by its parent"}}},

    // file
    {"file.open",
     "file",
     {MOAT_SECURITY("moat_file_open", "file_open", MOAT_KIND_FILE_OPEN, kResult, kOPath),
      {.backend = Backend::kSyscallExit,
       .program = "moat_file_open",
       .attach = {"open", "openat", "openat2", "creat", "open_by_handle_at"},
       .missed = MOAT_KIND_FILE_OPEN,
       .unseen = {kUring, kCompat, kOverlay, kAfter},
       .passes_on = true}}},
    {"file.receive", "file", {MOAT_SECURITY("moat_file_receive", "file_receive", MOAT_KIND_FILE_OPEN)}, {kPassed}},
    {"file.read",
     "file",
     {{Backend::kFentry,
       "moat_file_read_fexit",
       {"filemap_read"},
       MOAT_KIND_FILE_IO,
       {kKernelReads, kOtherReads, kMemfd, kShared, kPipe}},
      {Backend::kFentry,
       "moat_file_read_fexit_5_10",
       {"generic_file_buffered_read"},
       MOAT_KIND_FILE_IO,
       {kKernelReads, kOtherReads, kMemfd, kShared, kPipe}},
      {Backend::kSyscallExit,
       "moat_file_read",
       {"read", "pread64", "readv", "preadv", "preadv2"},
       MOAT_KIND_FILE_IO,
       {kUring, kAio, kCompat, kOverlay, kKernelReads, kMemfd, kShared, kPipe}}}},
    {"file.read_shmem",
     "file",
     {{.backend = Backend::kFentry,
       .program = "moat_file_read_shmem",
       .attach = {"shmem_file_read_iter"},
       .missed = MOAT_KIND_FILE_IO,
       .with = "file.read"},
      {.backend = Backend::kSyscallExit, .with = "file.read", .with_backend = Backend::kSyscallExit}}},
    {"file.splice",
     "file",
     {{.backend = Backend::kFentry,
       .program = "moat_file_spliced",
       .attach = {"filemap_splice_read"},
       .missed = MOAT_KIND_FILE_IO,
       .with = "file.read"},
      // Before 6.5 splice reads like everybody else.
      {.backend = Backend::kFentry, .with = "file.read", .lacks = "filemap_splice_read"},
      {Backend::kSyscallExit, "moat_file_sendfile", {"sendfile"}, MOAT_KIND_FILE_IO, {kCompat}}}},
    {"file.splice_shmem",
     "file",
     {{.backend = Backend::kFentry,
       .program = "moat_file_spliced_shmem",
       .attach = {"shmem_file_splice_read"},
       .missed = MOAT_KIND_FILE_IO,
       .with = "file.read"},
      {.backend = Backend::kFentry, .with = "file.read", .lacks = "shmem_file_splice_read"},
      {.backend = Backend::kSyscallExit, .with = "file.splice", .with_backend = Backend::kSyscallExit}}},
    {"file.copy",
     "file",
     {{.backend = Backend::kFentry,
       .program = "moat_file_clone",
       .attach = {"generic_remap_file_range_prep"},
       .missed = MOAT_KIND_FILE_IO,
       .needs = &Features::clone_length,
       .with = "file.read"},
      {.backend = Backend::kFentry, .unseen = {kClone}, .with = "file.read"},
      {Backend::kSyscallExit, "moat_file_copy", {"copy_file_range", "splice"}, MOAT_KIND_FILE_IO, {kUring, kCompat, kClone}}}},
    {"file.write",
     "file",
     {{.backend = Backend::kFentry,
       .program = "moat_file_write_fexit_5_10",
       .attach = {"generic_perform_write"},
       .missed = MOAT_KIND_FILE_TAMPER,
       .needs = &Features::write_by_file,
       .with = "file.read"},
      {.backend = Backend::kFentry,
       .program = "moat_file_write_fexit",
       .attach = {"generic_perform_write"},
       .missed = MOAT_KIND_FILE_TAMPER,
       .needs = &Features::write_by_kiocb,
       .with = "file.read"},
      {.backend = Backend::kSyscallExit,
       .program = "moat_file_write",
       .attach = {"write", "pwrite64", "writev", "pwritev", "pwritev2"},
       .missed = MOAT_KIND_FILE_TAMPER,
       .unseen = {kUring, kAio, kCompat, kAfter},
       .with = "file.read",
       .with_backend = Backend::kSyscallExit}}},
    {"file.direct",
     "file",
     {{.backend = Backend::kFentry,
       .program = "moat_file_dio_end",
       .attach = {"iomap_dio_complete"},
       .missed = MOAT_KIND_FILE_IO,
       .with = "file.read"},
      {.backend = Backend::kSyscallExit, .with = "file.read", .with_backend = Backend::kSyscallExit}},
     {{"o_direct", "reads and writes past the page cache"}}},
    {"file.direct_simple",
     "file",
     {{.backend = Backend::kFentry,
       .program = "moat_file_dio_simple",
       .attach = {"__iomap_dio_read_simple"},
       .missed = MOAT_KIND_FILE_IO,
       .with = "file.direct"},
      // Before 7.2 all direct reads end at one place.
      {.backend = Backend::kFentry, .with = "file.direct", .lacks = "__iomap_dio_read_simple"},
      {.backend = Backend::kSyscallExit, .with = "file.direct", .with_backend = Backend::kSyscallExit}},
     {{"o_direct", "reads and writes past the page cache"}}},
    {"file.direct_async",
     "file",
     {{.backend = Backend::kFentry,
       .program = "moat_file_dio_begin_fentry",
       .attach = {"iomap_dio_rw"},
       .needs = &Features::many_arguments,
       .with = "file.direct"},
      {.backend = Backend::kKprobe, .program = "moat_file_dio_begin_kprobe", .attach = {"iomap_dio_rw"}, .with = "file.direct"}},
     {kAio}},
    {"file.map",
     "file",
     {{Backend::kFentry, "moat_file_mmap_fexit", {"vm_mmap_pgoff"}, MOAT_KIND_FILE_MAP, {kPages}},
      {Backend::kSyscallExit, "moat_file_mmap", {"mmap"}, MOAT_KIND_FILE_MAP, {kCompat, kPages}}}},
    {"file.read_label",
     "file",
     {{.backend = Backend::kFentry, .needs = &Features::runs_whole, .with = "file.read"},
      {.backend = Backend::kLsm,
       .program = "moat_file_read_label",
       .attach = {"file_permission"},
       .needs = &Features::preempts,
       .with = "file.read"},
      {.backend = Backend::kSyscallExit,
       .needs = &Features::runs_whole,
       .with = "file.read",
       .with_backend = Backend::kSyscallExit},
      {.backend = Backend::kSyscallExit, .unseen = {kPreempted}, .with = "file.read", .with_backend = Backend::kSyscallExit}},
     {kPreempted}},
    {"file.map_label",
     "file",
     {{.backend = Backend::kFentry, .needs = &Features::runs_whole, .with = "file.map"},
      {.backend = Backend::kLsm,
       .program = "moat_file_map_label",
       .attach = {"mmap_file"},
       .needs = &Features::preempts,
       .with = "file.map"},
      {.backend = Backend::kSyscallExit,
       .needs = &Features::runs_whole,
       .with = "file.map",
       .with_backend = Backend::kSyscallExit},
      {.backend = Backend::kSyscallExit, .unseen = {kPreempted}, .with = "file.map", .with_backend = Backend::kSyscallExit}},
     {kPreempted}},
    {"file.mprotect",
     "file",
     {MOAT_SECURITY("moat_file_mprotect", "file_mprotect", MOAT_KIND_FILE_TAMPER)},
     {{"mprotect", "a shared mapping made writable after it was made (mprotect)"}}},
    {"file.truncate",
     "file",
     {{.backend = Backend::kFentry,
       .program = "moat_file_cut_fexit",
       .attach = {"do_truncate"},
       .missed = MOAT_KIND_FILE_TAMPER,
       .needs = &Features::truncate_idmap},
      {.backend = Backend::kFentry,
       .program = "moat_file_cut_fexit_5_10",
       .attach = {"do_truncate"},
       .missed = MOAT_KIND_FILE_TAMPER,
       .needs = &Features::truncate_plain},
      {Backend::kSyscallExit, "moat_file_truncate", {"ftruncate"}, MOAT_KIND_FILE_TAMPER, {kCompat}}}},
    {"file.truncate_path",
     "file",
     {{.backend = Backend::kFentry, .with = "file.truncate"},
      {.backend = Backend::kFanotify,
       .unseen = {kWho, {"grown_back", "a truncation by path when the file has grown back before the notice was read"}}}},
     {{"truncate_path", "truncation of asset files by path"}}},
    // The calls that change names ask these before the file system has its say.
    {"file.rename",
     "file",
     {MOAT_SECURITY("moat_file_rename", "inode_rename", MOAT_KIND_FILE_TAMPER, kResult, kRemote),
      {.backend = Backend::kFanotify, .unseen = {kWho, kRemote}}},
     {{"rename", "asset files that get another name"}}},
    // A security module is asked about each half of an exchange, the function around them is told once.
    {"file.exchange",
     "file",
     {{.backend = Backend::kLsm, .with = "file.rename", .with_backend = Backend::kLsm},
      {Backend::kFentry, "moat_file_exchange_fentry", {"security_inode_rename"}, MOAT_KIND_FILE_TAMPER, {kResult, kRemote}},
      {Backend::kKprobe, "moat_file_exchange_kprobe", {"security_inode_rename"}, MOAT_KIND_FILE_TAMPER, {kResult, kRemote}},
      {.backend = Backend::kFanotify, .unseen = {kWho, kRemote}}},
     {{"exchange", "the second of two files that change names with each other"}}},
    {"file.replace",
     "file",
     {MOAT_SECURITY("moat_file_replace", "inode_rename", MOAT_KIND_FILE_TAMPER, kResult, kRemote),
      {.backend = Backend::kFanotify, .unseen = {kWho, kRemote}}},
     {{"replace", "asset files that another file replaces by a rename"}}},
    {"file.unlink",
     "file",
     {MOAT_SECURITY("moat_file_unlink", "inode_unlink", MOAT_KIND_FILE_TAMPER, kResult, kRemote),
      {.backend = Backend::kFanotify, .unseen = {kWho, kRemote}}},
     {{"unlink", "asset files that are removed"}}},
    {"file.rmdir",
     "file",
     {MOAT_SECURITY("moat_file_rmdir", "inode_rmdir", MOAT_KIND_FILE_TAMPER, kResult, kRemote),
      {.backend = Backend::kFanotify, .unseen = {kWho, kRemote}}},
     {{"rmdir", "directories of assets that are removed"}}},
    {"file.link",
     "file",
     {MOAT_SECURITY("moat_file_link", "inode_link", MOAT_KIND_FILE_TAMPER, kResult, kRemote),
      {.backend = Backend::kFanotify, .unseen = {kWho, kRemote}}},
     {{"link", "asset files that get a second name"}}},
    {"file.symlink",
     "file",
     {MOAT_SECURITY("moat_file_symlink", "inode_symlink", MOAT_KIND_NONE), {.backend = Backend::kFanotify}},
     {{"symlink", "files that a new symlink in an asset's directory leads to"}}},
    // What frees the entry of an inode that is no more.
    {"file.gone",
     "file",
     {{Backend::kLsm, "moat_file_gone_lsm", {"inode_free_security"}},
      {Backend::kFentry, "moat_file_gone_fentry", {"security_inode_free"}},
      {Backend::kKprobe, "moat_file_gone_kprobe", {"security_inode_free"}},
      {.backend = Backend::kFanotify}},
     {{"gone", "that an asset's file is no more: it keeps its place in the table"}}},
    {"file.exit",
     "file",
     {{.backend = Backend::kTpBtf,
       .program = "moat_file_exit",
       .attach = {"sched_process_exit"},
       .missed = MOAT_KIND_FILE_IO,
       .needs = &Features::group_dead},
      {Backend::kTpBtf, "moat_file_exit_live", {"sched_process_exit"}, MOAT_KIND_FILE_IO}}},

    // gpu
    {"gpu.open",
     "gpu",
     {{Backend::kFentry, "moat_gpu_open_fexit", {"chrdev_open"}, MOAT_KIND_GPU_OPEN, {kPassed}},
      {Backend::kKprobe, "moat_gpu_open_kprobe", {"chrdev_open"}, MOAT_KIND_GPU_OPEN, {kPassed, kResult}},
      {Backend::kSyscallExit,
       "moat_gpu_open",
       {"open", "openat", "openat2", "creat", "open_by_handle_at"},
       MOAT_KIND_GPU_OPEN,
       {kUring, kCompat, kPassed, kAfter}}}},
    {"gpu.ioctl",
     "gpu",
     {{Backend::kFentry,
       "moat_gpu_ioctl_fexit",
       {"__x64_sys_ioctl", "__arm64_sys_ioctl"},
       MOAT_KIND_GPU_IOCTL,
       {kAfter, kPassthrough, kDoorbells, kVfio}},
      MOAT_SECURITY("moat_gpu_ioctl", "file_ioctl", MOAT_KIND_GPU_IOCTL, kResult, kPassthrough, kDoorbells, kVfio),
      {Backend::kSyscallExit, "moat_gpu_ioctl", {"ioctl"}, MOAT_KIND_GPU_IOCTL, {kAfter, kPassthrough, kDoorbells, kVfio}}}},
    {"gpu.ioctl_compat",
     "gpu",
     {{Backend::kFentry,
       "moat_gpu_compat_fexit",
       {"__ia32_compat_sys_ioctl", "__arm64_compat_sys_ioctl"},
       MOAT_KIND_GPU_IOCTL,
       {kAfter}},
      MOAT_SECURITY("moat_gpu_compat", "file_ioctl_compat", MOAT_KIND_GPU_IOCTL)},
     {kCompat}},

    // net
    {"net.connect4", "net", {{Backend::kCgroupAddr, "moat_net_connect4", {}, MOAT_KIND_NET_CONNECT}}},
    {"net.connect6", "net", {{Backend::kCgroupAddr, "moat_net_connect6", {}, MOAT_KIND_NET_CONNECT}}},
    {"net.sendmsg4", "net", {{Backend::kCgroupAddr, "moat_net_sendmsg4", {}, MOAT_KIND_NET_SEND}}},
    {"net.sendmsg6", "net", {{Backend::kCgroupAddr, "moat_net_sendmsg6", {}, MOAT_KIND_NET_SEND}}},
    {"net.other_connect",
     "net",
     {MOAT_SECURITY("moat_net_other_connect", "socket_connect", MOAT_KIND_NET_CONNECT)},
     {{"other_connect", "connects of raw, ICMP, SCTP, packet and vsock sockets"}}},
    {"net.other_send",
     "net",
     {MOAT_SECURITY("moat_net_other_send", "socket_sendmsg", MOAT_KIND_NET_SEND)},
     {{"raw_socket", "sends of raw sockets (their bytes are counted)"},
      {"icmp", "sends of ICMP sockets (their bytes are counted)"},
      {"sctp", "sends of SCTP sockets (their bytes are counted)"},
      {"packet", "sends of packet sockets"},
      {"vsock", "sends of vsock sockets"}}},
    {"net.bind4", "net", {{Backend::kCgroupSock, "moat_net_bind4"}}},
    {"net.bind6", "net", {{Backend::kCgroupSock, "moat_net_bind6"}}},
    {"net.release",
     "net",
     {{Backend::kCgroupSock,
       "moat_net_release",
       {},
       MOAT_KIND_NET_CLOSE,
       {{"udp_end", "the end of a UDP socket made outside the scope and handed in"}}}}},
    {"net.destroy", "net", {{Backend::kTpBtf, "moat_net_destroy", {"tcp_destroy_sock"}, MOAT_KIND_NET_CLOSE}}},
    {"net.state",
     "net",
     {{Backend::kTpBtf,
       "moat_net_state",
       {"inet_sock_set_state"},
       MOAT_KIND_NET_LISTEN,
       {{"subflows", "MPTCP subflows are not told apart"}}}}},
    {"net.cookie",
     "net",
     {{.backend = Backend::kTpBtf, .needs = &Features::cast, .with = "net.state", .with_backend = Backend::kTpBtf},
      {Backend::kSockOps, "moat_net_cookie"}}},
    {"net.sent",
     "net",
     {{Backend::kTpBtf,
       "moat_net_sent",
       {"sock_send_length"},
       MOAT_KIND_NET_FLOW,
       {{"kernel_sends", "bytes that the kernel itself sends (NFS, kTLS rekeying)"}}},
      {Backend::kFentry, "moat_net_sent_fexit", {"inet_sendmsg"}, MOAT_KIND_NET_FLOW, {kCookie, kPacketBytes, kVsockBytes}}},
     {{"bytes", "bytes sent and received"}}},
    {"net.sent6",
     "net",
     {{.backend = Backend::kTpBtf, .with = "net.sent", .with_backend = Backend::kTpBtf},
      {Backend::kFentry, "moat_net_sent6_fexit", {"inet6_sendmsg"}, MOAT_KIND_NET_FLOW, {kCookie}}},
     {{"bytes", "bytes sent and received"}}},
    {"net.sendpage",
     "net",
     {{.backend = Backend::kTpBtf, .with = "net.sent", .with_backend = Backend::kTpBtf},
      {Backend::kFentry, "moat_net_sendpage", {"inet_sendpage"}, MOAT_KIND_NET_FLOW, {kCookie}},
      // Since 6.5 sendfile sends like everybody else.
      {.backend = Backend::kFentry, .with = "net.sent", .lacks = "inet_sendpage"}},
     {{"bytes", "bytes sent and received"}}},
    {"net.received",
     "net",
     {{Backend::kTpBtf, "moat_net_received", {"sock_recv_length"}, MOAT_KIND_NET_FLOW},
      {Backend::kFentry, "moat_net_received_fexit", {"inet_recvmsg"}, MOAT_KIND_NET_FLOW, {kCookie, kPacketBytes, kVsockBytes}}},
     {{"bytes", "bytes sent and received"}}},
    {"net.received6",
     "net",
     {{.backend = Backend::kTpBtf, .with = "net.received", .with_backend = Backend::kTpBtf},
      {Backend::kFentry, "moat_net_received6_fexit", {"inet6_recvmsg"}, MOAT_KIND_NET_FLOW, {kCookie}}},
     {{"bytes", "bytes sent and received"}}},
    {"net.accept",
     "net",
     {{Backend::kLsm, "moat_net_accept_lsm", {"sock_graft"}, MOAT_KIND_NET_ACCEPT},
      {Backend::kFentry, "moat_net_accept_fentry", {"security_sock_graft"}, MOAT_KIND_NET_ACCEPT},
      {Backend::kKprobe, "moat_net_accept_kprobe", {"security_sock_graft"}, MOAT_KIND_NET_ACCEPT},
      {Backend::kSyscallExit, "moat_net_accept", {"accept", "accept4"}, MOAT_KIND_NET_ACCEPT, {kUring, kCompat}}}},

    // enforce
    {"enforce.connect4", "enforce", {{Backend::kCgroupAddr, "moat_pol_connect4"}}},
    {"enforce.connect6", "enforce", {{Backend::kCgroupAddr, "moat_pol_connect6"}}},
    {"enforce.sendmsg4", "enforce", {{Backend::kCgroupAddr, "moat_pol_sendmsg4"}}},
    {"enforce.sendmsg6", "enforce", {{Backend::kCgroupAddr, "moat_pol_sendmsg6"}}},
    {"enforce.hello", "enforce", {{Backend::kCgroupSkb, "moat_pol_hello"}}},
    {"enforce.packet", "enforce", {{Backend::kCgroupSkb, "moat_pol_packet"}}},
    {"enforce.answer", "enforce", {{Backend::kCgroupSkb, "moat_pol_answer"}}},
    {"enforce.cgroup_made", "enforce", {{Backend::kTpBtf, "moat_pol_cgroup_made", {"cgroup_mkdir"}}}},
    {"enforce.cgroup_gone", "enforce", {{Backend::kTpBtf, "moat_pol_cgroup_gone", {"cgroup_rmdir"}}}},
    {"enforce.opened", "enforce", {{Backend::kSockOps, "moat_pol_opened"}}},
    {"enforce.file_open", "enforce", {MOAT_DENIES("moat_pol_open", "file_open")}, {kNoDeny}},
    {"enforce.file_receive", "enforce", {MOAT_DENIES("moat_pol_receive", "file_receive")}, {kNoDeny}},
    {"enforce.file_use", "enforce", {MOAT_DENIES("moat_pol_use", "file_permission")}, {kNoDeny}},
    {"enforce.file_map", "enforce", {MOAT_DENIES("moat_pol_map", "mmap_file")}, {kNoDeny}},
    {"enforce.file_rename", "enforce", {MOAT_DENIES("moat_pol_rename", "inode_rename")}, {kNoDeny}},
    {"enforce.file_unlink", "enforce", {MOAT_DENIES("moat_pol_unlink", "inode_unlink")}, {kNoDeny}},
    {"enforce.file_rmdir", "enforce", {MOAT_DENIES("moat_pol_rmdir", "inode_rmdir")}, {kNoDeny}},
    {"enforce.file_link", "enforce", {MOAT_DENIES("moat_pol_link", "inode_link")}, {kNoDeny}},
    {"enforce.file_setattr",
     "enforce",
     {{.backend = Backend::kLsm,
       .program = "moat_pol_setattr_lsm",
       .attach = {"inode_setattr"},
       .needs = &Features::lsm_setattr_idmap},
      {.backend = Backend::kLsm,
       .program = "moat_pol_setattr_old_lsm",
       .attach = {"inode_setattr"},
       .needs = &Features::lsm_setattr_plain},
      {.backend = Backend::kFmodRet,
       .program = "moat_pol_setattr_fmod",
       .attach = {"security_inode_setattr"},
       .needs = &Features::setattr_idmap},
      {.backend = Backend::kFmodRet,
       .program = "moat_pol_setattr_old_fmod",
       .attach = {"security_inode_setattr"},
       .needs = &Features::setattr_plain}},
     {kNoDeny}},
    {"enforce.memory", "enforce", {MOAT_DENIES("moat_pol_memory", "ptrace_access_check")}, {kNoDeny}},
    {"enforce.gpu_open", "enforce", {MOAT_DENIES("moat_pol_gpu_open", "file_open")}, {kNoDeny}},
    {"enforce.gpu_receive", "enforce", {MOAT_DENIES("moat_pol_gpu_receive", "file_receive")}, {kNoDeny}},
    {"enforce.gpu_ioctl", "enforce", {MOAT_DENIES("moat_pol_gpu_ioctl", "file_ioctl")}, {kNoDeny}},
    {"enforce.gpu_compat", "enforce", {MOAT_DENIES("moat_pol_gpu_compat", "file_ioctl_compat")}, {kNoDeny}},
    {"enforce.socket", "enforce", {MOAT_DENIES("moat_pol_socket", "socket_create")}, {kNoDeny}},
    {"enforce.socket_send", "enforce", {MOAT_DENIES("moat_pol_socket_send", "socket_sendmsg")}, {kNoDeny}},
    {"enforce.socket_connect", "enforce", {MOAT_DENIES("moat_pol_socket_connect", "socket_connect")}, {kNoDeny}},
    {"enforce.guard_map", "enforce", {MOAT_DENIES("moat_guard_map_fd", "bpf_map")}, {kNoGuard}},
    {"enforce.guard_prog", "enforce", {MOAT_DENIES("moat_guard_prog_fd", "bpf_prog")}, {kNoGuard}},
    {"enforce.guard_link", "enforce", {MOAT_DENIES("moat_guard_bpf", "bpf")}, {kNoGuard}},
    {"enforce.guard_unlink", "enforce", {MOAT_DENIES("moat_guard_unlink", "inode_unlink")}, {kNoGuard}},
    {"enforce.guard_rmdir", "enforce", {MOAT_DENIES("moat_guard_rmdir", "inode_rmdir")}, {kNoGuard}},
    {"enforce.guard_rename", "enforce", {MOAT_DENIES("moat_guard_rename", "inode_rename")}, {kNoGuard}},
    {"enforce.guard_umount", "enforce", {MOAT_DENIES("moat_guard_umount", "sb_umount")}, {kNoGuard}},
};

}  // namespace

std::span<const Row> Table() {
  static const std::vector<Row> all = [] {
    std::vector<Row> rows = kTable;
    std::ranges::copy(CopyRows(), std::back_inserter(rows));
    return rows;
  }();
  return all;
}

const char* BackendName(Backend backend) {
  switch (backend) {
    case Backend::kLsm: return "lsm";
    case Backend::kFmodRet: return "fmod_ret";
    case Backend::kFentry: return "fentry";
    case Backend::kKprobe: return "kprobe";
    case Backend::kTpBtf: return "tp_btf";
    case Backend::kSyscallExit: return "sys_exit";
    case Backend::kIter: return "iter";
    case Backend::kCgroupAddr:
    case Backend::kCgroupSock:
    case Backend::kSockOps:
    case Backend::kCgroupSkb: return "cgroup";
    case Backend::kFanotify: return "fanotify";
  }
  return "";
}

}  // namespace moat::probe
