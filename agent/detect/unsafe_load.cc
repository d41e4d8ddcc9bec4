// SPDX-License-Identifier: Apache-2.0
// A model file that runs code: within load_s of opening one of weights or an adapter, the loader or a child that it has started since runs a
// shell or a compiler, or calls a peer that its workload has not called before and no policy allows.
//
// Benign, and not told: what was started before the file was opened (a server's helpers); writers of the asset (it is their own); a shell that
// opened the file itself (a script at work); a shell asked for one plain fact (uname); compilers of GPU code, which run at the first use of
// a model; peers that were called before; DNS; a datagram socket that was connected and has sent nothing (how programs ask for their own
// address).
#include <fcntl.h>

#include "agent/base/recent.h"
#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/memory.h"
#include "agent/detect/peer.h"
#include "agent/detect/program.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr size_t kLoaders = 16384, kPeers = 65536;
constexpr uint16_t kDns = 53, kUdp = 17;

class UnsafeLoad final : public Detector {
 public:
  explicit UnsafeLoad(const config::Detect& config) : within_ns_(config.load_s * kSecond) {}
  const char* name() const override { return "unsafe_load"; }
  uint32_t kinds() const override {
    return Wants(Kind::kFileOpen) | Wants(Kind::kFork) | Wants(Kind::kExec) | Wants(Kind::kExit) | Wants(Kind::kNetConnect) |
           Wants(Kind::kNetSend);
  }
  uint64_t forgotten() const override { return loads_.evicted(); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const event::Header& header = event.header;
    if (const auto* net = std::get_if<event::Net>(&event.body)) {
      Called(header, *net, scene, raise);
    } else if (const auto* fork = std::get_if<event::Fork>(&event.body)) {
      if (const Load* load = Of(header); load != nullptr) {
        const Load copy = *load;  // the next line may drive it out
        bool fresh = false;
        loads_.Touch(KeyOf(fork->child), &fresh) = copy;
      }
    } else if (const auto* exec = std::get_if<event::Exec>(&event.body); exec != nullptr && exec->image != nullptr) {
      Ran(header, *exec->image, scene, raise);
    } else if (header.kind == Kind::kExit) {
      loads_.Forget(KeyOf(header.process));
    } else if (const auto* open = std::get_if<event::FileOpen>(&event.body)) {
      Opened(header, *open, scene);
    }
  }

 private:
  struct Key {
    uint64_t start_ns = 0, pid = 0;
  };
  struct Load {
    uint64_t opened_ns = 0, inode = 0;
    uint32_t dev = 0, asset = 0;
    event::ProcessKey loader;
    event::FixedString<128> name;
  };
  static Key KeyOf(const event::ProcessKey& process) { return {.start_ns = process.start_ns, .pid = process.pid}; }

  // What this process, or who has started it since, has opened within the time.
  const Load* Of(const event::Header& header) {
    const Load* load = loads_.Find(KeyOf(header.process));
    const bool recent = load != nullptr && header.time_ns >= load->opened_ns && header.time_ns - load->opened_ns <= within_ns_;
    return recent ? load : nullptr;
  }

  void Opened(const event::Header& header, const event::FileOpen& open, const Scene& scene) {
    if (open.asset >= event::kMaxAssets || (open.open_flags & O_ACCMODE) == O_WRONLY || header.info == nullptr ||
        IsShell(header.info->exe)) {
      return;
    }
    const std::string sort = AssetClass(scene, open.asset);
    if ((sort != "weights" && sort != "adapter") || scene.MayWrite(*header.info, open.asset) == Declared::kAllowed) {
      return;
    }
    bool fresh = false;
    loads_.Touch(KeyOf(header.process), &fresh) = {.opened_ns = header.time_ns,
                                                   .inode = open.inode,
                                                   .dev = open.dev,
                                                   .asset = open.asset,
                                                   .loader = header.process,
                                                   .name = open.name};
  }

