// SPDX-License-Identifier: Apache-2.0
// Somebody looks around from this host: a program of a workload calls many internal peers, or many ports of them, that it has not called
// before; many that do not answer; or asks the cloud's metadata service for the machine's credentials.
//
// Benign: peers that policies allow; a client that asks the one server that it has lost again and again (each peer and port counts once);
// the metadata service asked by a service of the host that runs as root (cloud-init, the kubelet, the cloud's agent), while no policy
// denies it. Ranks of a large job and a Prometheus look like a scan when they start: the first is a policy away, the second has no failures.
#include "agent/base/recent.h"
#include "agent/detect/detectors.h"
#include "agent/detect/memory.h"
#include "agent/detect/peer.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;
using event::Severity;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr size_t kActors = 4096, kPeers = 262'144;
constexpr uint16_t kTcp = 6, kMptcp = 262;

class Lateral final : public Detector {
 public:
  explicit Lateral(const config::Detect& config) : config_(config), window_(config.lateral_window_s * kSecond) {}
  const char* name() const override { return "lateral"; }
  uint32_t kinds() const override { return Wants(Kind::kNetConnect) | Wants(Kind::kNetSend) | Wants(Kind::kNetClose); }
  uint64_t forgotten() const override { return actors_.evicted(); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    if (const auto* net = std::get_if<event::Net>(&event.body)) {
      Called(event.header, net->ep, scene, raise);
    } else if (const auto* totals = std::get_if<event::NetTotals>(&event.body)) {
      const bool failed = !totals->established && !totals->passive && totals->bytes_out == 0 && totals->bytes_in == 0;
      if (failed && (totals->ep.protocol == kTcp || totals->ep.protocol == kMptcp) && totals->ep.remote.port != 0) {
        Failed(event.header, totals->ep, scene, raise);
      }
    }
  }

 private:
  struct Key {
    uint64_t cgroup_id = 0, exe_inode = 0, exe_dev = 0;
  };
  struct Actor {
    struct Count {
      Window window;
      uint64_t told_ns = 0;
    };
    Count peers, ports, failures;
  };

  // Counts one more. 0: too few to be told, or told within this second: each second in which it goes on is one time that it was seen.
  uint64_t More(Actor::Count& count, uint64_t enough, uint64_t now_ns) const {
    count.window.Add(1, now_ns, window_);
    const uint64_t sum = count.window.Sum(now_ns, window_);
    if (sum < enough || (count.told_ns != 0 && now_ns < count.told_ns + kSecond)) {
      return 0;
    }
    count.told_ns = now_ns;
    return sum;
  }

  static Key KeyOf(const event::Header& header) {
    Key key{.cgroup_id = header.cgroup_id};
    if (header.info != nullptr) {
      key.exe_inode = header.info->exe_inode;
      key.exe_dev = header.info->exe_dev;
    }
    return key;
  }
  static Declared May(const event::Header& header, const event::Endpoints& ep, const Scene& scene) {
    return header.info != nullptr ? scene.MaySend(*header.info, header.labels, ep) : Declared::kUnknown;
  }

  void Called(const event::Header& header, const event::Endpoints& ep, const Scene& scene, Raise& raise) {
    if (IsHere(ep) || ep.other_family != 0) {
      return;
    }
    if (IsMetadata(ep)) {
      Metadata(header, ep, scene, raise);
      return;
    }
    if (!IsInternal(ep)) {
      return;
    }
    const Key key = KeyOf(header);
    const uint64_t actor = Mix({key.cgroup_id, key.exe_inode, key.exe_dev}), peer = Mix({actor, Mix(ep.remote)});
    const bool new_peer = seen_.Add(peer), new_port = seen_.Add(Mix({peer, ep.remote.port, 1}));
    if ((!new_peer && !new_port) || May(header, ep, scene) == Declared::kAllowed) {
      return;
    }
    bool fresh = false;
    Actor& row = actors_.Touch(key, &fresh);
    if (new_peer) {
      if (const uint64_t peers = More(row.peers, config_.lateral_peers, header.time_ns); peers != 0) {
        Tell(header, ep, "peers", std::to_string(peers) + " internal peers that it had not called before", 45, row, scene, raise);
      }
    } else {
      if (const uint64_t ports = More(row.ports, config_.lateral_ports, header.time_ns); ports != 0) {
        Tell(header, ep, "ports", std::to_string(ports) + " ports of internal peers that it had not called before", 65, row,
             scene, raise);
      }
    }
  }

