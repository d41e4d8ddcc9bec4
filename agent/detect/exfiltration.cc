// SPDX-License-Identifier: Apache-2.0
// What of an asset was read, against what its holders send to peers that no policy allows. Who holds it, the kernel says: labels go to
// children and to the sockets that a holder sends on. A copy that another process sends has no label: after somebody of a workload has read
// half an asset and ended, or is a copier by name, what others of it send on new sockets counts, too, with a larger share.
//
// Benign is a server that answers (a larger share, an hour instead of a day), traffic to oneself, and what a policy allows.
#include <algorithm>
#include <array>
#include <bit>
#include <variant>

#include "agent/base/recent.h"
#include "agent/detect/detectors.h"
#include "agent/detect/memory.h"
#include "agent/detect/peer.h"
#include "agent/detect/program.h"
#include "agent/detect/reads.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;

constexpr uint64_t kMiB = 1 << 20, kSecond = 1'000'000'000, kDay = 86'400 * kSecond, kHour = 3600 * kSecond;
constexpr size_t kProcesses = 16384, kSockets = 65536, kPlaces = 4096, kCopiers = 1024;
constexpr size_t kParents = 16;

enum class Way : uint8_t { kCalled, kServed, kCopied };

class Exfiltration final : public Detector {
 public:
  explicit Exfiltration(const config::Detect& config) : config_(config) {}
  const char* name() const override { return "exfiltration"; }
  uint32_t kinds() const override {
    return Wants(Kind::kFileIo) | Wants(Kind::kFileMap) | Wants(Kind::kNetFlow) | Wants(Kind::kNetClose);
  }
  uint64_t forgotten() const override { return reads_.evicted() + places_.evicted() + sockets_.evicted() + copied_.evicted(); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    if (const auto* totals = std::get_if<event::NetTotals>(&event.body)) {
      Sent(event.header, *totals, scene, raise);
    } else {
      Read(event, scene);
    }
  }

 private:
  struct PlaceKey {
    uint64_t cgroup_id = 0, asset = 0;
  };
  struct Place {
    uint64_t read = 0;
    std::array<Window, 3> sent{};  // by Way
  };
  struct SocketKey {
    uint64_t cookie = 0, opened_ns = 0;
  };
  struct Copied {
    uint64_t assets = 0, since_ns = 0;
  };

  void Read(const event::Event& event, const Scene& scene) {
    const uint32_t asset = AssetOf(event);
    const uint64_t whole = AssetBytes(scene, asset);
    Reads::Row* row = reads_.Take(event, whole);
    if (row == nullptr) {
      return;
    }
    const event::Header& header = event.header;
    bool fresh = false;
    places_.Touch({.cgroup_id = header.cgroup_id, .asset = asset}, &fresh).read += row->read() - row->told;
    row->told = row->read();
    const auto* io = std::get_if<event::FileIo>(&event.body);
    const std::string_view exe = header.info != nullptr ? std::string_view(header.info->exe) : std::string_view();
    const bool done = (io != nullptr && io->last && !IsSummer(exe)) || IsCopier(exe);
    if (done && whole != 0 && row->read() >= whole / 2) {
      Copied& copied = copied_.Touch(header.cgroup_id, &fresh);
      copied.assets |= uint64_t{1} << asset;
      copied.since_ns = fresh ? header.time_ns : copied.since_ns;
    }
    // The row of a process that ended stays: its children may hold what it read.
  }

  void Sent(const event::Header& header, const event::NetTotals& totals, const Scene& scene, Raise& raise) {
    uint64_t copied = 0;
    if (!copied_.rows().empty() && totals.bytes_out != 0) {
      const Copied* place = copied_.Find(header.cgroup_id);
      copied = place != nullptr && totals.opened_ns >= place->since_ns ? place->assets & ~header.labels : 0;
    }
    if ((header.labels | copied) == 0 || totals.bytes_out == 0 || IsHere(totals.ep)) {
      return;
    }
    const SocketKey key{.cookie = totals.cookie, .opened_ns = totals.opened_ns};
    bool fresh = false;
    uint64_t& before = sockets_.Touch(key, &fresh);
    const uint64_t bytes = totals.bytes_out - std::min(before, totals.bytes_out);
    if (bytes != 0) {
      const uint64_t assets = header.labels | copied;
      const Declared may = header.info != nullptr ? scene.MaySend(*header.info, assets, totals.ep) : Declared::kUnknown;
      if (may == Declared::kUnknown && header.info != nullptr && header.kind != Kind::kNetClose) {
        return;  // asked again with the socket's next sum
      }
      before = totals.bytes_out;
      if (may != Declared::kAllowed) {
        for (uint64_t left = assets; left != 0; left &= left - 1) {
          const auto asset = static_cast<uint32_t>(std::countr_zero(left));
          const bool holds = (header.labels >> asset & 1) != 0;
          Count(header, totals, asset, holds ? totals.passive ? Way::kServed : Way::kCalled : Way::kCopied, bytes, may, scene,
                raise);
        }
      }
    }
    if (header.kind == Kind::kNetClose) {
      sockets_.Forget(key);
    }
  }

  uint64_t Limit(Way way, uint64_t whole) const {
    const uint64_t percent = way == Way::kCalled   ? config_.exfiltration_percent
                             : way == Way::kServed ? config_.exfiltration_served_percent
                                                   : config_.exfiltration_copied_percent;
    return std::max(whole * percent / 100, config_.exfiltration_mib * kMiB);
  }

