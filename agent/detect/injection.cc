// SPDX-License-Identifier: Apache-2.0
// Code or eyes put into a process that holds weights or accelerators: by ptrace, process_vm_*, /proc/PID/mem, or by telling the dynamic linker
// to load what the program does not name (LD_PRELOAD, LD_AUDIT). And hands on the agent itself, whatever it holds.
//
// Benign, and not told:
// - a debugger or tracer that has started the process itself, and a process that looks at its own parent of the same program (crash handlers);
// - ranks of a job that copy from each other (CMA of MPI and UCX): process_vm_* between processes of the same program and workload, which
//   run the same script;
// - a service of the host, run as root, that reads;
// - LD_PRELOAD that a container, unit or job was given from outside, or that was inherited: allocators are preloaded so. It is told where a
//   process sets it for another one by itself, when that one then opens weights or an accelerator. Where the environment has grown too long
//   to be looked at, that is said, with little confidence.
#include <string_view>
#include <variant>

#include "agent/base/recent.h"
#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/program.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::AccessOp;
using event::Kind;

constexpr size_t kProcesses = 16384;
constexpr size_t kParents = 2;  // gdb and strace start a program by themselves, or by a shell
constexpr uint32_t kLinker = event::kExecPreload | event::kExecAudit;

struct Way {
  const char* did;
  bool writes, vm;
};
Way WayOf(AccessOp op) {
  switch (op) {
    case AccessOp::kAttach: return {"attached to", true, false};
    case AccessOp::kPoke: return {"wrote by ptrace into", true, false};
    case AccessOp::kRegisters: return {"set the registers of", true, false};
    case AccessOp::kVmWrite: return {"wrote (process_vm_writev) into", true, true};
    case AccessOp::kVmRead: return {"read (process_vm_readv) the memory of", false, true};
    case AccessOp::kMemWrite: return {"opened for writing the memory (/proc/PID/mem) of", true, false};
    case AccessOp::kMemRead: return {"opened the memory (/proc/PID/mem) of", false, false};
    case AccessOp::kNone:
    case AccessOp::kCount: break;
  }
  return {"reached into", true, false};
}

