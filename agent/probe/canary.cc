// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/canary.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "agent/base/fd.h"

namespace moat::probe {
namespace {

constexpr size_t kPage = 4096;

std::string Errno(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

// Runs body in a child of this process and waits for it. Between fork and _exit only system calls: other threads may hold locks.
template <typename Body, typename Meanwhile>
std::string InChild(const Body& body, const Meanwhile& meanwhile) {
  int hold[2];
  if (pipe2(hold, O_CLOEXEC) != 0) {
    return Errno("pipe");
  }
  Fd read_end(hold[0]), write_end(hold[1]);
  const pid_t pid = fork();
  if (pid < 0) {
    return Errno("fork");
  }
  if (pid == 0) {
    close(hold[1]);
    char byte = 0;
    (void)!read(hold[0], &byte, 1);  // until the parent is done with us
    _exit(body());
  }
  std::string problem = meanwhile(pid);
  write_end = Fd();
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (problem.empty() && status != 0) {
    problem = "a child of moatd ended with status " + std::to_string(status);
  }
  return problem;
}

std::string NoMeanwhile(pid_t) { return ""; }

#if defined(__x86_64__)
// The smallest program: exit(0). An ELF header, one program header, and "xor edi,edi; mov eax,60; syscall".
constexpr std::array<uint8_t, 129> kProgram = {
    0x7f, 'E', 'L', 'F', 2,    1, 1,  0, 0, 0,    0, 0, 0,    0, 0, 0, 2,    0,    62,   0,  1, 0, 0, 0,    0x78, 0,
    0x40, 0,   0,   0,   0,    0, 64, 0, 0, 0,    0, 0, 0,    0, 0, 0, 0,    0,    0,    0,  0, 0, 0, 0,    0,    0,
    64,   0,   56,  0,   1,    0, 0,  0, 0, 0,    0, 0, 1,    0, 0, 0, 5,    0,    0,    0,  0, 0, 0, 0,    0,    0,
    0,    0,   0,   0,   0x40, 0, 0,  0, 0, 0,    0, 0, 0x40, 0, 0, 0, 0,    0,    129,  0,  0, 0, 0, 0,    0,    0,
    129,  0,   0,   0,   0,    0, 0,  0, 0, 0x10, 0, 0, 0,    0, 0, 0, 0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05};
#elif defined(__aarch64__)
// The smallest program: exit(0). An ELF header, one program header, and "mov x0,0; mov x8,93; svc 0".
constexpr std::array<uint8_t, 132> kProgram = {
    0x7f, 'E',  'L', 'F', 2, 1,  1, 0, 0, 0,    0, 0, 0, 0, 0,    0,    2,    0,    183,  0,    1, 0, 0, 0,   0x78, 0,  0x40,
    0,    0,    0,   0,   0, 64, 0, 0, 0, 0,    0, 0, 0, 0, 0,    0,    0,    0,    0,    0,    0, 0, 0, 0,   0,    64, 0,
    56,   0,    1,   0,   0, 0,  0, 0, 0, 0,    1, 0, 0, 0, 5,    0,    0,    0,    0,    0,    0, 0, 0, 0,   0,    0,  0,
    0,    0x40, 0,   0,   0, 0,  0, 0, 0, 0x40, 0, 0, 0, 0, 0,    132,  0,    0,    0,    0,    0, 0, 0, 132, 0,    0,  0,
    0,    0,    0,   0,   0, 0,  1, 0, 0, 0,    0, 0, 0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4};
#endif

std::string Exec() {
  const Fd program(memfd_create("moat-canary", MFD_CLOEXEC));
  if (!program || write(program.get(), kProgram.data(), kProgram.size()) != static_cast<ssize_t>(kProgram.size())) {
    return Errno("memfd_create");
  }
  const std::string path = "/proc/self/fd/" + std::to_string(program.get());
  char name[] = "moat-canary";
  char* const argv[] = {name, nullptr};
  char* const envp[] = {nullptr};
  return InChild(
      [&] {
        execve(path.c_str(), argv, envp);
        return 1;
      },
      NoMeanwhile);
}

std::string LookInto() {
  static const int kThere = 42;
  return InChild([] { return 0; },
                 [](pid_t pid) {
                   int here = 0;
                   iovec local{&here, sizeof(here)}, remote{const_cast<int*>(&kThere), sizeof(kThere)};
                   return process_vm_readv(pid, &local, 1, &remote, 1, 0) == sizeof(here) ? "" : Errno("process_vm_readv");
                 });
}

std::string TraceMe() {
  return InChild([] { return ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0 ? 0 : 1; }, NoMeanwhile);
}

// A call that can do nothing: of a descriptor, process, flag or address that there is not. It returns all the same, unless a filter of system
// calls answers in the kernel's place: then no program at the call runs. Such a filter says EPERM or ENOSYS, as runtimes and systemd set it.
template <typename... Args>
std::string AskInVain(const char* name, long number, Args... args) {
  errno = 0;
  (void)syscall(number, args...);
  const bool filtered = (errno == EPERM || errno == ENOSYS) && prctl(PR_GET_SECCOMP) == 2;
  return filtered ? std::string("a filter of system calls keeps ") + name + " from moatd" : "";
}

std::string OpenNull() {
  const Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) {
    return Errno("open /dev/null");
  }
  termios unused{};
  (void)ioctl(null.get(), TCGETS, &unused);
  return "";
}

#if defined(__x86_64__)
// In a child: where the kernel has no 32-bit calls, int 0x80 kills.
std::string Ioctl32() {
  const Fd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  return InChild(
      [&null] {
        long result = 54;  // ioctl
        __asm__ volatile("int $0x80"
                         : "+a"(result)
                         : "b"(static_cast<long>(null.get())), "c"(long{TCGETS}), "d"(0L)
                         : "memory", "r8", "r9", "r10", "r11");
        return result == -ENOTTY || result == -EFAULT ? 0 : 1;
      },
      NoMeanwhile);
}
#endif

// Passes a descriptor to itself.
std::string Receive() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return Errno("socketpair");
  }
  const Fd left(ends[0]), right(ends[1]);
  char byte = 'x';
  iovec vector{&byte, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof(room);
  cmsghdr* control = CMSG_FIRSTHDR(&message);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(control), &ends[0], sizeof(int));
  if (sendmsg(left.get(), &message, 0) != 1 || recvmsg(right.get(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) != 1) {
    return Errno("pass a descriptor");
  }
  control = CMSG_FIRSTHDR(&message);
  if (control == nullptr || control->cmsg_type != SCM_RIGHTS) {
    return "the descriptor did not arrive";
  }
  int received = -1;
  std::memcpy(&received, CMSG_DATA(control), sizeof(received));
  const Fd closed(received);
  return "";
}

std::string MemoryFile() {
  const Fd file(memfd_create("moat-canary", MFD_CLOEXEC));
  char byte = 'x';
  if (!file || ftruncate(file.get(), kPage) != 0 || pwrite(file.get(), &byte, 1, 0) != 1 || pread(file.get(), &byte, 1, 0) != 1) {
    return Errno("memfd_create");
  }
  void* map = mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file.get(), 0);
  if (map == MAP_FAILED) {
    return Errno("mmap");
  }
  const bool protects = mprotect(map, kPage, PROT_READ | PROT_WRITE) == 0;
  munmap(map, kPage);
  return protects ? "" : Errno("mprotect");
}

