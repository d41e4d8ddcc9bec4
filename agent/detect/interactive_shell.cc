// SPDX-License-Identifier: Apache-2.0
// Somebody types in a workload that holds weights or accelerators: a shell, or an interpreter without a script, at a terminal; either that a
// container runtime has started beside the workload (kubectl exec, docker exec) and that reads commands; whatever else was started so and
// then opens weights or an accelerator, as the tar of kubectl cp does.
//
// A workload holds them from when one of its processes (of its cgroup) has opened an asset or an accelerator, or carries a label.
//
// Benign, and not told: shells with a script or -c, with or without a terminal; the container's first process, whatever it is; what a runtime
// starts without a terminal while it opens no weights (probes of the kubelet, hooks); GPU tools that are started so; shells that were there
// before the workload held anything (srun --pty, then the training), and shells that one at a terminal starts (it is the same person); people
// who log in to the host, whose sessions have cgroups of their own.
#include <algorithm>
#include <array>
#include <bit>

#include "agent/base/recent.h"
#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/program.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;
using event::Severity;

constexpr size_t kWorkloads = 16384, kVisitors = 16384;
constexpr size_t kParents = 8;  // script, tmux and su lie between two shells of one person

// What a shell was told by its arguments to do.
enum class Task : uint8_t { kNoShell, kScript, kReads };

// Of a shell's own arguments, from this one on: -c and an operand name what it runs; with neither it reads its input.
Task TaskOf(const std::vector<std::string>& args, size_t from) {
  for (size_t i = from; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg.size() < 2 || (arg[0] != '-' && arg[0] != '+')) {
      return arg == "-" ? Task::kReads : Task::kScript;
    }
    if (arg.starts_with("--")) {
      if (arg == "--") {
        return i + 1 < args.size() ? Task::kScript : Task::kReads;
      }
      i += arg == "--rcfile" || arg == "--init-file" ? 1 : 0;  // bash's, which take a word
    } else if (arg[0] == '-' && arg.find('c') != std::string::npos) {
      return Task::kScript;
    } else if (arg[0] == '-' && arg.find('s') != std::string::npos) {
      return Task::kReads;  // operands are its parameters
    } else if (arg.back() == 'o' || arg.back() == 'O') {
      ++i;  // -o pipefail
    }
  }
  return Task::kReads;
}

Task TaskOf(const event::Process& image) {
  if (!IsShell(image.exe)) {
    return Task::kNoShell;
  }
  size_t at = 0;
  if (BaseName(image.exe) == "busybox") {  // what it is stands in its name, or in its first argument
    const auto named = [&](size_t i) {
      const std::string_view name = i < image.args.size() ? BaseName(image.args[i]) : std::string_view();
      return name.starts_with('-') ? name.substr(1) : name;
    };
    at = named(0) == "busybox" ? 1 : 0;
    if (!IsShell(named(at)) || named(at) == "busybox") {
      return Task::kNoShell;
    }
  }
  return TaskOf(image.args, at + 1);
}

// Options of interpreters that are one letter: with `other` it does something else than read its input (code, a module, its version), `word`
// takes a word.
struct Options {
  std::string_view name, other, word;
};
constexpr std::array<Options, 8> kOptions = {{{"python", "cmVh?", "WXQ"},
                                              {"pypy", "cmVh?", "WXQ"},
                                              {"perl", "eEvVhc?", "I"},
                                              {"ruby", "evhc", "rICEKT"},
                                              {"node", "epvhc", "rC"},
                                              {"php", "rfvimhBREFSls", "dcz"},
                                              {"lua", "ev", "l"},
                                              {"tclsh", "", ""}}};
constexpr std::array<std::string_view, 7> kOtherLong = {"--version", "--help", "--eval", "--print", "--test", "--run", "--check"};

// An interpreter with options alone, which reads its program from its input.
bool ReadsProgram(const event::Process& image) {
  const auto* const options =
      std::ranges::find_if(kOptions, [&](const Options& one) { return BaseName(image.exe).starts_with(one.name); });
  if (!IsInterpreter(image.exe) || options == kOptions.end() || image.args.empty()) {
    return false;
  }
  for (size_t i = 1; i < image.args.size(); ++i) {
    const std::string_view arg = image.args[i];
    if (!arg.starts_with('-') || arg == "--") {
      return arg == "--" && i + 1 == image.args.size();
    }
    if (arg == "-") {
      return true;
    }
    if (arg.starts_with("--")) {
      if (std::ranges::any_of(kOtherLong, [&](std::string_view other) { return arg.starts_with(other); })) {
        return false;
      }
      continue;
    }
    const size_t at = arg.substr(1).find_first_of(std::string(options->other) + std::string(options->word));
    if (at == std::string_view::npos) {
      continue;
    }
    if (options->other.find(arg[at + 1]) != std::string_view::npos) {
      return false;
    }
    i += at + 2 == arg.size() ? 1 : 0;  // the word is the next argument, not the rest of this one
  }
  return true;
}

