// SPDX-License-Identifier: Apache-2.0
// A workload leaves the world it was put in, or changes the kernel below it: joins the mount or process namespace of others, mounts what reaches
// the host (block devices, cgroups of version 1 with their release_agent, the kernel's own file systems), takes another process's root for its
// own, loads a module or another kernel. What is refused is an attempt, and weighs less.
//
// Benign, and not told: container runtimes at work, also inside the cgroup of the container that they set up, until they have run a program
// there: what such a program and its children are called proves nothing; systemd, services that it runs
// as root while they hold no weights, and people who log in; sandboxes: new namespaces, tmpfs, overlays, bind mounts, pivot_root, chroot into
// a directory, /proc of a process namespace of one's own; a network namespace that is joined (ip netns, CNI); the way back into a namespace
// that the same process has left itself, outside of containers.
//
// Of the newer way to mount (fsopen, fsconfig, fsmount, move_mount) the type is known, not the device nor the place.
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <vector>

#include "agent/base/recent.h"
#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/program.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;
using event::PrivilegeOp;
using event::Severity;
using event::WorkloadKind;

constexpr size_t kProcesses = 16384, kInside = 65536, kContainers = 8192;
constexpr size_t kParents = 4;  // runc's stages
constexpr size_t kOuter = 8;  // the same with shim or conmon, which may lie in a pod's cgroup

// include/uapi/linux/nsfs.h names them since 6.18; those of process and user namespaces have been these since 3.8.
constexpr uint32_t kHostPid = 0xeffffffc, kHostUser = 0xeffffffd;
// Of mount namespaces 0xeffffff8 since 6.18. Before, the host's is the first or second one that is given a number at boot, and it is
// never given back.
constexpr bool IsHostMount(uint32_t number) { return number == 0xeffffff8 || number == 0xf0000000 || number == 0xf0000001; }

// File systems that lie on a block device; what is mounted from one is the disk of the host, or of another workload.
constexpr std::array<std::string_view, 18> kOnDisks = {"ext2", "ext3",  "ext4",    "xfs",  "btrfs",    "f2fs",
                                                       "vfat", "exfat", "iso9660", "ntfs", "squashfs", "erofs",
                                                       "jfs",  "ntfs3", "fuseblk", "udf",  "msdos",    "bcachefs"};
// In which Apptainer has its images, by a program that is setuid: in jobs of people who are not root.
constexpr std::array<std::string_view, 4> kImages = {"squashfs", "ext2", "ext3", "ext4"};
// By which the kernel is changed or looked into. devtmpfs has the host's devices in it.
constexpr std::array<std::string_view, 6> kOfTheKernel = {"debugfs", "tracefs", "securityfs", "efivarfs", "devtmpfs", "configfs"};
// Where a host's root is put for a container that is meant to manage it.
constexpr std::array<std::string_view, 4> kHostRoots = {"/host", "/hostfs", "/host-root", "/rootfs"};
constexpr unsigned long kNoFileSystem = MS_BIND | MS_MOVE | MS_REMOUNT | MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;

template <size_t N>
bool IsOne(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

// Without what says the same in other words: "//", "/./", "/../", a slash at the end.
std::string Plain(std::string_view path) {
  std::string plain = std::filesystem::path(path).lexically_normal().native();
  if (plain.starts_with("//")) {
    plain.erase(0, 1);
  }
  if (plain.size() > 1 && plain.ends_with('/')) {
    plain.pop_back();
  }
  return plain;
}

bool IsNumber(std::string_view text) { return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos; }

// "/proc/1/root/etc": through another process's eyes, wherever a /proc lies: "/host/proc/1/root", "proc/1/root".
bool IsOthersRoot(std::string_view path) {
  const std::string plain = Plain(path);
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= plain.size();) {
    const size_t end = std::min(plain.find('/', at), plain.size());
    parts.push_back(std::string_view(plain).substr(at, end - at));
    at = end + 1;
  }
  for (size_t i = 0; i + 2 < parts.size(); ++i) {
    if (parts[i] == "proc" && IsNumber(parts[i + 1])) {
      const size_t root = parts[i + 2] == "task" ? i + 4 : i + 2;  // of its threads, too
      if (root < parts.size() && parts[root] == "root") {
        return true;
      }
    }
  }
  return false;
}

