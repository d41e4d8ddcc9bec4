// SPDX-License-Identifier: Apache-2.0
// A program that is in no file: of memory (memfd), or of a file without a name any more.
//
// Benign, and not told:
// - a container runtime that runs a copy of itself from memory, so that nobody in the container can write to the program it came from
//   (CVE-2019-5736): the memory has the runtime's name for it (memfd:runc_cloned:..., memfd:crun_cloned:...), and whoever started it, or it
//   was itself before, is an installed container runtime;
// - a program that a package manager has replaced while it ran, and that runs itself once more by /proc/self/exe: its file lay where packages
//   put programs, it was asked for by /proc/..., and whoever started it is the same program;
// - what ran before the agent with a file that is gone: the same upgrade, seen later.
#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/program.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;

class Fileless final : public Detector {
 public:
  const char* name() const override { return "fileless"; }
  uint32_t kinds() const override { return Wants(Kind::kExec) | Wants(Kind::kScan); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const auto* exec = std::get_if<event::Exec>(&event.body);
    if (exec == nullptr || exec->image == nullptr || (exec->image->exec_flags & (event::kExecMemfd | event::kExecDeleted)) == 0) {
      return;
    }
    const event::Process& image = *exec->image;
    const auto parent = scene.Find(image.parent);
    const bool memory = (image.exec_flags & event::kExecMemfd) != 0, scan = event.header.kind == Kind::kScan;
    if (memory ? IsRuntimeClone(image, parent.get()) : scan || IsUpgraded(image, parent.get())) {
      return;
    }
    Tell(event.header, image, memory, scene, raise);
  }

 private:
  static bool IsRuntimeClone(const event::Process& image, const event::Process* parent) {
    const bool named =
        image.exe.find("memfd:runc_cloned:") != std::string::npos || image.exe.find("memfd:crun_cloned:") != std::string::npos;
    return named && parent != nullptr && (IsContainerRuntime(parent->exe) || IsCloneOf(*parent));
  }
  // A clone's child, which runs it again.
  static bool IsCloneOf(const event::Process& parent) {
    return (parent.exec_flags & event::kExecMemfd) != 0 && parent.uid == 0 && parent.exe.find("_cloned:") != std::string::npos;
  }
  static bool IsUpgraded(const event::Process& image, const event::Process* parent) {
    const bool itself = image.filename.starts_with("/proc/") && image.filename.ends_with("/exe");
    return itself && IsInstalled(image.exe) && parent != nullptr && BaseName(parent->exe) == BaseName(image.exe) &&
           IsInstalled(parent->exe);
  }

  static void Tell(const event::Header& header, const event::Process& image, bool memory, const Scene& scene, Raise& raise) {
    const std::string program = image.exe.empty() ? Printable(header.comm.view()) : Printable(image.exe);
    const std::string where = Whose(scene, header), from = memory ? "from memory" : "from a file that has no name any more";
    const bool holds = header.labels != 0;
    std::vector<std::string> assets;
    for (uint32_t asset = 0; asset < event::kMaxAssets; ++asset) {
      if ((header.labels >> asset & 1) != 0) {
        assets.push_back(AssetName(scene, asset));
      }
    }
    raise({.kind = event::FindingKind::kFilelessExec,
           .severity = holds    ? event::Severity::kCritical
                       : memory ? event::Severity::kHigh
                                : event::Severity::kMedium,
           .confidence = static_cast<uint8_t>((memory ? 80 : 55) + (holds ? 10 : 0)),
           .cause = program,
           .process = header.process,
           .title = "A program ran " + from + " in " + where + ": " + program + "[" + std::to_string(header.process.pid) + "]",
           .explanation =
               "A program ran " + from + " in " + where + ": " + program +
               (holds ? ", holding what was read of protected assets" : "") +
               ". No scanner of files can see it, and nothing is left to look at when it ends, which is why intruders do this. "
               "Container runtimes that protect themselves so, and programs that were upgraded while they ran, are not told. It "
               "is harmless if it is a program that unpacks and runs itself.",
           .action =
               memory
                   ? "While it runs, /proc/" + std::to_string(header.process.pid) +
                         "/exe is the program: copy it for a closer look before ending the process, and find out who started it."
                   : "Find out who started it and who removed its file. /proc/" + std::to_string(header.process.pid) +
                         "/exe is the program while it runs.",
           .assets = std::move(assets),
           .evidence = {"ran " + program + (image.filename.empty() ? "" : ", asked for as " + Printable(image.filename))},
           .techniques = {technique::kDefenseEvasion, technique::kReflective}});
  }
};

}  // namespace

std::unique_ptr<Detector> MakeFileless() { return std::make_unique<Fileless>(); }

}  // namespace moat::detect