// A shell or an interpreter that does what somebody types.
bool Listens(const event::Process& image) { return TaskOf(image) == Task::kReads || ReadsProgram(image); }

// Where people who log in have their shells, by systemd's names.
bool IsLoginPlace(const event::Workload& workload) {
  const std::string& unit = workload.unit;
  return event::KindOf(workload) == event::WorkloadKind::kUnit &&
         ((unit.starts_with("session-") && unit.ends_with(".scope")) || unit.starts_with("user@") || unit == "ssh.service" ||
          unit == "sshd.service" || unit.find("getty@") != std::string::npos || unit == "console-getty.service");
}

class InteractiveShell final : public Detector {
 public:
  const char* name() const override { return "interactive_shell"; }
  uint32_t kinds() const override {
    return Wants(Kind::kFork) | Wants(Kind::kExec) | Wants(Kind::kScan) | Wants(Kind::kExit) | Wants(Kind::kFileOpen) |
           Wants(Kind::kFileMap) | Wants(Kind::kGpuOpen);
  }
  uint64_t forgotten() const override { return workloads_.evicted() + visitors_.evicted(); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const event::Header& header = event.header;
    if (header.kind == Kind::kExit) {
      visitors_.Forget(KeyOf(header.process));
    } else if (const auto* fork = std::get_if<event::Fork>(&event.body)) {
      if (const Visit* visit = visitors_.rows().empty() ? nullptr : visitors_.Find(KeyOf(header.process)); visit != nullptr) {
        const Visit copy = *visit;  // the next line may drive it out
        bool fresh = false;
        visitors_.Touch(KeyOf(fork->child), &fresh) = copy;
      }
    } else if (const auto* exec = std::get_if<event::Exec>(&event.body)) {
      if (exec->image != nullptr) {
        Ran(header, *exec->image, scene, raise);
      }
    } else if (const auto* open = std::get_if<event::FileOpen>(&event.body)) {
      Opened(header, open->asset, 0, scene, raise);
    } else if (const auto* map = std::get_if<event::FileMap>(&event.body)) {
      Opened(header, map->asset, 0, scene, raise);
    } else if (const auto* gpu = std::get_if<event::GpuOpen>(&event.body)) {
      Opened(header, event::kNoAsset, gpu->rdev, scene, raise);
    }
  }

 private:
  struct Key {
    uint64_t start_ns = 0, pid = 0;
  };
  static bool Same(const Key& a, const Key& b) { return a.start_ns == b.start_ns && a.pid == b.pid; }
  struct CgroupKey {
    uint64_t id = 0;
  };
  struct Row {
    Key first;  // the process that was seen first
    uint32_t asset = event::kNoAsset, rdev = 0;  // what it holds: the first of each
    bool holds() const { return asset != event::kNoAsset || rdev != 0; }
  };
  struct Visit {
    bool told = false;
  };
  static Key KeyOf(const event::ProcessKey& process) { return {.start_ns = process.start_ns, .pid = process.pid}; }

  // Null: what runs there is no workload. The root of all cgroups is where a host without systemd keeps everything.
  Row* RowOf(const event::Header& header, const event::Process* who, bool* fresh) {
    if (header.cgroup_id == 0 || (who != nullptr && (who->cgroup == "/" || IsContainerRuntime(who->exe)))) {
      return nullptr;
    }
    if (who != nullptr && IsRuntimeCopy(*who) && workloads_.Find({.id = header.cgroup_id}) == nullptr) {
      return nullptr;  // a runtime that is about to start the container's first process
    }
    Row& row = workloads_.Touch({.id = header.cgroup_id}, fresh);
    if (*fresh) {
      row.first = KeyOf(header.process);
    }
    if (row.asset == event::kNoAsset && header.labels != 0) {
      row.asset = static_cast<uint32_t>(std::countr_zero(header.labels));
    }
    return &row;
  }