// In a file system of its own, which nobody else sees and which goes with the descriptor.
std::string ChangeNames() {
  const Fd context(fsopen("tmpfs", FSOPEN_CLOEXEC));
  if (!context || fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return Errno("a tmpfs of moatd's own");
  }
  const Fd root(fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  const int at = root.get();
  if (!root || mkdirat(at, "d", 0700) != 0 || !Fd(openat(at, "a", O_WRONLY | O_CREAT | O_CLOEXEC, 0600))) {
    return Errno("files in a tmpfs of moatd's own");
  }
  const bool done = linkat(at, "a", at, "b", 0) == 0 && renameat(at, "b", at, "c") == 0 && symlinkat("a", at, "s") == 0 &&
                    unlinkat(at, "a", 0) == 0 && unlinkat(at, "c", 0) == 0 && unlinkat(at, "d", AT_REMOVEDIR) == 0;
  return done ? "" : Errno("names in a tmpfs of moatd's own");
}

// Into a pipe: sendfile and splice.
std::string Splice(int from) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Errno("pipe");
  }
  const Fd out(ends[0]), in(ends[1]);
  off_t offset = 0;
  if (sendfile(in.get(), from, &offset, 1) != 1) {
    return Errno("sendfile");
  }
  off64_t at = 0;
  return splice(from, &at, in.get(), nullptr, 1, 0) == 1 ? "" : Errno("splice");
}