  void Ran(const event::Header& header, const event::Process& image, const Scene& scene, Raise& raise) {
    const Load* load = Of(header);
    if (load == nullptr) {
      return;
    }
    const bool shell = IsShell(image.exe) && !IsPlainQuestion(image);
    const bool compiler = IsCompiler(image.exe) && !IsKernelBuild(image);
    if (!shell && !compiler) {
      return;
    }
    std::string line;
    for (const std::string& arg : image.args) {
      line += (line.empty() ? "" : " ") + arg;
      if (line.size() > 512) {
        line.resize(512);
        line += "...";
        break;
      }
    }
    const std::string program = Printable(image.exe), did = "ran " + program + (line.empty() ? "" : " (" + Printable(line) + ")");
    Tell(header, *load, did, program, shell ? event::Severity::kHigh : event::Severity::kMedium, shell ? 75 : 50, {}, scene,
         raise);
  }

  void Called(const event::Header& header, const event::Net& net, const Scene& scene, Raise& raise) {
    if (IsHere(net.ep) || net.ep.other_family != 0 || net.ep.remote.port == kDns ||
        (net.ep.protocol == kUdp && header.kind == Kind::kNetConnect)) {
      return;
    }
    const bool fresh = peers_.Add(Mix({header.cgroup_id, Mix(net.ep.remote)}));
    const Load* load = fresh ? Of(header) : nullptr;
    if (load == nullptr) {
      return;
    }
    const Declared may = header.info != nullptr ? scene.MaySend(*header.info, header.labels, net.ep) : Declared::kUnknown;
    if (may == Declared::kAllowed) {
      return;
    }
    const bool internal = IsInternal(net.ep);
    const int confidence = (internal ? 40 : 60) + (may == Declared::kDenied ? 20 : 0) - (may == Declared::kUnknown ? 15 : 0);
    const std::string peer = PeerName(net.ep);
    Tell(header, *load, "called " + peer, PeerAddress(net.ep), internal ? event::Severity::kMedium : event::Severity::kHigh,
         confidence, peer, scene, raise);
  }

  static void Tell(const event::Header& header, const Load& load, const std::string& did, const std::string& what,
                   event::Severity severity, int confidence, const std::string& peer, const Scene& scene, Raise& raise) {
    const std::string name = AssetName(scene, load.asset), file = FileName(scene, load.dev, load.inode, load.name.view());
    const auto loader = scene.Find(load.loader);
    const std::string program = loader != nullptr && !loader->exe.empty() ? Printable(loader->exe) : "a program";
    const bool itself = load.loader == header.process;
    const std::string who = program + "[" + std::to_string(load.loader.pid) + "] in " + Whose(scene, header);
    const std::string after = std::to_string((header.time_ns - load.opened_ns) / 1'000'000) + " ms after it opened " + file;
    raise({.kind = event::FindingKind::kUnsafeLoad,
           .severity = severity,
           .confidence = static_cast<uint8_t>(confidence),
           .cause = name + "\n" + program + "\n" + what,
           .process = header.process,
           .title = who + (itself ? " " : ", by a child, ") + did + " while loading " + name,
           .explanation =
               who + (itself ? " " : ", by a child that it had started meanwhile, ") + did + ", " + after + " of " + name +
               ". Formats such as pickle (.bin, .pt, .ckpt) run whatever code their author put in when they are read, and a "
               "loader of weights has no other reason to do this. It is harmless if the program does so each time, whatever it "
               "loads: some look for a compiler or report to a service at their start.",
           .action = "Do not load " + file +
                     " again before it was looked at (a scanner for pickles, or its checksum against its origin), and "
                     "look at what the program did since (moatctl watch --since oldest --pid " +
                     std::to_string(header.process.pid) + "). Prefer safetensors, which cannot run code." +
                     (peer.empty() ? "" : " If the peer is meant, allow it in a policy."),
           .assets = {name},
           .peers = peer.empty() ? std::vector<std::string>{} : std::vector<std::string>{peer},
           .evidence = {"opened " + file + " of " + name, did + ", " + after},
           .techniques = {technique::kUserExecution, technique::kInterpreter}});
  }

  const uint64_t within_ns_;
  Recent<Key, Load> loads_{kLoaders};
  Seen peers_{kPeers};  // of workloads
};

}  // namespace

std::unique_ptr<Detector> MakeUnsafeLoad(const config::Detect& config) { return std::make_unique<UnsafeLoad>(config); }

}  // namespace moat::detect
