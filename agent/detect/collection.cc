// SPDX-License-Identifier: Apache-2.0
// A whole asset read by somebody who is not among its declared readers: one program of a workload, in one process or many (dd piece by
// piece), reads or maps collection_percent of its bytes within a window.
//
// Where policies speak of the asset, they say who is a reader. Where none does, everybody may read it, and only a program that is new is
// told: whoever reads it whole within collection_learn_s of the first whole read is taken for usual, and a program is the same wherever the
// same image, unit or scheduler runs it. So an init container that copies weights, and the server started anew, are usual; a python of an
// ssh session is not, where a python of a unit was.
#include <algorithm>
#include <array>
#include <variant>

#include "agent/base/recent.h"
#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/memory.h"
#include "agent/detect/program.h"
#include "agent/detect/reads.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr size_t kProcesses = 16384, kPrograms = 4096, kReaders = 32;

// What a program is, wherever it runs.
std::string ProgramIdentity(const event::Process& process, const Scene& scene) {
  const auto workload = process.cgroup.empty() ? nullptr : scene.Whose(process.cgroup);
  std::string where;
  if (workload != nullptr && !workload->slurm_job.empty()) {
    where = "slurm";  // whose job it is does not matter: a cluster's users share models, and its scheduler's jobs come and go
  } else if (workload != nullptr && !workload->container_image.empty()) {
    const std::string& image = workload->container_image;  // without tag and digest
    where = image.substr(0, image.find_first_of("@:", image.rfind('/') == std::string::npos ? 0 : image.rfind('/')));
  } else if (workload != nullptr && workload->unit.ends_with(".service")) {
    where = workload->unit;
  } else {
    where = workload != nullptr && !workload->container_id.empty() ? "container" : "session";
  }
  return where + "\n" + process.exe;
}

class Collection final : public Detector {
 public:
  explicit Collection(const config::Detect& config) : config_(config) {}
  const char* name() const override { return "collection"; }
  uint32_t kinds() const override { return Wants(Kind::kFileIo) | Wants(Kind::kFileMap); }
  uint64_t forgotten() const override { return reads_.evicted() + programs_.evicted(); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const uint32_t asset = AssetOf(event);
    const uint64_t whole = AssetBytes(scene, asset);
    Reads::Row* row = whole != 0 ? reads_.Take(event, whole) : nullptr;
    if (row == nullptr) {
      return;
    }
    const event::Header& header = event.header;
    const auto* io = std::get_if<event::FileIo>(&event.body);
    const bool last = io != nullptr && io->last;
    const uint64_t read = row->read() - row->told, written = row->written - row->told_written;
    Declared may = Declared::kUnknown;
    if (read != 0 && header.info != nullptr) {
      may = scene.MayRead(*header.info, asset);
    }
    if (read != 0 && (may != Declared::kUnknown || last)) {
      row->told = row->read();
      row->told_written = row->written;
      if (may != Declared::kAllowed) {
        Count(header, asset, whole, {read, written}, may, scene, raise);
      }
    }
    if (last) {
      reads_.Forget(header.process, asset);
    }
  }

 private:
  struct Key {
    uint64_t cgroup_id = 0, exe_inode = 0;
    uint32_t exe_dev = 0, asset = 0;
  };
  struct Pull {
    Window read, written;
  };
  struct Amount {
    uint64_t read = 0, written = 0;
  };
  struct Readers {
    uint64_t since_ns = 0;
    std::array<uint64_t, kReaders> programs{};  // the oldest gives way
    size_t next = 0;
  };

  void Count(const event::Header& header, uint32_t asset, uint64_t whole, const Amount& more, Declared may, const Scene& scene,
             Raise& raise) {
    Key key{.cgroup_id = header.cgroup_id, .asset = asset};
    if (header.info != nullptr) {
      key.exe_inode = header.info->exe_inode;
      key.exe_dev = header.info->exe_dev;
    }
    bool fresh = false;
    Pull& pull = programs_.Touch(key, &fresh);
    const uint64_t window = config_.collection_window_s * kSecond;
    pull.read.Add(more.read, header.time_ns, window);
    pull.written.Add(more.written, header.time_ns, window);
    const Amount sum = {pull.read.Sum(header.time_ns, window), pull.written.Sum(header.time_ns, window)};
    if (sum.read < whole * config_.collection_percent / 100) {
      return;
    }
    pull = {};  // the next time that it is told it has been read whole once more
    if (may == Declared::kNothing && Usual(*header.info, asset, header.time_ns, scene)) {
      return;
    }
    Tell(header, asset, whole, sum, may, scene, raise);
  }