std::string SpliceMemory() {
  const Fd file(memfd_create("moat-canary", MFD_CLOEXEC));
  return file && write(file.get(), "x", 1) == 1 ? Splice(file.get()) : Errno("memfd_create");
}

// Our own executable, when it lies on a file system that reads through the page cache with the functions that the hooks sit on.
Fd OwnFile(std::string& problem, int flags) {
  Fd file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC | flags));
  struct statfs info{};
  if (!file || fstatfs(file.get(), &info) != 0) {
    problem = Errno("open moatd's own executable");
    return Fd();
  }
  constexpr long kExt = 0xef53, kXfs = 0x58465342, kBtrfs = 0x9123683e;
  if (info.f_type != kExt && info.f_type != kXfs && info.f_type != kBtrfs) {
    problem = "moatd's own executable lies on another file system than ext4, xfs or btrfs";
    return Fd();
  }
  return file;
}

std::string ReadFile() {
  std::string problem;
  const Fd file = OwnFile(problem, 0);
  char byte = 0;
  return !file ? problem : pread(file.get(), &byte, 1, 0) == 1 ? "" : Errno("pread");
}

std::string SpliceFile() {
  std::string problem;
  const Fd file = OwnFile(problem, 0);
  return file ? Splice(file.get()) : problem;
}

// More than a block: less may go another way (file.direct_simple).
std::string ReadDirect() {
  constexpr size_t kBytes = 128 << 10;
  std::string problem;
  const Fd file = OwnFile(problem, O_DIRECT);
  const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(kPage, kBytes), &std::free);
  return !file ? problem : pread(file.get(), buffer.get(), kBytes, 0) > 0 ? "" : Errno("direct read");
}

// Any port of this machine's own address.
socklen_t Loopback(int family, sockaddr_storage& storage) {
  storage.ss_family = static_cast<sa_family_t>(family);
  if (family == AF_INET) {
    reinterpret_cast<sockaddr_in&>(storage).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof(sockaddr_in);
  }
  reinterpret_cast<sockaddr_in6&>(storage).sin6_addr = in6addr_loopback;
  return sizeof(sockaddr_in6);
}

