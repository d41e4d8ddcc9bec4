// SPDX-License-Identifier: Apache-2.0
// One domain: one BPF object. Opened, its programs chosen from the table, loaded and attached; each on its own, so that one that
// fails leaves the others running. A program that the kernel refuses, or attaches and never runs, gives way to the next in its row.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"
#include "agent/base/status.h"
#include "agent/probe/call_site.h"
#include "agent/probe/canary.h"
#include "agent/probe/features.h"
#include "agent/probe/pins.h"
#include "agent/probe/shared_maps.h"
#include "agent/probe/syscall_table.h"
#include "agent/probe/table.h"

struct bpf_link;
struct bpf_object;
struct bpf_program;

namespace moat::probe {

// The compiled objects of a domain, embedded in the agent by their skeletons. The same programs twice: see bpf/kernel/read.bpf.h.
struct Image {
  const char* name;
  std::span<const std::byte> bytes;  // for kernels with bpf_rdonly_cast
  std::span<const std::byte> legacy;  // for those without
};
std::span<const Image> Images();  // syscall, process, auth, file, gpu, net, enforce

// One thread at a time until attached; then MapFd, Describe and MissedRuns from any thread.
class Domain {
 public:
  // features: null when they could not be asked. avoid: backends not to be used, by name. Both outlive the domain.
  Domain(const Image& image, const Features* features, const std::vector<std::string>& avoid)
      : name_(image.name), image_(image), features_(features), avoid_(avoid) {}
  ~Domain();
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

  // Before Open: the file that uprobes go to; empty: there is none.
  void Into(std::string library) { library_ = std::move(library); }

  // Each returns at once when an earlier step failed; error() then says why.
  void Open();  // the object, and a program for each event
  // pins: null, or where maps of policies (moat_pol_*) are kept over the agent's life: they are taken from there, or put there.
  void Load(const SharedMaps& maps, const Pins* pins = nullptr);
  // Every link that is attached, under its event's name.
  Status PinLinks(Pins& pins);
  void PinMaps(const Pins& pins) const;  // those that outlive the agent; Load does it, too
  void EndWithUs() { kept_ = false; }  // the links' pins are gone
  // calls: null when no program sits on sys_exit, so that nothing can be reached through the table.
  void Attach(SyscallTable* calls, int cgroup_fd);
  // After Attach and the canary: notes which hooks have run. True: some did not, or could not be attached, and Open, Load and Attach
  // are to be called again, to take what comes next in their rows.
  bool Wanting(const Canary& canary);
  // In place of Attach: attaches nothing, and attached() and Describe() then tell what Attach would try.
  struct Grounds {
    bool syscall_exit = false;  // a program sits, or would sit, on sys_exit
    bool cgroup = false;  // there is a cgroup to attach to
    uint32_t drivers = 0;  // that are loaded
  };
  void Presume(const Grounds& grounds);
  void Refuse(std::string why);  // switched off, or it failed: everything of it is closed

  const std::string& name() const { return name_; }
  bpf_object* object() const { return object_; }
  bool loaded() const { return loaded_; }
  bool attached(std::string_view event) const;
  bool uses(Backend backend) const;  // chosen for any event
  bool uses(Backend backend, std::string_view event) const;
  const std::string& error() const { return error_; }

  // Attaches what stands on functions of drivers, which are modules: those in `drivers` (bits by enum moat_gpu_class) are loaded now. What is
  // attached stays so, unless afresh: a module went, and what stood on it with it. Whether there is any such hook. Beside Describe and the
  // like, from any one thread.
  bool AttachToDrivers(uint32_t drivers, bool afresh);
  // The kernel refused one that is there: seen on 5.10 after a probe at the same place was let go of a moment ago. To be tried again.
  bool refused_for_now() const { return refused_for_now_; }
  // Probes the library, too, when it is another file by now. After Attach; beside Describe and the like, from any one thread.
  void FollowLibrary();
  // Attaches again what somebody has detached from the cgroup since; which events. Beside Describe and the like, from any one thread.
  std::vector<std::string> Repair(int cgroup_fd);

  int MapFd(const char* name) const;  // negative: no such map, or not loaded
  bpf_program* Program(const char* name) const;  // null: not loaded
  DomainStatus Describe() const;
  // Adds the runs of each program that the kernel skipped, by the kind that they would have reported.
  void MissedRuns(std::span<uint64_t, MOAT_KIND_COUNT> by_kind) const;

 private:
  struct Hook {
    const Row* row = nullptr;
    const Candidate* candidate = nullptr;  // null: none could be chosen
    bpf_program* program = nullptr;  // null: that of the row `with`, or none
    std::vector<std::string> points;  // attach points that this kernel has
    std::vector<bpf_link*> links;
    std::vector<uint32_t> slots;  // of the table of system calls
    std::string why;
    std::string proof;
    bool attached = false;
    std::vector<std::string> missing;  // of points, of a driver: those that are not attached
    bool lacking = false;  // its driver, or all functions of it
    std::string by;  // which of points are attached in another place, and where
  };
  void Close();
  Status AttachToCalls(Hook& hook, const std::string& function, bool returns);
  void AttachToDriver(Hook& hook, uint32_t drivers, bool afresh);
  using FileId = std::pair<uint64_t, uint64_t>;  // device, inode
  struct Library {
    Fd file;  // none: there is no such file now
    FileId id;
  };
  Library OpenLibrary() const;
  Result<bpf_link*> AttachToLibrary(const Hook& hook, const Library& library) const;
  void Adopt(const Pins& pins);
  Answer Offered(const Candidate& candidate) const;
  void ChooseFor(Hook& hook);
  const Hook* Find(std::string_view event) const;
  Status MayAttach(const Hook& hook, const Grounds& grounds) const;
  Status AttachHook(Hook& hook, SyscallTable* calls, int cgroup_fd);
  static uint64_t Missed(const Hook& hook);
  bool Ran(const char* program) const;

  std::string name_;
  Image image_;
  const Features* features_;
  const std::vector<std::string>& avoid_;
  std::string library_;
  Library opened_;  // while it is attached
  std::vector<FileId> libraries_;  // that it was until now, and that are probed
  std::map<std::string, std::string> refused_;  // programs that loading, attaching or the canary ruled out, and why
  bpf_object* object_ = nullptr;
  bool loaded_ = false;
  std::string error_;
  std::vector<Hook> hooks_;
  bool refused_for_now_ = false;
  std::map<std::string, std::vector<CallSite>> calls_of_;  // of drivers' functions that are probed where they are called
  mutable std::mutex late_;  // what of the hooks changes once they are attached
  bool kept_ = false;  // the links are pinned, and what they need stays when this object goes
  SyscallTable* calls_ = nullptr;  // while hooks hold slots of it
};

}  // namespace moat::probe