  void Ran(const event::Header& header, const event::Process& image, const Scene& scene, Raise& raise) {
    bool fresh = false;
    const Row* row = RowOf(header, &image, &fresh);
    if (row == nullptr || header.kind == Kind::kScan) {
      return;
    }
    const Key key = KeyOf(header.process);
    const auto parent = scene.Find(image.parent);
    const bool again = visitors_.Find(key) != nullptr;
    if (!again && !Same(row->first, key) && parent != nullptr && IsContainerRuntime(parent->exe)) {
      visitors_.Touch(key, &fresh) = {};
    }
    Visit* const visit = visitors_.Find(key);
    const bool tty = (image.exec_flags & event::kExecTty) != 0, listens = Listens(image);
    if (!row->holds() || (visit != nullptr && visit->told) ||
        !(visit != nullptr ? tty || listens : tty && listens && !SamePerson(image, scene))) {
      return;
    }
    const auto workload = image.cgroup.empty() ? nullptr : scene.Whose(image.cgroup);
    if (workload != nullptr && IsLoginPlace(*workload)) {
      return;
    }
    if (visit != nullptr) {
      visit->told = true;
    }
    const bool job = workload != nullptr && event::KindOf(*workload) == event::WorkloadKind::kJob;
    Tell(header, *row, scene, raise,
         {.severity = job || !listens || !tty ? Severity::kMedium : Severity::kHigh,
          .confidence = static_cast<uint8_t>(tty && listens ? 80 : 65),
          .did = std::string(listens ? "does what somebody types" : "was started by somebody") +
                 (tty ? " at a terminal" : " through a container runtime"),
          .visit = visit != nullptr});
  }

  // A shell at a terminal has started it: who sits there was told of, or was there before the workload held anything.
  static bool SamePerson(const event::Process& image, const Scene& scene) {
    event::ProcessKey next = image.parent;
    for (size_t i = 0; i < kParents && next.pid != 0; ++i) {
      const auto process = scene.Find(next);
      if (process == nullptr || process->cgroup_id != image.cgroup_id) {
        return false;
      }
      if ((process->exec_flags & event::kExecTty) != 0 && TaskOf(*process) == Task::kReads) {
        return true;
      }
      next = process->parent;
    }
    return false;
  }

  void Opened(const event::Header& header, uint32_t asset, uint32_t rdev, const Scene& scene, Raise& raise) {
    if (asset >= event::kMaxAssets && rdev == 0) {
      return;
    }
    bool fresh = false;
    Row* row = RowOf(header, header.info.get(), &fresh);
    if (row == nullptr) {
      return;
    }
    if (rdev == 0) {
      row->asset = row->asset == event::kNoAsset ? asset : row->asset;
    } else if (row->rdev == 0) {
      row->rdev = rdev;
    }
    Visit* const visit = visitors_.rows().empty() ? nullptr : visitors_.Find(KeyOf(header.process));
    if (visit == nullptr || visit->told || (rdev != 0 && header.info != nullptr && IsGpuTool(header.info->exe))) {
      return;
    }
    visit->told = true;
    const Row opened{.first = {}, .asset = rdev == 0 ? asset : event::kNoAsset, .rdev = rdev};
    Tell(header, opened, scene, raise,
         {.severity = Severity::kHigh, .confidence = 70, .did = "was started through a container runtime", .visit = true});
  }

  struct What {
    Severity severity;
    uint8_t confidence;
    std::string did;
    bool visit;
  };
  static void Tell(const event::Header& header, const Row& row, const Scene& scene, Raise& raise, const What& what) {
    const std::string who = Who(scene, header);
    Draft draft;
    std::string holds;
    if (row.asset != event::kNoAsset) {
      draft.assets.push_back(AssetName(scene, row.asset));
      holds = draft.assets.back();
    }
    if (row.rdev != 0) {
      draft.devices.push_back(Printable(DeviceName(scene, row.rdev)));
      holds += (holds.empty() ? "" : " and ") + draft.devices.back();
    }
    draft.kind = event::FindingKind::kInteractiveShell;
    draft.severity = what.severity;
    draft.confidence = what.confidence;
    draft.cause = what.did + "\n" + Program(header) + "\n" + holds;
    draft.process = header.process;
    draft.title = who + " " + what.did + ", where " + holds + " is open";
    draft.explanation = who + " " + what.did + ", in a workload that has opened " + holds +
                        ". Weights and accelerators are used by programs; whoever has a shell beside them can read what they can "
                        "read, and no policy that trusts the workload tells the two apart. It is harmless if somebody whom you "
                        "know looks after the workload by hand.";
    draft.action = what.visit ? "Find out in the audit log of the cluster who has called exec (pods/exec), and allow that to few."
                              : "Find out how this shell came here: what has started it is named below.";
    draft.evidence = {"ran " + Program(header) + ", which " + what.did};
    draft.techniques = {technique::kValidAccounts, technique::kUnixShell};
    if (what.visit) {
      draft.techniques.push_back(technique::kContainerAdministration);
    }
    raise(std::move(draft));
  }

  Recent<CgroupKey, Row> workloads_{kWorkloads};
  Recent<Key, Visit> visitors_{kVisitors};  // what a runtime has started beside a workload, and what that has started
};

}  // namespace

std::unique_ptr<Detector> MakeInteractiveShell() { return std::make_unique<InteractiveShell>(); }

}  // namespace moat::detect