// One connection to itself; the closing end sends a reset, so that no socket lingers.
std::string Tcp(int family) {
  sockaddr_storage storage{};
  socklen_t length = Loopback(family, storage);
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  const Fd listener(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)), client(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener || !client || bind(listener.get(), address, length) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), address, &length) != 0) {
    return Errno("listen on loopback");
  }
  const timeval second{1, 0};
  setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
  setsockopt(listener.get(), SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
  if (connect(client.get(), address, length) != 0) {
    return Errno("connect over loopback");
  }
  const Fd server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const linger reset{1, 0};
  setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  char byte = 'x';
  setsockopt(server.get(), SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
  if (!server || send(client.get(), &byte, 1, MSG_NOSIGNAL) != 1 || recv(server.get(), &byte, 1, 0) != 1) {
    return Errno("send over loopback");
  }
  const Fd memory(memfd_create("moat-canary", MFD_CLOEXEC));
  off_t offset = 0;
  return memory && write(memory.get(), &byte, 1) == 1 && sendfile(client.get(), memory.get(), &offset, 1) == 1
             ? ""
             : Errno("sendfile");
}

std::string Udp(int family) {
  sockaddr_storage storage{};
  socklen_t length = Loopback(family, storage);
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  const Fd socket(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  char byte = 'x';
  return socket && bind(socket.get(), address, length) == 0 && getsockname(socket.get(), address, &length) == 0 &&
                 sendto(socket.get(), &byte, 1, 0, address, length) == 1
             ? ""
             : Errno("UDP over loopback");
}

}  // namespace

void Canary::Try(std::initializer_list<const char*> events, const Call& call) {
  const std::string problem = call();
  for (const char* event : events) {
    if (problem.empty()) {
      done_.insert(event);
    } else {
      why_[event] = problem;
    }
  }
}

Canary Canary::Sing(bool in_scope) {
  Canary canary;
  canary.Try({"process.fork", "process.exec", "process.exit", "file.exit", "syscall.exit"}, Exec);
  canary.why_["process.free"] = "the kernel frees a process a moment after its end";
  canary.why_["process.scan"] = "it runs when processes are listed";
  canary.why_["gpu.text"] = "it runs when a driver is loaded of which a function cannot be probed itself";
  canary.Try({"process.ptrace", "process.vm_read"}, LookInto);
  canary.Try({"process.traceme", "process.ptrace_call"}, TraceMe);
  static iovec nothing{};
  canary.Try({"process.unshare"}, [] { return AskInVain("unshare", SYS_unshare, 1); });
  canary.Try({"process.chroot"}, [] { return AskInVain("chroot", SYS_chroot, nullptr); });
  canary.Try({"process.setns"}, [] { return AskInVain("setns", SYS_setns, -1, 0); });
  canary.Try({"process.vm_write"},
             [] { return AskInVain("process_vm_writev", SYS_process_vm_writev, -1, &nothing, 1, &nothing, 1, 0); });
  canary.Try({"process.open_tree"}, [] { return AskInVain("open_tree", SYS_open_tree, -1, nullptr, 0); });
  canary.Try({"process.fsopen"}, [] { return AskInVain("fsopen", SYS_fsopen, nullptr, 0); });
  canary.Try({"process.move_mount"}, [] { return AskInVain("move_mount", SYS_move_mount, -1, nullptr, -1, nullptr, 0); });
  canary.Try({"file.open", "gpu.open", "gpu.ioctl"}, OpenNull);
#if defined(__x86_64__)
  canary.Try({"gpu.ioctl_compat"}, Ioctl32);
#else
  canary.why_["gpu.ioctl_compat"] = "moatd has no 32-bit program at hand";
#endif
  canary.why_["gpu.map"] = "moatd maps no PCI resource";
  canary.Try({"file.receive"}, Receive);
  canary.Try({"file.read_shmem", "file.write", "file.map", "file.mprotect", "file.truncate", "file.read@sys_exit",
              "file.read_label", "file.map_label", "gpu.map@sys_exit"},
             MemoryFile);
  canary.Try({"file.rename", "file.replace", "file.unlink", "file.rmdir", "file.link", "file.symlink", "file.gone"}, ChangeNames);
  canary.Try({"file.splice_shmem", "file.splice@sys_exit", "file.copy@sys_exit"}, SpliceMemory);
  canary.Try({"file.read@fentry"}, ReadFile);
  canary.Try({"file.splice@fentry"}, SpliceFile);
  canary.Try({"file.direct"}, ReadDirect);
  canary.why_["file.direct_simple"] = "it depends on the file system";
  canary.why_["file.direct_async"] = "moatd makes no asynchronous read";
  canary.why_["file.copy@fentry"] = "it takes a file system that shares extents";
  const std::string outside = "moatd is outside the cgroup that is watched";
  canary.Try({"net.state", "net.sent", "net.received", "net.destroy", "net.accept", "net.other_connect", "net.other_send",
              "net.sendpage"},
             [] { return Tcp(AF_INET); });
  canary.Try({"net.sent6", "net.received6"}, [] { return Tcp(AF_INET6); });
  canary.Try({"net.bind4@in", "net.sendmsg4@in", "net.release@in", "net.dns@in"}, [] { return Udp(AF_INET); });
  canary.Try({"net.bind6@in", "net.sendmsg6@in"}, [] { return Udp(AF_INET6); });
  for (const char* event : {"net.bind4", "net.sendmsg4", "net.release", "net.bind6", "net.sendmsg6", "net.dns"}) {
    if (in_scope && canary.done_.contains(std::string(event) + "@in")) {
      canary.done_.insert(event);
    }
  }
  if (in_scope && canary.done_.contains("net.sent")) {
    canary.done_.insert({"net.connect4", "net.cookie"});
  }
  if (in_scope && canary.done_.contains("net.sent6")) {
    canary.done_.insert("net.connect6");
  }
  for (const char* event : {"net.bind4", "net.sendmsg4", "net.release", "net.bind6", "net.sendmsg6", "net.connect4",
                            "net.connect6", "net.cookie", "net.dns"}) {
    if (!in_scope) {
      canary.why_.try_emplace(event, outside);
    }
  }
  return canary;
}

bool Canary::Did(std::string_view event, std::string_view backend) const {
  return done_.contains(event) || done_.contains(std::string(event) + "@" + std::string(backend));
}

std::string Canary::WhyNot(std::string_view event) const {
  for (const char* suffix : {"", "@in", "@fentry", "@sys_exit"}) {
    if (const auto found = why_.find(std::string(event) + suffix); found != why_.end()) {
      return found->second;
    }
  }
  return "moatd makes no such call";
}

}  // namespace moat::probe