  // What the sender, its parents and its workload have read.
  uint64_t ReadBy(const event::Header& header, uint32_t asset, const Place& place, const Scene& scene) {
    uint64_t sum = reads_.Find(header.process, asset);
    auto process = header.info;
    for (size_t i = 0; i < kParents && process != nullptr && process->parent.pid != 0; ++i) {
      const event::ProcessKey parent = process->parent;
      sum += reads_.Find(parent, asset);
      process = scene.Find(parent);
    }
    return std::max(sum, place.read);
  }

  void Count(const event::Header& header, const event::NetTotals& totals, uint32_t asset, Way way, uint64_t bytes, Declared may,
             const Scene& scene, Raise& raise) {
    bool fresh = false;
    Place& place = places_.Touch({.cgroup_id = header.cgroup_id, .asset = asset}, &fresh);
    const uint64_t window = way == Way::kServed ? kHour : kDay;
    Window& sent = place.sent[static_cast<size_t>(way)];
    sent.Add(bytes, header.time_ns, window);
    const uint64_t whole = AssetBytes(scene, asset), limit = Limit(way, whole), sum = sent.Sum(header.time_ns, window);
    if (sum < limit) {
      return;
    }
    // Reads that were not seen (a file system that tells of opens only) are none: the label says that there was one.
    const uint64_t read = ReadBy(header, asset, place, scene);
    if (read == 0 || read >= std::min(limit, whole)) {
      Tell(header, totals, asset, way, {.sum = sum, .whole = whole, .read = read, .now = bytes}, may, scene, raise);
    }
  }

  struct Figures {
    uint64_t sum = 0, whole = 0, read = 0, now = 0;
  };
  static void Tell(const event::Header& header, const event::NetTotals& totals, uint32_t asset, Way way, const Figures& of,
                   Declared may, const Scene& scene, Raise& raise) {
    const std::string name = AssetName(scene, asset), who = Who(scene, header), peer = PeerName(totals.ep);
    const std::string share =
        of.whole == 0 ? "" : " (" + std::to_string(of.sum / std::max<uint64_t>(of.whole / 100, 1)) + " % of its size)";
    const std::string read = of.read == 0 ? "an amount that could not be seen" : Bytes(of.read);
    const char* const span = way == Way::kServed ? "within an hour" : "within a day";
    int confidence = may == Declared::kDenied ? 90 : may == Declared::kUnknown ? 60 : 70;
    confidence -= way == Way::kServed ? 20 : way == Way::kCopied ? 30 : 0;
    confidence -= IsInternal(totals.ep) ? 10 : 0;
    const bool most = of.whole != 0 && of.sum >= of.whole / 2;
    std::string how = " It made the connection itself.";
    if (way == Way::kServed) {
      how = " Others called it: a server's answers are harmless, and this is more than answers of this asset usually are.";
    } else if (way == Way::kCopied) {
      how =
          " The sender has not read the asset itself, but before it connected another process of the workload read at least half of it "
          "and ended, or is a program that copies files: what is sent may be the copy.";
    }
    raise({.kind = event::FindingKind::kWeightExfiltration,
           .severity = way == Way::kCalled ? (most ? event::Severity::kCritical : event::Severity::kHigh)
                                           : (most ? event::Severity::kHigh : event::Severity::kMedium),
           .confidence = static_cast<uint8_t>(confidence),
           .cause = name + (way == Way::kCalled   ? "\ncalled"
                            : way == Way::kServed ? "\nserved"
                                                  : "\ncopied"),
           .process = header.process,
           .title = who + (way == Way::kCopied ? " sent what may be a copy of " : " sent what may be ") + name + " to " + peer +
                    ": " + Bytes(of.sum) + share,
           .explanation =
               who + " and others of its workload that hold " + name + " have read " + read + " of it and sent " + Bytes(of.sum) +
               share + " " + span + " to peers that " + (may == Declared::kDenied ? "a policy denies" : "no policy allows") +
               ", the last of them " + peer + "." + how +
               " It is harmless if this peer is meant to get the asset or what is made of it, as a checkpoint store is.",
           .action = "Find out whose " + peer +
                     " is. If nobody can say, cut the workload off (a policy with egress.default: deny) and look at "
                     "what it sent (moatctl watch --since oldest --pid " +
                     std::to_string(header.process.pid) + "). If the peer is meant, allow it in a policy for holders of " + name +
                     ".",
           .assets = {name},
           .peers = {peer},
           .evidence = {"sent " + Bytes(of.now) + " to " + peer + (totals.passive ? " on a connection that it accepted" : ""),
                        "in all " + Bytes(of.sum) + " " + span + ", having read " + read + " of " + Bytes(of.whole)},
           .techniques = {technique::kExfiltration, technique::kPropertyTheft, technique::kProtocolExfiltration}});
  }

  const config::Detect config_;
  Reads reads_{kProcesses};
  Recent<PlaceKey, Place> places_{kPlaces};
  Recent<SocketKey, uint64_t> sockets_{kSockets};  // what of a socket was counted
  Recent<uint64_t, Copied> copied_{kCopiers};  // by cgroup
};

}  // namespace

std::unique_ptr<Detector> MakeExfiltration(const config::Detect& config) { return std::make_unique<Exfiltration>(config); }

}  // namespace moat::detect