class NamespaceEscape final : public Detector {
 public:
  const char* name() const override { return "namespace_escape"; }
  uint32_t kinds() const override {
    return Wants(Kind::kPrivilege) | Wants(Kind::kFork) | Wants(Kind::kExec) | Wants(Kind::kScan) | Wants(Kind::kExit);
  }
  uint64_t forgotten() const override { return left_.evicted() + inside_.evicted(); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const event::Header& header = event.header;
    if (header.kind == Kind::kExit) {
      left_.Forget(KeyOf(header.process));
      inside_.Forget(KeyOf(header.process));
    } else if (const auto* fork = std::get_if<event::Fork>(&event.body)) {
      if (!inside_.rows().empty() && inside_.Find(KeyOf(header.process)) != nullptr) {
        bool fresh = false;
        inside_.Touch(KeyOf(fork->child), &fresh) = {};
      }
    } else if (const auto* exec = std::get_if<event::Exec>(&event.body)) {
      if (exec->image != nullptr) {
        Ran(header, *exec->image, scene);
      }
    } else if (const auto* call = std::get_if<event::Privilege>(&event.body)) {
      Called(header, *call, scene, raise);
    }
  }

 private:
  struct Key {
    uint64_t start_ns = 0, pid = 0;
  };
  static Key KeyOf(const event::ProcessKey& process) { return {.start_ns = process.start_ns, .pid = process.pid}; }

  struct CgroupKey {
    uint64_t id = 0;
  };
  struct Nothing {};

  // What a call comes to.
  struct Act {
    Severity severity, attempt;  // when it is refused
    uint8_t confidence;
    std::string did, tried;  // "mounted ...", "mount ..."
    const char* means;
    bool module = false;
  };

  void Called(const event::Header& header, const event::Privilege& call, const Scene& scene, Raise& raise) {
    if (call.op == PrivilegeOp::kUnshare && call.result >= 0) {
      bool fresh = false;
      left_.Touch(KeyOf(header.process), &fresh) |= call.flags;
    }
    const std::string cgroup = header.info != nullptr ? header.info->cgroup : std::string();
    const auto workload = cgroup.empty() ? nullptr : scene.Whose(cgroup);
    // Of a process that is not known, the number of its cgroup is.
    const bool container = workload != nullptr ? IsContainers(*workload) : containers_.Find({.id = header.cgroup_id}) != nullptr;
    if (IsTrusted(header, cgroup, workload.get(), container, scene)) {
      return;
    }
    if (auto act = ActOf(header, call, container); act) {
      Tell(header, call, *act, scene, raise);
    }
  }

  static bool IsContainers(const event::Workload& workload) {
    return !workload.container_id.empty() || !workload.pod_uid.empty();
  }

  // From the first program that is run in a container on, nobody there is its runtime any more, and neither is what that program starts.
  // The container's first program comes in place of the runtime, whose parent is outside, so one that is named as a runtime is none either;
  // hooks are run by a runtime that is in there itself, and runc runs itself anew by /proc.
  void Ran(const event::Header& header, const event::Process& image, const Scene& scene) {
    const auto workload = image.cgroup.empty() ? nullptr : scene.Whose(image.cgroup);
    if (workload == nullptr || !IsContainers(*workload)) {
      return;
    }
    bool fresh = false;
    containers_.Touch({.id = header.cgroup_id}, &fresh) = {};
    bool runtime = IsRuntime(image);
    if (runtime && header.kind == Kind::kExec && !IsRuntimeCopy(image) && !image.filename.starts_with("/proc/self/")) {
      const auto parent = scene.Find(image.parent);
      runtime = parent != nullptr && parent->cgroup_id == image.cgroup_id;
    }
    if (!runtime) {
      inside_.Touch(KeyOf(header.process), &fresh) = {};
    }
  }