  void Failed(const event::Header& header, const event::Endpoints& ep, const Scene& scene, Raise& raise) {
    if (IsHere(ep) || !IsInternal(ep) || IsMetadata(ep)) {
      return;
    }
    const Key key = KeyOf(header);
    if (!seen_.Add(Mix({key.cgroup_id, key.exe_inode, key.exe_dev, Mix(ep.remote), ep.remote.port, 2})) ||
        May(header, ep, scene) == Declared::kAllowed) {
      return;
    }
    bool fresh = false;
    Actor& row = actors_.Touch(key, &fresh);
    if (const uint64_t failures = More(row.failures, config_.lateral_failures, header.time_ns); failures != 0) {
      Tell(header, ep, "failures", std::to_string(failures) + " internal peers or ports that did not answer", 65, row, scene,
           raise);
    }
  }

  void Tell(const event::Header& header, const event::Endpoints& ep, const char* sort, const std::string& what, int confidence,
            Actor& row, const Scene& scene, Raise& raise) const {
    const std::string who = Who(scene, header), peer = PeerName(ep);
    const std::string span = " within " + std::to_string(config_.lateral_window_s) + " s";
    const uint64_t failures = row.failures.window.Sum(header.time_ns, window_);
    const bool holds = header.labels != 0, many = failures >= config_.lateral_failures;
    raise(
        {.kind = event::FindingKind::kLateralMovement,
         .severity = holds || many ? Severity::kHigh : Severity::kMedium,
         .confidence = static_cast<uint8_t>(many ? std::max(confidence, 65) + 10 : confidence),
         .cause = std::string(sort) + "\n" + Program(header),
         .process = header.process,
         .title = who + " called " + what + span,
         .explanation =
             who + " called " + what + span + ", the last of them " + peer +
             (failures != 0 ? "; " + std::to_string(failures) + " did not answer" : "") +
             ". No policy allows these peers. So somebody looks who is in reach from here, to go on "
             "from host to host. It is harmless if it is a monitor that finds its targets anew, or a large job whose ranks "
             "meet.",
         .action =
             "Find out who started this program. If its peers are meant, allow them in a policy (egress.allow with their network); if "
             "not, cut the workload off (egress.default: deny) and look at the peers that answered.",
         .peers = {peer},
         .evidence = {what + span, "called " + peer},
         .techniques = {technique::kRemoteDiscovery, technique::kServiceDiscovery, technique::kRemoteServices}});
  }

  static void Metadata(const event::Header& header, const event::Endpoints& ep, const Scene& scene, Raise& raise) {
    const Declared may = May(header, ep, scene);
    const bool service = header.info != nullptr && IsSystemService(scene, *header.info);
    if (may == Declared::kAllowed || (service && may != Declared::kDenied)) {
      return;
    }
    const std::string who = Who(scene, header), peer = PeerName(ep);
    const int confidence = may == Declared::kDenied ? 80 : may == Declared::kUnknown ? 40 : 50;
    raise(
        {.kind = event::FindingKind::kMetadataAccess,
         .severity = header.labels != 0 || may == Declared::kDenied ? Severity::kHigh : Severity::kMedium,
         .confidence = static_cast<uint8_t>(confidence),
         .cause = PeerAddress(ep) + "\n" + Program(header),
         .process = header.process,
         .title = who + " called the cloud's metadata service at " + peer,
         .explanation =
             who + " called " + peer +
             ", where clouds tell a machine about itself and give out the credentials of its role. Who has "
             "taken over a workload asks there for the way to the account's storage. It is harmless if this program uses the "
             "machine's role on purpose; services of the host that run as root are not told.",
         .action =
             "If the workload does not need the machine's role, deny the address in a policy, or demand tokens with a hop limit of 1 "
             "(IMDSv2). If it does, allow it in a policy.",
         .peers = {peer},
         .evidence = {"called " + peer},
         .techniques = {technique::kCloudDiscovery, technique::kMetadataApi}});
  }

  const config::Detect config_;
  const uint64_t window_;
  Recent<Key, Actor> actors_{kActors};
  Seen seen_{kPeers};  // peers, their ports, and those that failed, of each actor
};

}  // namespace

std::unique_ptr<Detector> MakeLateral(const config::Detect& config) { return std::make_unique<Lateral>(config); }

}  // namespace moat::detect
