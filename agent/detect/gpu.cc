// SPDX-License-Identifier: Apache-2.0
// Accelerators: used by somebody who was not declared, and calls, opens and mappings that mean something (event::GpuCategoryName).
//
// Who was not declared: policies deny the device to the process, or they speak of accelerators and not of it. Benign of the second are the
// tools of the driver and the host's services.
#include <array>

#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/memory.h"
#include "agent/detect/program.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;
using event::Severity;

constexpr size_t kAsked = 16384;
constexpr uint64_t kSpokenNs = uint64_t{3600} * 1'000'000'000;  // policies may be removed

// What makes a category harmless.
enum class Benign : uint8_t {
  kNothing,
  kOwnWorkload,  // it is about a process of the caller's own workload: ranks of a job share memory, a developer debugs his program
  kDeclared,  // a policy lets the caller use accelerators: frameworks export memory to their own ranks, to whom is not seen here
  kService,  // the caller is a service of the host, run as root: persistence, partitioning, telemetry
  kHypervisor,  // the caller gives the device to a virtual machine
};

struct Category {
  std::string_view name;
  Severity severity;  // by an ordinary program; of the driver's own tools it is kLow
  uint8_t confidence;
  Benign benign;
  const char* did;
  const char* means;
  const char* harmless;
  std::array<event::Technique, 2> techniques;
};

constexpr std::array<Category, 7> kCategories = {{
    {"debug",
     Severity::kHigh,
     75,
     Benign::kOwnWorkload,
     "attached a debugger to",
     "A debugger reads and writes the memory of the program that it is "
     "attached to, and so its weights and prompts, without opening a file.",
     "a developer debugs a program of another workload on purpose",
     {technique::kFullAccess, technique::kInjection}},
    {"profile",
     Severity::kMedium,
     50,
     Benign::kService,
     "profiled",
     "Counters of the hardware tell what other programs on the device compute: "
     "enough to learn how a model is built.",
     "somebody measures a program on purpose",
     {technique::kCollection, technique::kDataFromSystem}},
    {"foreign-memory",
     Severity::kHigh,
     75,
     Benign::kOwnWorkload,
     "reached into the memory of another process on",
     "Memory of an accelerator holds weights and prompts in the clear, and the file's protection ends there.",
     "two workloads share memory on purpose, as an MPS server and its clients do",
     {technique::kFullAccess, technique::kDataFromSystem}},
    {"export",
     Severity::kLow,
     35,
     Benign::kDeclared,
     "exported memory of",
     "Who gets the descriptor can map the memory, and what lies in it.",
     "it shares memory with its own ranks, as NCCL does: a policy that declares it as a user of the device says so",
     {technique::kExfiltration, technique::kDataFromSystem}},
    {"reconfigure",
     Severity::kHigh,
     65,
     Benign::kService,
     "changed the settings of",
     "Clocks, power, partitions and resets decide whether others can "
     "use the device at all.",
     "an administrator does so on purpose",
     {technique::kDenialOfService, technique::kHijacking}},
    {"internal",
     Severity::kMedium,
     55,
     Benign::kService,
     "made a call that is not for programs on",
     "Such calls are the driver's own and those of its makers' tests; programs that look for holes in a driver make them.",
     "it is a tool of the driver's makers",
     {technique::kDefenseEvasion, technique::kFullAccess}},
    {"raw-access",
     Severity::kHigh,
     65,
     Benign::kHypervisor,
     "reached the registers or the memory past the driver of",
     "Past the driver nothing keeps programs apart.",
     "a virtual machine was given the device, or somebody repairs it",
     {technique::kFullAccess, technique::kDefenseEvasion}},
}};

bool IsHypervisor(std::string_view exe) {
  const std::string_view name = BaseName(exe);
  return IsInstalled(exe) && (name.starts_with("qemu-system-") || name == "qemu-kvm" || name == "cloud-hypervisor" ||
                              name == "libvirtd" || name == "virtqemud" || name == "crosvm");
}

class Gpu final : public Detector {
 public:
  const char* name() const override { return "gpu"; }
  uint32_t kinds() const override { return Wants(Kind::kGpuOpen) | Wants(Kind::kGpuIoctl) | Wants(Kind::kGpuMap); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const event::Header& header = event.header;
    if (const auto* call = std::get_if<event::GpuCall>(&event.body)) {
      // Descriptors come from others, too: asked once a process.
      Undeclared(header, call->rdev, /*again=*/false, scene, raise);
      if (call->categories != 0) {
        const bool failed = call->result < 0 || (call->status_known && call->status != 0);
        const std::string what = Printable(*call->name != '\0' ? call->name : "call " + std::to_string(call->number));
        Each(header, call->categories,
             {.device = Device(scene, call->rdev), .what = what, .target = call->target, .failed = failed}, scene, raise);
      }
    } else if (const auto* open = std::get_if<event::GpuOpen>(&event.body)) {
      Undeclared(header, open->rdev, /*again=*/true, scene, raise);
      if (open->categories != 0) {
        Each(header, open->categories, {.device = Device(scene, open->rdev), .what = "open", .target = {}, .failed = false},
             scene, raise);
      }
    } else if (const auto* map = std::get_if<event::GpuMap>(&event.body); map != nullptr && map->categories != 0) {
      const std::string what = "mapping of resource " + std::to_string(map->resource) + ", " + Bytes(map->length);
      Each(header, map->categories,
           {.device = "PCI device " + Printable(map->device.view()), .what = what, .target = {}, .failed = false}, scene, raise);
    }
  }