  // Whose work it is to do such things.
  bool IsTrusted(const event::Header& header, const std::string& cgroup, const event::Workload* workload, bool container,
                 const Scene& scene) {
    if (header.info == nullptr) {
      return header.labels == 0 && !container;  // whoever it is, it is not known to be of a workload
    }
    const event::Process& self = *header.info;
    if (container) {
      return IsSettingUp(self, scene);
    }
    // systemd makes a service's namespaces in its child, before it runs the program.
    if (IsStarter(self.exe) || (IsRuntimeCopy(self) && IsOfRuntime(self, scene))) {
      return true;
    }
    if (header.labels != 0) {
      return false;
    }
    if (cgroup.empty()) {
      return IsOfSystemd(header, self, scene);
    }
    if (cgroup == "/" || IsSystemService(scene, self)) {
      return true;  // "/": helpers of the kernel itself, modprobe among them
    }
    return workload != nullptr && event::KindOf(*workload) == WorkloadKind::kUnit &&
           (workload->unit.starts_with("user@") || workload->unit.ends_with(".scope") || workload->unit == "ssh.service" ||
            workload->unit == "sshd.service");
  }

  // Of a cgroup that was gone before anyone could look what it is called: a service that has done one thing (modprobe@.service), or a
  // container that lived as short. Who has started what is in there tells them apart.
  static bool IsOfSystemd(const event::Header& header, const event::Process& self, const Scene& scene) {
    auto process = scene.Find(self.parent);
    for (size_t i = 0; process != nullptr && process->cgroup_id == header.cgroup_id && i < kParents; ++i) {
      process = scene.Find(process->parent);
    }
    return process != nullptr && IsStarter(process->exe) && !IsContainerRuntime(process->exe);
  }

  static bool IsRuntime(const event::Process& process) { return IsContainerRuntime(process.exe) || IsRuntimeCopy(process); }
  static bool IsOfRuntime(const event::Process& copy, const Scene& scene) {
    auto process = scene.Find(copy.parent);
    for (size_t i = 0; process != nullptr && IsRuntimeCopy(*process) && i < kParents; ++i) {
      process = scene.Find(process->parent);
    }
    return process != nullptr && IsContainerRuntime(process->exe);
  }

  // A runtime that makes the world of a container does so in the container's cgroup, already. A name is free to choose in there, and so are
  // cgroups below it: a runtime in no container must have started it, with nothing but runtimes in between that never ran anything else.
  bool IsSettingUp(const event::Process& self, const Scene& scene) {
    const auto at_work = [&](const event::Process& process) {
      return IsRuntime(process) && (inside_.rows().empty() || inside_.Find(KeyOf(process.key)) == nullptr);
    };
    if (!at_work(self)) {
      return false;
    }
    auto process = scene.Find(self.parent);
    for (size_t i = 0; process != nullptr && i < kOuter && at_work(*process); ++i) {
      const auto workload = process->cgroup.empty() ? nullptr : scene.Whose(process->cgroup);
      if (process->cgroup == "/" || (workload != nullptr && !IsContainers(*workload))) {
        return IsContainerRuntime(process->exe);
      }
      process = scene.Find(process->parent);
    }
    return false;
  }