  bool Usual(const event::Process& process, uint32_t asset, uint64_t now_ns, const Scene& scene) {
    Readers& readers = readers_[asset];
    const uint64_t program = Mix(ProgramIdentity(process, scene));
    if (std::ranges::find(readers.programs, program) != readers.programs.end()) {
      return true;
    }
    if (readers.since_ns == 0) {
      readers.since_ns = now_ns;
    } else if (now_ns >= readers.since_ns + config_.collection_learn_s * kSecond) {
      return false;
    }
    readers.programs[readers.next++ % kReaders] = program;
    return true;
  }

  static void Tell(const event::Header& header, uint32_t asset, uint64_t whole, const Amount& sum, Declared may,
                   const Scene& scene, Raise& raise) {
    const std::string name = AssetName(scene, asset), who = Who(scene, header);
    const std::string_view exe = header.info != nullptr ? std::string_view(header.info->exe) : std::string_view();
    const bool copier = IsCopier(exe), copy = sum.written >= sum.read / 100 * 80 && sum.written <= sum.read / 100 * 120;
    int confidence = may == Declared::kDenied ? 80 : 45;
    confidence += copy || copier ? 15 : IsSummer(exe) ? -20 : 0;
    event::Severity severity = may == Declared::kDenied ? event::Severity::kHigh : event::Severity::kMedium;
    if (may != Declared::kDenied && IsSummer(exe)) {
      severity = event::Severity::kLow;
    }
    std::string why = "no policy speaks of the asset, and this program is not one of those that have been reading it";
    if (may == Declared::kDenied) {
      why = "policies name the readers of the asset, and this is none of them";
    } else if (may == Declared::kUnknown) {
      why = "whose the process was could not be found out";
    }
    std::string sort;
    if (copier) {
      sort = " " + std::string(BaseName(exe)) + " is a program that archives or copies files.";
    } else if (copy) {
      sort = " It wrote about as much among the asset's files: it made a copy.";
    } else if (IsSummer(exe)) {
      sort = " " + std::string(BaseName(exe)) + " reads files for a checksum or a scan, which is harmless by itself.";
    }
    std::vector<event::Technique> techniques = {technique::kCollection, technique::kFullAccess, technique::kDataFromSystem};
    if (copier || copy) {
      techniques.push_back(technique::kArchive);
    }
    raise({.kind = event::FindingKind::kWeightCollection,
           .severity = severity,
           .confidence = static_cast<uint8_t>(confidence),
           .cause = name + "\n" + Program(header),
           .process = header.process,
           .title = who + (copier || copy ? " copied or archived all of " : " read all of ") + name,
           .explanation =
               who + " read " + Bytes(sum.read) + " of " + name + ", whose files have " + Bytes(whole) +
               ": all of it. That is told because " + why + "." + sort +
               " Whoever has read the whole asset can take it away. It is harmless if this program is a new server, a backup or "
               "an evaluation that somebody started on purpose.",
           .action = "Find out who started this program, and where what it read went (moatctl watch --since oldest --pid " +
                     std::to_string(header.process.pid) + "). If it is meant to read " + name +
                     ", name it as a reader in a policy.",
           .assets = {name},
           .evidence = {"read " + Bytes(sum.read) + " of " + Bytes(whole) +
                        (sum.written != 0 ? ", wrote " + Bytes(sum.written) + " among the asset's files" : "")},
           .techniques = std::move(techniques)});
  }

  const config::Detect config_;
  Reads reads_{kProcesses};
  Recent<Key, Pull> programs_{kPrograms};
  std::array<Readers, event::kMaxAssets> readers_{};
};

}  // namespace

std::unique_ptr<Detector> MakeCollection(const config::Detect& config) { return std::make_unique<Collection>(config); }

}  // namespace moat::detect