 private:
  struct Act {
    std::string device, what;
    event::ProcessKey target;
    bool failed = false;
  };

  static std::string Device(const Scene& scene, uint32_t rdev) { return Printable(DeviceName(scene, rdev)); }

  void Undeclared(const event::Header& header, uint32_t rdev, bool again, const Scene& scene, Raise& raise) {
    const uint64_t key = Mix({header.process.pid, header.process.start_ns});
    if (header.info == nullptr || (!again && asked_.Has(key))) {
      return;
    }
    const Declared may = scene.MayUseGpu(*header.info);
    if (may == Declared::kUnknown) {
      return;  // asked again at the next call
    }
    asked_.Add(key);
    if (may == Declared::kAllowed || may == Declared::kDenied) {
      spoken_ns_ = header.time_ns;
    }
    const bool denied = may == Declared::kDenied;
    const bool spoken = spoken_ns_ != 0 && header.time_ns < spoken_ns_ + kSpokenNs;
    if (may == Declared::kAllowed ||
        (!denied && (!spoken || IsGpuTool(header.info->exe) || IsSystemService(scene, *header.info)))) {
      return;
    }
    const std::string who = Who(scene, header), device = Device(scene, rdev);
    const bool tool = IsGpuTool(header.info->exe);
    raise(
        {.kind = event::FindingKind::kGpuUndeclared,
         .severity = denied && !tool ? Severity::kHigh : Severity::kMedium,
         .confidence = static_cast<uint8_t>(denied ? 85 : 45),
         .cause = Program(header),
         .process = header.process,
         .title = who + " uses " + device + (denied ? ", which policies deny it" : ", and no policy knows of it"),
         .explanation =
             who + " uses " + device + ". " +
             (denied ? "Policies deny it the use of accelerators."
                     : "Policies say of others on this host that they may use accelerators, and say nothing of this one.") +
             " Who has taken over a host with accelerators first puts them to work for himself. It is harmless if this is a new "
             "workload that nobody has declared yet, or a tool that looks at the device.",
         .action = "Find out who started it. If it is meant to use accelerators, select it in a policy with gpu: {use: allow}.",
         .devices = {device},
         .evidence = {"used " + device},
         .techniques = {technique::kHijacking, technique::kDenialOfService}});
  }

  static void Each(const event::Header& header, uint32_t categories, const Act& act, const Scene& scene, Raise& raise) {
    event::EachGpuCategory(categories, [&](std::string_view name) {
      for (const Category& category : kCategories) {
        if (category.name == name && !Harmless(header, category, act, scene)) {
          Tell(header, category, act, scene, raise);
        }
      }
    });
  }

  static bool Harmless(const event::Header& header, const Category& category, const Act& act, const Scene& scene) {
    if (header.info == nullptr) {
      return false;
    }
    switch (category.benign) {
      case Benign::kNothing: return false;
      case Benign::kOwnWorkload: {
        const auto target = act.target.pid != 0 ? scene.Find(act.target) : nullptr;
        return act.target == header.process || (target != nullptr && target->cgroup_id == header.cgroup_id);
      }
      case Benign::kDeclared: return header.labels == 0 || scene.MayUseGpu(*header.info) == Declared::kAllowed;
      case Benign::kService: return IsSystemService(scene, *header.info) && IsInstalled(header.info->exe);
      case Benign::kHypervisor: return IsHypervisor(header.info->exe);
    }
    return false;
  }

  static void Tell(const event::Header& header, const Category& category, const Act& act, const Scene& scene, Raise& raise) {
    const std::string who = Who(scene, header), sort(category.name);
    const bool tool = header.info != nullptr && IsGpuTool(header.info->exe);
    std::string about, victim;
    if (act.target.pid != 0) {
      const auto target = scene.Find(act.target);
      const std::string pid = "[" + std::to_string(act.target.pid) + "]";
      victim =
          target != nullptr && !target->exe.empty() ? Printable(target->exe) + pid : "process " + std::to_string(act.target.pid);
      about = ", about " + victim;
    }
    Severity severity = tool ? Severity::kLow : category.severity;
    if (act.failed && severity > Severity::kLow) {
      severity = static_cast<Severity>(static_cast<uint8_t>(severity) - 1);
    }
    const std::string did = act.failed ? std::string("was refused by the driver when it ") : std::string();
    raise({.kind = event::FindingKind::kGpuMisuse,
           .severity = severity,
           .confidence = tool ? uint8_t{30} : category.confidence,
           .cause = sort + "\n" + Program(header),
           .process = header.process,
           .title = who + " " + did + category.did + " " + act.device + about,
           .explanation = who + " " + did + category.did + " " + act.device + about + " (" + act.what + ", category " + sort +
                          "). " + category.means + (tool ? " The program is a tool of the driver's by its name and place." : "") +
                          " It is harmless if " + category.harmless + ".",
           .action =
               "Find out who started this program. To forbid it, deny " + sort + " in a policy (gpu: {deny: [" + sort + "]}).",
           .devices = {act.device},
           .evidence = {act.what + " on " + act.device + about + (act.failed ? ", refused by the driver" : "")},
           .techniques = {category.techniques.begin(), category.techniques.end()}});
  }

  Seen asked_{kAsked};  // processes
  uint64_t spoken_ns_ = 0;  // when policies last said anything of anybody's use
};

}  // namespace

std::unique_ptr<Detector> MakeGpu() { return std::make_unique<Gpu>(); }

}  // namespace moat::detect
