// SPDX-License-Identifier: Apache-2.0
// The kernel side as the agent sees it: load, attach, drain, describe, unload. The only user of libbpf and the skeletons.
//
// Threads: Start/Stop/Drain/Sleep on the ring thread's owner, one at a time; ReloadAssets, Domains, KernelLedger and Rings may be
// called from any other thread at the same time. Everything is detached and freed in the destructor.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/status.h"
#include "agent/config/config.h"

namespace moat::probe {

// Takes records: bpf/abi structs, from the rings or made in user space (sums of open files and sockets, fanotify).
// The bytes are valid only during the call.
class RecordSink {
 public:
  virtual ~RecordSink() = default;
  virtual void OnRecord(std::span<const std::byte> record) = 0;
};

// An asset as resolved on this host.
struct ResolvedAsset {
  uint32_t id = 0;  // label bit
  std::string name;
  std::string asset_class;
  uint64_t bytes = 0;
  std::vector<std::string> problems;  // a path that does not exist, a limit reached, ...
  struct File {
    std::string path;
    uint32_t dev = 0;  // major << 20 | minor
    uint64_t inode = 0;
    bool directory = false;
    // Not at its path any more, and still the asset's: moved away, or covered by a mount. What is at the path now is another.
    bool left = false;
  };
  std::vector<File> files;
};

struct ResolvedDevice {
  uint32_t rdev = 0;
  std::string path;
  std::string class_name;
  std::string object;  // what it opens, where that is more than the device (openings.h)
  bool operator==(const ResolvedDevice&) const = default;
};

class PolicyMaps;

class Probe {
 public:
  // Loads and attaches every domain that can be; a domain that cannot is described in Domains() and the others run.
  // Fails only when none could be loaded or a shared map could not be made.
  static Result<std::unique_ptr<Probe>> Start(const config::Config& config);
  virtual ~Probe() = default;

  // Emits one MOAT_KIND_SCAN record per process in scope, parents before children.
  virtual Status Scan(RecordSink& sink) = 0;

  // Drains bulk, then urgent, at most max records each; records of one call may be out of order by time. Returns how many.
  virtual size_t Drain(RecordSink& sink, size_t max) = 0;
  // Sleeps for so long, or until a ring is filling or Wake(). Not asleep to the kernel's programs: they would wake the reader for
  // each record.
  virtual void Nap(int ms) = 0;
  // Tells the kernel that the reader sleeps, and sleeps until a record comes, Wake() or timeout_ms.
  virtual void Sleep(int timeout_ms) = 0;
  virtual void Wake() = 0;
  // Emits the sums that changed since the last call (FILE_IO, NET_FLOW), and notices of fanotify. Ring thread, about once a second.
  virtual void Sums(RecordSink& sink) = 0;

  virtual Status ReloadAssets(const config::Config& config) = 0;
  // Of the assets in force.
  virtual std::vector<std::string> AssetPaths() const = 0;
  // Looks for the files of the assets in force anew: what is mounted has changed. What is not at their paths any more stays theirs where it can
  // still be read. False: the assets were changed meanwhile, or are not watched.
  virtual bool FindAssetsAgain() = 0;
  virtual std::vector<ResolvedAsset> Assets() const = 0;
  virtual std::vector<ResolvedDevice> Devices() const = 0;
  virtual std::vector<DomainStatus> Domains() const = 0;
  virtual Ledger KernelLedger() const = 0;  // attempted, lost{ring_full, program_missed}, table_full; delivered is the pipeline's
  virtual std::vector<RingStatus> Rings() const = 0;
  // The control thread's, every second or two: puts back what somebody has taken from enforcement (programs detached, the generation
  // changed). What it was, in words.
  virtual std::vector<std::string> Repair() = 0;
  // The control thread's. Whether what is enforced goes on without this process, from now on; at the beginning it does. A failure to keep it
  // is in NotKept().
  virtual void Keep() = 0;
  virtual Status LetGo() = 0;
  // Why enforcement would end with this process although it is to go on; empty: it goes on, or nothing is enforced.
  virtual std::string NotKept() const = 0;
  // The control thread's. Null: no policies are configured, or the domain could not be loaded (Domains() says why).
  virtual PolicyMaps* Policies() = 0;
};

}  // namespace moat::probe
