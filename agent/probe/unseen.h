// SPDX-License-Identifier: Apache-2.0
// What backends cannot see, for the rows of table.cc.
#pragma once

#include "agent/probe/table.h"

namespace moat::probe {

inline constexpr Unseen kUring = {"io_uring", "operations submitted through io_uring"};
inline constexpr Unseen kCompat = {"compat32", "32-bit system calls (int 0x80)"};
inline constexpr Unseen kAio = {"aio", "asynchronous reads and writes (io_submit)"};
inline constexpr Unseen kPassed = {"passed_fd",
                                   "a descriptor received from another process is not an open (what is done with it is seen)"};
inline constexpr Unseen kAfter = {"after", "the call is seen when it returns: it cannot be denied here"};
inline constexpr Unseen kResult = {"result", "the call is seen before it is carried out: its result is not known"};
inline constexpr Unseen kNoDeny = {"no_deny", "nothing can be refused here: it takes lsm or fmod_ret programs"};
inline constexpr Unseen kNoGuard = {"no_guard",
                                    "who may use BPF can change moat's own maps and links: it is only noticed, within 5 seconds"};
inline constexpr Unseen kOPath = {"o_path", "opens with O_PATH, which give no way to the bytes"};
inline constexpr Unseen kClone = {"ficlone", "files cloned by sharing their extents (FICLONE, copy_file_range on btrfs and xfs)"};
inline constexpr Unseen kPages = {"page_touch", "which pages of a mapping are touched: the whole mapping counts as read"};
inline constexpr Unseen kKernelReads = {"kernel_reads",
                                        "reads by the kernel itself (NFS server, loop devices) count for its own threads"};
inline constexpr Unseen kPassthrough = {"uring_cmd", "commands inside io_uring passthrough"};
inline constexpr Unseen kDoorbells = {"doorbell", "work submitted through mapped doorbells makes no call"};
inline constexpr Unseen kVfio = {"vfio",
                                 "what a user-space driver does over vfio or a mapped PCI resource (that it begins to is seen)"};
inline constexpr Unseen kLater = {
    "late_device",
    "what opening a device means that came less than 5 seconds ago: a vfio group, a capability of a new MIG instance"};
inline constexpr Unseen kProcPci = {"proc_bus_pci", "PCI resources mapped through /proc/bus/pci"};
inline constexpr Unseen kDevMem = {"dev_mem", "an accelerator's registers through /dev/mem"};
inline constexpr Unseen kOverlay = {"overlay", "files of a lower layer, used through an overlay file system"};
inline constexpr Unseen kMemfd = {"memfd", "a copy of an asset in memory (memfd): its readers are not marked"};
inline constexpr Unseen kShared = {"shared_memory", "memory shared with a process that holds assets"};
inline constexpr Unseen kPipe = {"pipe_data",
                                 "what a process that holds assets hands on through a pipe or a socket of this host"};
inline constexpr Unseen kOtherReads = {
    "other_reads", "bytes on file systems that read in a way of their own (overlay, FUSE, NFS): opening there counts as reading"};
inline constexpr Unseen kPreempted = {
    "preempted", "who reads while another is preempted inside the same program on its processor (told as runs missed)"};
inline constexpr Unseen kRemote = {"remote", "changes made on another host of a network file system"};
inline constexpr Unseen kWho = {"who", "who did it, when the process ended before the notice was read and was not known before"};
inline constexpr Unseen kPacketBytes = {"packet", "bytes of packet sockets"};
inline constexpr Unseen kVsockBytes = {"vsock", "bytes of vsock sockets"};
inline constexpr Unseen kCookie = {"old_sockets",
                                   "bytes of sockets made before moatd or outside the scope stand in the process's totals only"};

}  // namespace moat::probe
