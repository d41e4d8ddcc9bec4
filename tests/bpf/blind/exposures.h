// SPDX-License-Identifier: Apache-2.0
// The ids by which a hook's unseen list names what it cannot see ("io_uring: operations submitted through io_uring"), and what each
// means. An id covers those below it: who lists "io_uring" lists "io_uring.worker" too, but not the other way round.
#pragma once

#include <string_view>
#include <utility>

namespace moat::test {

constexpr std::pair<std::string_view, std::string_view> kExposures[] = {
    {"aio", "reads and writes submitted by io_submit (Linux AIO)"},
    {"bytes", "bytes sent and received"},
    {"block_device", "the disk below the file system, read as a device"},
    {"compat32", "32-bit system calls (int 0x80), from 32-bit and 64-bit programs"},
    {"dup_fd", "use of a descriptor copied by dup"},
    {"ficlone", "clones of a whole file by ioctl (FICLONE)"},
    {"icmp", "ICMP, by ping and by raw sockets"},
    {"inherited_fd", "use of a descriptor opened before the exec, or by a parent"},
    {"io_uring", "operations submitted through io_uring"},
    {"io_uring.thread", "io_uring operations done by the ring's polling thread: before 5.12 it belongs to no process"},
    {"io_uring.worker", "io_uring operations done by a worker thread: before 5.12 it belongs to no process"},
    {"memfd", "a copy of an asset in memory (memfd): its readers are not marked"},
    {"mount_ns", "files reached through another mount namespace"},
    {"mprotect", "a mapping made writable later by mprotect"},
    {"mptcp", "Multipath TCP"},
    {"o_direct", "reads and writes past the page cache"},
    {"other_reads", "bytes read in a file system's own way (overlay, FUSE, NFS): its opens count as reads"},
    {"o_path", "opening with O_PATH: nothing can be read through such a descriptor"},
    {"overlay", "a file of a lower layer, used through an overlay file system"},
    {"overlay.copy", "the copy that an overlay makes of a lower file when it is opened for writing"},
    {"packet", "frames sent by packet sockets, or their bytes"},
    {"page_touch", "which pages of a mapping are touched: the whole mapping counts as read"},
    {"passed_fd", "a descriptor received from another process is not an open (what is done with it is seen)"},
    {"passed_fd.pidfd", "the same of a descriptor taken by pidfd_getfd"},
    {"pipe_data", "what a labelled process hands on through a pipe or a socket of this host"},
    {"preempted", "reading while another is preempted inside the same program on the same processor"},
    {"preempted_fork", "the labels of a child when forks of two processes meet on one processor"},
    {"proc_mem", "memory of a labelled process read by another (process_vm_readv, /proc/PID/mem, ptrace)"},
    {"raw_socket", "destinations of raw IP sockets (their bytes are counted)"},
    {"sctp", "SCTP"},
    {"sendmmsg", "messages of one sendmmsg"},
    {"shared_memory", "memory shared with a labelled process"},
    {"splice", "splice between a file and a pipe"},
    {"tfo", "TCP Fast Open: connecting by the first send"},
    {"uring_cmd", "commands to a device through io_uring (IORING_OP_URING_CMD)"},
    {"vsock", "sockets between a virtual machine and its host (AF_VSOCK), or their bytes"},
};

// Does an entry of an unseen list ("io_uring: operations ...") name the id, or one above it?
inline bool Covers(std::string_view entry, std::string_view id) {
  const std::string_view listed = entry.substr(0, entry.find(": "));
  return id == listed || (id.starts_with(listed) && id.substr(listed.size()).starts_with("."));
}

}  // namespace moat::test