class Injection final : public Detector {
 public:
  const char* name() const override { return "injection"; }
  uint32_t kinds() const override {
    return Wants(Kind::kProcessAccess) | Wants(Kind::kFork) | Wants(Kind::kExec) | Wants(Kind::kExit) | Wants(Kind::kFileOpen) |
           Wants(Kind::kGpuOpen);
  }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const event::Header& header = event.header;
    if (const auto* access = std::get_if<event::ProcessAccess>(&event.body)) {
      Reached(header, *access, scene, raise);
    } else if (const auto* exec = std::get_if<event::Exec>(&event.body); exec != nullptr && exec->image != nullptr) {
      Ran(header, *exec->image, scene);
    } else if (const auto* fork = std::get_if<event::Fork>(&event.body)) {
      Forked(header, *fork);
    } else if (header.kind == Kind::kExit) {
      preloaded_.Forget(KeyOf(header.process));
      holders_.Forget(KeyOf(header.process));
    } else if (const auto* open = std::get_if<event::FileOpen>(&event.body)) {
      if (open->asset < event::kMaxAssets && !preloaded_.rows().empty()) {
        Preloaded(header, AssetName(scene, open->asset), open->asset, scene, raise);
      }
    } else if (const auto* gpu = std::get_if<event::GpuOpen>(&event.body)) {
      bool fresh = false;
      holders_.Touch(KeyOf(header.process), &fresh) = gpu->rdev;
      if (!preloaded_.rows().empty()) {
        Preloaded(header, Printable(DeviceName(scene, gpu->rdev)), event::kNoAsset, scene, raise);
      }
    }
  }

 private:
  struct Key {
    uint64_t start_ns = 0, pid = 0;
  };
  static Key KeyOf(const event::ProcessKey& process) { return {.start_ns = process.start_ns, .pid = process.pid}; }

  // ---- the dynamic linker ----
  void Ran(const event::Header& header, const event::Process& image, const Scene& scene) {
    if ((image.exec_flags & (kLinker | event::kExecEnvTruncated)) == 0) {
      preloaded_.Forget(KeyOf(header.process));  // what runs now was not told to load anything
      return;
    }
    const auto parent = scene.Find(image.parent);
    if (parent != nullptr && ((parent->exec_flags & kLinker) != 0 || IsStarter(parent->exe))) {
      return;
    }
    const uint32_t flags = image.exec_flags & kLinker;
    if (flags == 0 && (parent == nullptr || (parent->exec_flags & event::kExecEnvTruncated) != 0)) {
      return;  // it was as long already
    }
    bool fresh = false;
    preloaded_.Touch(KeyOf(header.process), &fresh) = flags;
  }

  void Forked(const event::Header& header, const event::Fork& fork) {
    const uint32_t* const flags = preloaded_.rows().empty() ? nullptr : preloaded_.Find(KeyOf(header.process));
    if (flags != nullptr) {
      const uint32_t copy = *flags;  // the next line may drive it out
      bool fresh = false;
      preloaded_.Touch(KeyOf(fork.child), &fresh) = copy;
    }
  }

  void Preloaded(const event::Header& header, const std::string& what, uint32_t asset, const Scene& scene, Raise& raise) {
    const uint32_t* const flags = preloaded_.Find(KeyOf(header.process));
    if (flags == nullptr) {
      return;
    }
    if (*flags == 0) {
      MayBePreloaded(header, what, asset, scene, raise);
      return;
    }
    const bool audit = (*flags & event::kExecAudit) != 0;
    const std::string who = Who(scene, header), variable = audit ? "LD_AUDIT" : "LD_PRELOAD";
    const auto parent = header.info != nullptr ? scene.Find(header.info->parent) : nullptr;
    const std::string by = parent != nullptr && !parent->exe.empty() ? " by " + Printable(parent->exe) : "";
    Draft draft{
        .kind = event::FindingKind::kCodeInjection,
        .severity = audit ? event::Severity::kHigh : event::Severity::kMedium,
        .confidence = static_cast<uint8_t>(audit ? 65 : 45),
        .cause = variable + "\n" + Program(header) + "\n" + what,
        .process = header.process,
        .title = who + " opened " + what + " with foreign code in it (" + variable + ")",
        .explanation =
            who + " was started" + by + " with " + variable +
            " set, so it carries code that the program itself does not "
            "name, and then opened " +
            what +
            ". Code that is put into a program may do what the program may, and a policy that "
            "trusts the program trusts the code with it. It is harmless if the library is an allocator or a profiler that "
            "somebody preloads on purpose; what a container, unit or job is given from outside is not told.",
        .action = "Look which library it is (/proc/" + std::to_string(header.process.pid) +
                  "/environ and maps) and who put it there. If it is meant, set it where the workload is described.",
        .evidence = {"ran with " + variable + " set" + by, "opened " + what},
        .techniques = {technique::kDefenseEvasion, technique::kLinkerHijacking}};
    (asset != event::kNoAsset ? draft.assets : draft.devices).push_back(what);
    raise(std::move(draft));
  }

  static void MayBePreloaded(const event::Header& header, const std::string& what, uint32_t asset, const Scene& scene,
                             Raise& raise) {
    const std::string who = Who(scene, header);
    Draft draft{
        .kind = event::FindingKind::kCodeInjection,
        .severity = event::Severity::kLow,
        .confidence = 20,
        .cause = "long\n" + Program(header) + "\n" + what,
        .process = header.process,
        .title = who + " opened " + what + ", and may have foreign code in it: its environment is too long to be looked at",
        .explanation =
            who +
            " was started with an environment so long that it was not looked at to its end, longer than that of "
            "what started it, and then opened " +
            what +
            ". Behind what was looked at, LD_PRELOAD or LD_AUDIT may have put code into it that the program itself does "
            "not name. It is harmless if so many variables are set on purpose (modules of a cluster, a service mesh).",
        .action = "Look into /proc/" + std::to_string(header.process.pid) + "/environ for LD_PRELOAD and LD_AUDIT.",
        .evidence = {"ran with an environment too long to be looked at", "opened " + what},
        .techniques = {technique::kDefenseEvasion, technique::kLinkerHijacking}};
    (asset != event::kNoAsset ? draft.assets : draft.devices).push_back(what);
    raise(std::move(draft));
  }

  // ---- from process to process ----
  static bool IsParent(const event::ProcessKey& parent, const event::Process& of, const Scene& scene) {
    event::ProcessKey next = of.parent;
    for (size_t i = 0; i < kParents && next.pid != 0; ++i) {
      if (next == parent) {
        return true;
      }
      const auto process = scene.Find(next);
      next = process != nullptr ? process->parent : event::ProcessKey{};
    }
    return false;
  }

  // Of one job: they have the same script, or the same module or line of code for their interpreter, or are multiprocessing's own workers.
  static bool IsSameScript(const event::Process& a, const event::Process& b) {
    const auto arg = [](const event::Process& of, size_t i) {
      return i < of.args.size() ? std::string_view(of.args[i]) : std::string_view();
    };
    if (arg(a, 1) != arg(b, 1)) {
      return false;
    }
    constexpr std::string_view kWorker = "from multiprocessing.spawn import";
    return !arg(a, 1).starts_with('-') || arg(a, 2) == arg(b, 2) ||
           (arg(a, 1) == "-c" && arg(a, 2).starts_with(kWorker) && arg(b, 2).starts_with(kWorker));
  }

  static bool Harmless(const event::Header& header, const event::Process& target, const Way& way, const Scene& scene) {
    if (header.info == nullptr) {
      return false;
    }
    const event::Process& self = *header.info;
    const bool same = self.exe == target.exe && self.exe_inode == target.exe_inode && self.exe_dev == target.exe_dev;
    const bool own = same && self.cgroup_id == target.cgroup_id;
    return IsParent(self.key, target, scene) ||
           (own && ((way.vm && IsSameScript(self, target)) || IsParent(target.key, self, scene))) ||
           (!way.writes && IsSystemService(scene, self) && IsInstalled(self.exe));
  }

  // Nobody debugs what watches over the host, and whoever changes it may do all that it may.
  static void ReachedAgent(const event::Header& header, const event::ProcessAccess& access, const Way& way, const Scene& scene,
                           Raise& raise) {
    const bool failed = access.result < 0;
    const std::string what = Who(scene, header) + (failed ? " tried it and was refused: it " : " ") + way.did + " moatd[" +
                             std::to_string(access.target.pid) + "] itself";
    raise(
        {.kind = event::FindingKind::kAgentTampering,
         .severity = failed ? event::Severity::kHigh : event::Severity::kCritical,
         .confidence = 85,
         .cause = std::string(way.did) + "\n" + Program(header),
         .process = header.process,
         .title = what,
         .explanation =
             what + ". Who can change moatd can make it blind, and do under its name and rights whatever it may, which is nearly "
                    "everything. It is harmless if somebody debugs moatd on purpose (gdb, strace).",
         .action =
             "Take the host for an intruder's until somebody can say who that was: see who was root on it, and start moatd anew.",
         .evidence = {what + ", " + std::to_string(access.count) + (access.count == 1 ? " time" : " times") + " so far"},
         .techniques = {technique::kImpairTools, technique::kInjection}});
  }

  void Reached(const event::Header& header, const event::ProcessAccess& access, const Scene& scene, Raise& raise) {
    const Way way = WayOf(access.op);
    if (way.writes && scene.agent_pid() != 0 && access.target.pid == scene.agent_pid()) {
      ReachedAgent(header, access, way, scene, raise);
      return;
    }
    const uint32_t* const device = holders_.Find(KeyOf(access.target));
    if (access.target_labels == 0 && device == nullptr) {
      return;
    }
    const auto target = scene.Find(access.target);
    if (target != nullptr && Harmless(header, *target, way, scene)) {
      return;
    }
    const std::string who = Who(scene, header);
    const std::string victim =
        Printable(target != nullptr && !target->exe.empty() ? std::string_view(target->exe) : access.target_comm.view()) + "[" +
        std::to_string(access.target.pid) + "]";
    Draft draft;
    std::string holds;
    for (uint32_t asset = 0; asset < event::kMaxAssets; ++asset) {
      if ((access.target_labels >> asset & 1) != 0) {
        draft.assets.push_back(AssetName(scene, asset));
        holds += (holds.empty() ? "" : ", ") + draft.assets.back();
      }
    }
    if (device != nullptr) {
      draft.devices.push_back(Printable(DeviceName(scene, *device)));
      holds += (holds.empty() ? "" : ", ") + draft.devices.back();
    }
    const bool failed = access.result < 0, near = target != nullptr && target->cgroup_id == header.cgroup_id;
    const char* const refused = failed ? ", and was refused" : "";
    draft.kind = event::FindingKind::kCodeInjection;
    draft.severity = failed ? event::Severity::kMedium : near ? event::Severity::kHigh : event::Severity::kCritical;
    draft.confidence = static_cast<uint8_t>(near ? 65 : 85);
    draft.cause = std::string(way.did) + "\n" + Program(header) + "\n" + (target != nullptr ? Printable(target->exe) : "");
    draft.process = header.process;
    draft.title = who + (failed ? " tried it and was refused: it " : " ") + way.did + " " + victim + ", which holds " + holds;
    draft.explanation =
        who + " " + way.did + " " + victim + ", which holds " + holds + refused + ". " +
        (way.writes ? "Who can change another process can make it do anything, under its name and its rights."
                    : "The memory of a process that has loaded weights has the weights in it, and no file need be opened.") +
        " It is harmless if somebody debugs or profiles the program on purpose (gdb, strace, py-spy).";
    draft.action = "Find out who started " + Program(header) +
                   ". Where nobody debugs, kernel.yama.ptrace_scope=2 forbids it to all but "
                   "administrators.";
    draft.evidence = {std::string(way.did) + " " + victim + refused + ", " + std::to_string(access.count) +
                      (access.count == 1 ? " time" : " times") + " so far"};
    draft.techniques = {technique::kDefenseEvasion, technique::kInjection};
    if (!way.writes) {
      draft.techniques.push_back(technique::kFullAccess);
    }
    raise(std::move(draft));
  }

  Recent<Key, uint32_t> preloaded_{kProcesses};  // by a process of the workload itself: kExecPreload, kExecAudit; 0: maybe
  Recent<Key, uint32_t> holders_{kProcesses};  // of accelerators: the last one opened
};

}  // namespace

std::unique_ptr<Detector> MakeInjection() { return std::make_unique<Injection>(); }

}  // namespace moat::detect
