// SPDX-License-Identifier: Apache-2.0
// Weights changed by somebody who is not a declared writer. Canaries are canary.cc's.
//
// Where no policy speaks of the asset, whoever creates a file of it may go on to fill, rename and remove it: that is how a download and a
// checkpoint look. Whose a process is may not have been told when it acts, as in the first second of a container that downloads: then the
// act waits a while for the answer.
#include <fcntl.h>

#include <deque>
#include <utility>

#include "agent/base/recent.h"
#include "agent/detect/detectors.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;
using event::TamperOp;

constexpr uint64_t kWaitNs = 10'000'000'000;  // runtimes answer within a second, unless they are busy
constexpr size_t kMaxWaiting = 256, kMaxCreated = 8192;

const char* Did(TamperOp op) {
  switch (op) {
    case TamperOp::kNone: break;
    case TamperOp::kWrite: return "wrote to";
    case TamperOp::kTruncate: return "cut";
    case TamperOp::kRename: return "renamed";
    case TamperOp::kUnlink: return "removed";
    case TamperOp::kLink: return "gave another name to";
    case TamperOp::kMapWrite: return "mapped for writing";
    case TamperOp::kReplace: return "put another file in the place of";
  }
  return "changed";
}

class Tamper final : public Detector {
 public:
  const char* name() const override { return "tamper"; }
  uint32_t kinds() const override { return Wants(Kind::kFileTamper) | Wants(Kind::kFileOpen); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    if (const auto* open = std::get_if<event::FileOpen>(&event.body)) {
      if ((open->open_flags & O_CREAT) != 0 && open->size == 0 && (open->open_flags & O_ACCMODE) != O_RDONLY) {
        bool fresh = false;
        created_.Touch({.inode = open->inode, .dev = open->dev}, &fresh) = event.header.cgroup_id;
      }
      return;
    }
    const auto* tamper = std::get_if<event::FileTamper>(&event.body);
    if (tamper == nullptr || tamper->asset >= event::kMaxAssets || (event.header.flags & event::kFlagCanary) != 0) {
      return;
    }
    if (!Judge(event.header, *tamper, /*wait=*/true, scene, raise)) {
      if (waiting_.size() >= kMaxWaiting) {
        Judge(waiting_.front().first, waiting_.front().second, /*wait=*/false, scene, raise);
        waiting_.pop_front();
      }
      waiting_.emplace_back(event.header, *tamper);
    }
  }

  void OnTime(const Scene& scene, Raise& raise) override {
    for (size_t left = waiting_.size(); left != 0; --left) {
      auto [header, tamper] = std::move(waiting_.front());
      waiting_.pop_front();
      if (!Judge(header, tamper, scene.now_ns() < header.time_ns + kWaitNs, scene, raise)) {
        waiting_.emplace_back(std::move(header), tamper);
      }
    }
  }
  void OnEnd(const Scene& scene, Raise& raise) override {
    for (const auto& [header, tamper] : std::exchange(waiting_, {})) {
      Judge(header, tamper, /*wait=*/false, scene, raise);
    }
  }
  uint64_t forgotten() const override { return created_.evicted(); }

 private:
  struct File {
    uint64_t inode = 0, dev = 0;
  };

  // False: nobody knows yet, and it may wait.
  bool Judge(const event::Header& header, const event::FileTamper& tamper, bool wait, const Scene& scene, Raise& raise) {
    const Declared may = header.info != nullptr ? scene.MayWrite(*header.info, tamper.asset) : Declared::kUnknown;
    if (may == Declared::kAllowed) {
      return true;
    }
    if (may == Declared::kUnknown && wait && header.info != nullptr) {
      return false;
    }
    if (may == Declared::kNothing) {
      const uint64_t* const by = created_.Find({.inode = tamper.inode, .dev = tamper.dev});
      if (by != nullptr && *by == header.cgroup_id && tamper.op != TamperOp::kReplace) {
        return true;
      }
    }
    Tell(header, tamper, may, scene, raise);
    return true;
  }

  static void Tell(const event::Header& header, const event::FileTamper& tamper, Declared may, const Scene& scene, Raise& raise) {
    const std::string name = AssetName(scene, tamper.asset), who = Who(scene, header), did = Did(tamper.op);
    const std::string file = FileName(scene, tamper.dev, tamper.inode, tamper.name.view());
    const bool link = tamper.op == TamperOp::kLink, denied = may == Declared::kDenied;
    const std::string amount = tamper.op == TamperOp::kWrite && tamper.bytes != 0 ? ", " + Bytes(tamper.bytes) + " at first" : "";
    std::string why = "no policy names any writer of this asset, and the file was not made by this workload";
    if (denied) {
      why = "policies say who may write this asset, and this is none of them";
    } else if (may == Declared::kUnknown) {
      why = "whose the process is could not be found out";
    }
    event::Severity severity = denied ? event::Severity::kHigh : event::Severity::kMedium;
    if (link) {
      severity = denied ? event::Severity::kMedium : event::Severity::kLow;
    }
    raise(
        {.kind = event::FindingKind::kWeightTamper,
         .severity = severity,
         .confidence = static_cast<uint8_t>(denied                      ? 90
                                            : may == Declared::kUnknown ? 40
                                                                        : 55),
         .cause = name + "\n" + did + "\n" + Program(header),
         .process = header.process,
         .title = who + " " + did + " a file of " + name + ": " + file,
         .explanation =
             who + " " + did + " " + file + " of " + name + amount + ". That is told because " + why +
             ". Weights that somebody has changed can answer as he wishes, or run his code when they are loaded. It is harmless "
             "if this is an update or a download that somebody started on purpose.",
         .action =
             "Compare the file with where it came from (its checksum) before anything loads it again. If this program is meant to "
             "write " +
             name + ", name it as a writer in a policy.",
         .assets = {name},
         .evidence = {did + " " + file + amount},
         .techniques = {technique::kManipulateModel, technique::kCorruptModel}});
  }

  std::deque<std::pair<event::Header, event::FileTamper>> waiting_;
  Recent<File, uint64_t> created_{kMaxCreated};  // by which cgroup
};

}  // namespace

std::unique_ptr<Detector> MakeTamper() { return std::make_unique<Tamper>(); }

}  // namespace moat::detect
