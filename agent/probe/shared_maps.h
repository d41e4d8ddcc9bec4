// SPDX-License-Identifier: Apache-2.0
// The maps that every domain uses (bpf/lib/maps.bpf.h): made once, here, so that one domain's failure leaves them to the others.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "agent/base/error.h"
#include "agent/base/fd.h"
#include "agent/config/config.h"
#include "agent/probe/pins.h"
#include "bpf/abi/label.h"

struct bpf_map;
struct bpf_object;

namespace moat::probe {

// Whether a map of the kernel is what an object declares: type, sizes of key and value, entries.
bool SameShape(const bpf_map* declared, int fd);

class SharedMaps {
 public:
  // Takes each map's shape from the first object that declares it; the rings' sizes from configuration. pins: null, or where the labels and
  // the control block are kept over the agent's life.
  static Result<std::unique_ptr<SharedMaps>> Create(const std::vector<bpf_object*>& objects, const config::Config& config,
                                                    const Pins* pins = nullptr);
  ~SharedMaps();

  // Puts there what is kept over the agent's life; Create does it, too.
  void Pin(const Pins& pins) const;

  // Makes an object, not yet loaded, use these maps in place of its own.
  Status GiveTo(bpf_object* object) const;

  int ring_urgent() const { return fds_[0].get(); }
  int ring_bulk() const { return fds_[1].get(); }
  int scope() const { return fds_[3].get(); }
  int stats() const { return fds_[4].get(); }
  int table_full() const { return fds_[5].get(); }
  int procs() const { return fds_[6].get(); }
  int gpu_rows() const { return Named("moat_gpu_rows"); }  // -1: no domain of those that are switched on has it
  int gpu_clients() const { return Named("moat_gpu_clients"); }
  int gpu_debuggers() const { return Named("moat_gpu_debuggers"); }
  int gpu_files() const { return Named("moat_gpu_files"); }
  int syscalls() const { return fds_[7].get(); }
  moat_control* control() const { return control_; }  // mapped: a store here is what every program reads next

 private:
  SharedMaps() = default;
  int Named(std::string_view name) const;
  static constexpr const char* kNames[] = {"moat_ring_urgent", "moat_ring_bulk", ".data.control", "moat_scope", "moat_stats",
                                           "moat_table_full", "moat_procs", "moat_syscalls",
                                           // of one domain each, looked at by domain enforce too
                                           "moat_inodes", "moat_names", "moat_blocks", "moat_majors", "moat_devices",
                                           "moat_gpu_rows", "moat_gpu_clients", "moat_gpu_debuggers", "moat_gpu_files"};
  static constexpr size_t kFirstOptional = 7;  // there may be no domain that declares them
  Fd fds_[std::size(kNames)];
  moat_control* control_ = nullptr;
};

}  // namespace moat::probe
