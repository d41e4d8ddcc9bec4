// SPDX-License-Identifier: Apache-2.0
// One domain: one BPF object. Opened, its programs chosen from the table, loaded and attached; each on its own, so that one that
// fails leaves the others running.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/status.h"
#include "agent/probe/features.h"
#include "agent/probe/shared_maps.h"
#include "agent/probe/syscall_table.h"
#include "agent/probe/table.h"

struct bpf_link;
struct bpf_object;
struct bpf_program;

namespace moat::probe {

// The compiled object of a domain, embedded in the agent by its skeleton.
struct Image {
  const char* name;
  std::span<const std::byte> bytes;
};
std::span<const Image> Images();  // syscall, process, file, gpu, net

// One thread at a time until attached; then MapFd, Describe and MissedRuns from any thread.
class Domain {
 public:
  explicit Domain(const Image& image) : name_(image.name), image_(image) {}
  ~Domain();
  Domain(const Domain&) = delete;
  Domain& operator=(const Domain&) = delete;

  // Each returns at once when an earlier step failed; error() then says why.
  void Open();
  void Choose(const Features* features);
  void Load(const SharedMaps& maps);
  // calls: null when no program sits on sys_exit, so that nothing can be reached through the table.
  void Attach(SyscallTable* calls, int cgroup_fd);
  // In place of Attach: attaches nothing, and attached() and Describe() then tell what Attach would try.
  struct Grounds {
    bool syscall_exit = false;  // a program sits, or would sit, on sys_exit
    bool cgroup = false;        // there is a cgroup to attach to
  };
  void Presume(const Grounds& grounds);
  void Refuse(std::string why);  // switched off, or it failed: everything of it is closed

  const std::string& name() const { return name_; }
  bpf_object* object() const { return object_; }
  bool loaded() const { return loaded_; }
  bool attached(std::string_view event) const;
  const std::string& error() const { return error_; }

  int MapFd(const char* name) const;                 // negative: no such map, or not loaded
  bpf_program* Program(const char* name) const;      // null: not loaded
  DomainStatus Describe() const;
  // Adds the runs of each program that the kernel skipped, by the kind that they would have reported.
  void MissedRuns(std::span<uint64_t, MOAT_KIND_COUNT> by_kind) const;

 private:
  struct Hook {
    const Row* row = nullptr;
    const Candidate* candidate = nullptr;  // null: none could be chosen
    bpf_program* program = nullptr;
    std::vector<std::string> points;  // attach points that this kernel has
    std::vector<bpf_link*> links;
    std::vector<uint32_t> slots;  // of the table of system calls
    std::string why;
    bool attached = false;
  };
  void ChooseFor(Hook& hook, const Features* features);
  static Status MayAttach(const Hook& hook, const Grounds& grounds);
  Status AttachHook(Hook& hook, SyscallTable* calls, int cgroup_fd);
  static uint64_t Missed(const Hook& hook);

  std::string name_;
  Image image_;
  bpf_object* object_ = nullptr;
  bool loaded_ = false;
  std::string error_;
  std::vector<Hook> hooks_;
  SyscallTable* calls_ = nullptr;  // while hooks hold slots of it
};

}  // namespace moat::probe