  std::optional<Act> ActOf(const event::Header& header, const event::Privilege& call, bool container) {
    const std::string target = Printable(call.target.view());
    switch (call.op) {
      case PrivilegeOp::kInitModule:
      case PrivilegeOp::kFinitModule: {
        if (call.result == -EEXIST) {
          return std::nullopt;
        }
        const std::string what = "a kernel module" + (target.empty() ? "" : " (" + target + ")");
        return Act{.severity = Severity::kCritical,
                   .attempt = Severity::kMedium,
                   .confidence = 80,
                   .did = "loaded " + what,
                   .tried = "load " + what,
                   .means = "Code in the kernel can do everything, and hide it.",
                   .module = true};
      }
      case PrivilegeOp::kKexecLoad:
      case PrivilegeOp::kKexecFileLoad:
        return Act{.severity = Severity::kCritical,
                   .attempt = Severity::kMedium,
                   .confidence = 85,
                   .did = "loaded another kernel",
                   .tried = "load another kernel",
                   .means = "Who chooses the kernel that runs next has the whole host."};
      case PrivilegeOp::kSetns: return Joined(header, call, container);
      case PrivilegeOp::kMount:
      case PrivilegeOp::kFsopen: return Mounted(header, call, container);
      case PrivilegeOp::kOpenTree:
      case PrivilegeOp::kChroot:
        if (!IsOthersRoot(call.target.view()) &&
            !(container && call.op == PrivilegeOp::kChroot && IsOne(kHostRoots, Plain(call.target.view())))) {
          return std::nullopt;
        }
        return Act{.severity = IsOthersRoot(call.target.view()) ? Severity::kHigh : Severity::kMedium,
                   .attempt = Severity::kLow,
                   .confidence = 65,
                   .did = "took " + target + " for its root",
                   .tried = "take " + target + " for its root",
                   .means = "That is the file system of others, which the workload was not given."};
      default: return std::nullopt;
    }
  }

  std::optional<Act> Joined(const event::Header& header, const event::Privilege& call, bool container) {
    // Without flags any namespace may be joined: which it was, its number tells.
    const auto joined = [&](uint64_t flag, uint32_t now) { return (call.flags & flag) != 0 || call.inode == now; };
    const bool mounts = joined(CLONE_NEWNS, call.mount_ns), processes = joined(CLONE_NEWPID, call.pid_ns);
    if (!mounts && !processes) {
      return std::nullopt;
    }
    const bool worked = call.result >= 0;
    const bool host = worked && ((mounts && IsHostMount(call.mount_ns)) || (processes && call.pid_ns == kHostPid));
    const uint64_t* const left = left_.Find(KeyOf(header.process));
    const uint64_t back = (mounts ? CLONE_NEWNS : 0) | (processes ? CLONE_NEWPID : 0);
    if (!container && left != nullptr && (*left & back) == back) {
      return std::nullopt;
    }
    const std::string what =
        std::string(mounts ? processes ? "mount and process namespaces" : "mount namespace" : "process namespace") +
        (host ? " of the host" : " of another process");
    return Act{.severity = host ? Severity::kCritical : Severity::kHigh,
               .attempt = Severity::kMedium,
               .confidence = static_cast<uint8_t>(host ? 85 : 65),
               .did = "joined the " + what,
               .tried = "join the " + what,
               .means = "There it sees the files or processes of others, as if it were none of a workload."};
  }

