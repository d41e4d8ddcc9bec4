// SPDX-License-Identifier: Apache-2.0
// A canary is an asset that nobody has a reason to touch: whoever does is looking around. Benign is the backup or scanner that reads
// everything: a policy that lets it read the canary says so.
#include <type_traits>
#include <variant>

#include "agent/detect/detectors.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;

class Canary final : public Detector {
 public:
  const char* name() const override { return "canary"; }
  uint32_t kinds() const override { return Wants(Kind::kFileOpen) | Wants(Kind::kFileMap) | Wants(Kind::kFileTamper); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    if ((event.header.flags & event::kFlagCanary) == 0) {
      return;
    }
    std::visit(
        [&](const auto& body) {
          using Body = std::decay_t<decltype(body)>;
          if constexpr (std::is_same_v<Body, event::FileOpen> || std::is_same_v<Body, event::FileMap> ||
                        std::is_same_v<Body, event::FileTamper>) {
            constexpr bool kChanges = std::is_same_v<Body, event::FileTamper>;
            Tell(event.header, body.asset, FileName(scene, body.dev, body.inode, body.name.view()), kChanges, scene, raise);
          }
        },
        event.body);
  }

 private:
  static void Tell(const event::Header& header, uint32_t asset, const std::string& file, bool changes, const Scene& scene,
                   Raise& raise) {
    if (!changes && header.info != nullptr && scene.MayRead(*header.info, asset) == Declared::kAllowed) {
      return;
    }
    const std::string name = AssetName(scene, asset), who = Who(scene, header), did = changes ? "changed" : "opened";
    raise({.kind = event::FindingKind::kCanaryTouched,
           .severity = event::Severity::kHigh,
           .confidence = 95,
           .cause = name + "\n" + Program(header),
           .process = header.process,
           .title = who + " " + did + " the canary " + name,
           .explanation =
               who + " " + did + " " + file + " of " + name +
               ", an asset of class canary that no workload has a reason to touch. It looks like the weights around it, so "
               "whoever touches it is most likely going through the files of this host.",
           .action = "Find out who started this program and what else it read (moatctl watch --since oldest --pid " +
                     std::to_string(header.process.pid) +
                     "). If it is a backup or scanner that reads every file, allow it to read the canary in a policy.",
           .assets = {name},
           .evidence = {did + " " + file},
           .techniques = {technique::kDiscoverArtifacts}});
  }
};

}  // namespace

std::unique_ptr<Detector> MakeCanary() { return std::make_unique<Canary>(); }

}  // namespace moat::detect
