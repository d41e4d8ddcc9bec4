// SPDX-License-Identifier: Apache-2.0
// A program started with its standard input on a socket of the network: whoever is at the other end types.
//
// Benign, and not told: sockets of this host alone (AF_UNIX: terminals of sshd without a tty, editors that work from afar), and what a super
// server starts for a connection (inetd, a unit of systemd with Accept=yes, git-daemon), unless it is a shell without a script, or in a
// container, where a name proves nothing. A program
// that is no shell or interpreter is told when all three streams are such a socket: a shell may have any name.
#include <algorithm>
#include <array>
#include <variant>

#include "agent/base/recent.h"
#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/peer.h"
#include "agent/detect/program.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;

constexpr size_t kCallers = 8192;
constexpr size_t kParents = 4;

class ReverseShell final : public Detector {
 public:
  const char* name() const override { return "reverse_shell"; }
  uint32_t kinds() const override {
    return Wants(Kind::kExec) | Wants(Kind::kNetConnect) | Wants(Kind::kNetAccept) | Wants(Kind::kExit);
  }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const event::Header& header = event.header;
    if (const auto* net = std::get_if<event::Net>(&event.body)) {
      if (net->ep.other_family == 0 && header.process.pid != 0) {
        bool fresh = false;
        called_.Touch(KeyOf(header.process), &fresh) = {.ep = net->ep, .accepted = header.kind == Kind::kNetAccept};
      }
    } else if (header.kind == Kind::kExit) {
      called_.Forget(KeyOf(header.process));
    } else if (const auto* exec = std::get_if<event::Exec>(&event.body); exec != nullptr && exec->image != nullptr) {
      Ran(header, *exec->image, scene, raise);
    }
  }

 private:
  struct Key {
    uint64_t start_ns = 0, pid = 0;
  };
  struct Call {
    event::Endpoints ep;
    bool accepted = false;
  };
  static Key KeyOf(const event::ProcessKey& process) { return {.start_ns = process.start_ns, .pid = process.pid}; }

  void Ran(const event::Header& header, const event::Process& image, const Scene& scene, Raise& raise) {
    constexpr uint32_t kNeeded = event::kExecStdinSocket | event::kExecStdioInet;
    if ((image.exec_flags & kNeeded) != kNeeded) {
      return;
    }
    const auto parent = scene.Find(image.parent);
    const bool shell = IsShell(image.exe), interpreter = IsInterpreter(image.exe);
    const bool served = parent != nullptr && IsSuperServer(parent->exe) && !IsInContainer(scene, *parent);
    const bool script = image.args.size() > 1 && !image.args[1].starts_with('-');
    const bool all = (image.exec_flags & event::kExecStdioSocket) == event::kExecStdioSocket;
    if (served ? !shell || script : !shell && !interpreter && !all) {
      return;
    }
    Tell(header, image, shell, interpreter, Other(image, scene), scene, raise);
  }

  // Who is at the other end: the last call of the process, or of who has started it.
  const Call* Other(const event::Process& image, const Scene& scene) {
    const Call* call = called_.Find(KeyOf(image.key));
    event::ProcessKey next = image.parent;
    for (size_t i = 0; call == nullptr && i < kParents && next.pid != 0; ++i) {
      call = called_.Find(KeyOf(next));
      const auto process = scene.Find(next);
      next = process != nullptr ? process->parent : event::ProcessKey{};
    }
    return call;
  }

  static void Tell(const event::Header& header, const event::Process& image, bool shell, bool interpreter, const Call* call,
                   const Scene& scene, Raise& raise) {
    const std::string who = Printable(image.exe) + "[" + std::to_string(header.process.pid) + "] in " + Whose(scene, header);
    const std::string peer = call != nullptr ? PeerName(call->ep) : "";
    const std::string end = call == nullptr ? ", with a peer that is not known"
                                            : (call->accepted ? ", probably with " + peer + ", which had called this host"
                                                              : ", probably with " + peer + ", which was called from here");
    const bool outside = call != nullptr && !IsInternal(call->ep) && !IsHere(call->ep);
    raise(
        {.kind = event::FindingKind::kReverseShell,
         .severity = shell         ? header.labels != 0 || outside ? event::Severity::kCritical : event::Severity::kHigh
                     : interpreter ? event::Severity::kHigh
                                   : event::Severity::kMedium,
         .confidence = static_cast<uint8_t>(shell         ? 90
                                            : interpreter ? 65
                                                          : 50),
         .cause = Printable(image.exe) + "\n" + (call != nullptr ? PeerAddress(call->ep) : ""),
         .process = header.process,
         .title = who + " takes its input from the network" + end,
         .explanation =
             who + " was started with a network socket as its standard input" + end +
             (shell ? ". So whoever is at the other end can type commands on this host."
                    : ". So whoever is at the other end can tell this program what to do.") +
             " It is harmless if a service of this host starts this program for each connection on purpose; the usual ones "
             "that do (inetd, systemd, git) are not told.",
         .action =
             "Take the workload for an intruder's: cut it off from the network (egress.default: deny), keep the process and its "
             "parents for a closer look, and find out how it was started.",
         .peers = peer.empty() ? std::vector<std::string>{} : std::vector<std::string>{peer},
         .evidence = {"ran " + Printable(image.exe) + " with a network socket as standard input" + end},
         .techniques = {technique::kReverseShell, technique::kInterpreter, technique::kUnixShell}});
  }

  Recent<Key, Call> called_{kCallers};
};

}  // namespace

std::unique_ptr<Detector> MakeReverseShell() { return std::make_unique<ReverseShell>(); }

}  // namespace moat::detect