  static std::optional<Act> Mounted(const event::Header& header, const event::Privilege& call, bool container) {
    const std::string_view source = call.source.view(), target = call.target.view(), type = call.type.view();
    const bool opened = call.op == PrivilegeOp::kFsopen;  // it tells the type alone, and its flags are others
    const uint64_t flags = opened ? 0 : call.flags;
    const std::string where = opened ? " (" + Printable(type) + ")" : " on " + Printable(target);
    const auto act = [&](Severity severity, uint8_t confidence, const std::string& what, const char* means) {
      return Act{.severity = severity,
                 .attempt = Severity::kLow,
                 .confidence = confidence,
                 .did = (opened ? "began to mount " : "mounted ") + what + where,
                 .tried = "mount " + what + where,
                 .means = means};
    };
    if ((flags & MS_BIND) != 0 && IsOthersRoot(source)) {
      return act(Severity::kHigh, 70, Printable(source), "That is the file system of others, which the workload was not given.");
    }
    if ((flags & MS_REMOUNT) != 0) {
      const bool open = container && (call.flags & MS_RDONLY) == 0 &&
                        (Plain(target).starts_with("/proc/sys") || Plain(target).starts_with("/sys"));
      return open ? std::optional(act(Severity::kHigh, 65, "for writing what was for reading alone",
                                      "By files there the kernel is told what to run on the host."))
                  : std::nullopt;
    }
    if ((flags & kNoFileSystem) != 0) {
      return std::nullopt;
    }
    // Whatever the device is called: a node can be made anywhere (mknod), and is found from any directory.
    if (IsOne(kOnDisks, type)) {
      const event::Process* const self = header.info.get();
      if (!container && self != nullptr && (self->exec_flags & event::kExecSetuid) != 0 && IsInstalled(self->exe) &&
          (opened || Plain(source).starts_with("/dev/loop")) && IsOne(kImages, type)) {
        return std::nullopt;
      }
      return act(Severity::kHigh, 70, opened ? "a block device" : "the block device " + Printable(source),
                 "A disk has the files of the host or of other workloads on it, with no regard to whose they are.");
    }
    if (type == "cgroup") {
      return act(
          Severity::kHigh, 75, "a hierarchy of cgroups",
          "Who can write there names a program (release_agent) that the kernel runs on the host, as root (CVE-2022-0492).");
    }
    if (IsOne(kOfTheKernel, type)) {
      return act(Severity::kMedium, 60, Printable(type), "By such files the kernel is looked into or changed.");
    }
    // The runtime has given it both with parts of them hidden or for reading alone; these are without. In a user namespace of its own the
    // kernel lets nobody write what is the host's. Who is not known may be the runtime.
    if (container && call.user_ns == kHostUser && header.info != nullptr) {
      if (type == "proc" && call.pid_ns == kHostPid) {
        return act(Severity::kHigh, 60, "the host's /proc",
                   "By /proc the processes of the host are seen, and the kernel's settings changed.");
      }
      if (type == "proc" || type == "sysfs") {
        return act(
            Severity::kMedium, 50, "another " + Printable(type),
            "The one that it was given hides how the kernel's settings are changed (/proc/sys, core_pattern, uevent_helper); this "
            "one does not.");
      }
    }
    return std::nullopt;
  }

  static void Tell(const event::Header& header, const event::Privilege& call, const Act& act, const Scene& scene, Raise& raise) {
    const bool failed = call.result < 0;
    const std::string who = Who(scene, header);
    const std::string what = failed ? "tried to " + act.tried + ", and was refused" : act.did;
    Draft draft{
        .kind = event::FindingKind::kNamespaceEscape,
        .severity = failed ? act.attempt : act.severity,
        .confidence = act.confidence,
        .cause = std::string(event::PrivilegeOpName(call.op)) + "\n" + Program(header) + "\n" + Printable(call.type.view()) +
                 (failed ? "\nrefused" : ""),
        .process = header.process,
        .title = who + " " + what,
        .explanation =
            who + " " + what + ". " + act.means +
            " A workload that runs models has no reason to. It is harmless if this workload is there to manage the "
            "host (a storage or network driver of the cluster, an installer of GPU drivers, containers in containers): then name it in detect.expected.",
        .action = failed
                      ? "Find out what in this workload wants that; a container without CAP_SYS_ADMIN and CAP_SYS_MODULE cannot."
                      : "Take the host for an intruder's. Run the workload without privileged, without CAP_SYS_ADMIN and "
                        "CAP_SYS_MODULE, in a user namespace of its own, and with the default seccomp profile.",
        .evidence = {std::string(event::PrivilegeOpName(call.op)) + ": " + what},
        .techniques = {technique::kHostEscape, technique::kEscapeToHost}};
    if (act.module) {
      draft.techniques.push_back(technique::kKernelModules);
    }
    raise(std::move(draft));
  }

  Recent<Key, Nothing> inside_{kInside};  // ran a program in a container that is no runtime, or come from such
  Recent<CgroupKey, Nothing> containers_{kContainers};  // cgroups of containers
  Recent<Key, uint64_t> left_{kProcesses};  // CLONE_NEW*: which namespaces a process has left by itself
};

}  // namespace

std::unique_ptr<Detector> MakeNamespaceEscape() { return std::make_unique<NamespaceEscape>(); }

}  // namespace moat::detect
