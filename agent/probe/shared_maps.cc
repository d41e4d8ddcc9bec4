// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/shared_maps.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <string>

namespace moat::probe {

bool SameShape(const bpf_map* declared, int fd) {
  bpf_map_info info{};
  uint32_t length = sizeof(info);
  return bpf_obj_get_info_by_fd(fd, &info, &length) == 0 && info.type == static_cast<uint32_t>(bpf_map__type(declared)) &&
         info.key_size == bpf_map__key_size(declared) && info.value_size == bpf_map__value_size(declared) &&
         info.max_entries == bpf_map__max_entries(declared);
}

namespace {

// moat_syscalls is kept but not taken over: a table of programs is emptied when nobody but programs holds it (kernel/bpf/arraymap.c).
bool IsKept(const std::string& name) {
  return name == ".data.control" || name == "moat_procs" || name == "moat_syscalls" || name == "moat_gpu_clients" ||
         name == "moat_gpu_debuggers" || name == "moat_gpu_files" || name == "moat_gpu_rows";
}

}  // namespace

Result<std::unique_ptr<SharedMaps>> SharedMaps::Create(const std::vector<bpf_object*>& objects, const config::Config& config,
                                                       const Pins* pins) {
  std::unique_ptr<SharedMaps> shared(new SharedMaps);
  for (size_t i = 0; i < std::size(kNames); ++i) {
    const std::string name = kNames[i];
    bpf_map* map = nullptr;
    for (size_t k = 0; k < objects.size() && map == nullptr; ++k) {
      map = bpf_object__find_map_by_name(objects[k], kNames[i]);
    }
    if (map == nullptr && i >= kFirstOptional) {
      continue;
    }
    if (map == nullptr) {
      return Fail(Code::kFailedPrecondition, "map " + name + ": no domain that is switched on declares it");
    }
    uint32_t entries = bpf_map__max_entries(map);
    if (name == "moat_ring_urgent") {
      entries = config.ring_urgent_bytes;
    } else if (name == "moat_ring_bulk") {
      entries = config.ring_bulk_bytes;
    }
    LIBBPF_OPTS(bpf_map_create_opts, options);
    options.map_flags = bpf_map__map_flags(map);
    const bool is_control = name == ".data.control";  // a variable of the programs (bpf/lib/maps.bpf.h)
    const char* told = is_control ? "moat_control" : kNames[i];
    Fd fd = pins != nullptr && IsKept(name) && name != "moat_syscalls" ? pins->Map(name) : Fd();
    if (fd && !SameShape(map, fd.get())) {
      spdlog::warn("map {}: the one that is kept is of another version, and is left behind: who held an asset is forgotten",
                   name);
      fd.Reset();
    }
    if (!fd) {
      fd = Fd(bpf_map_create(bpf_map__type(map), told, bpf_map__key_size(map), bpf_map__value_size(map), entries, &options));
    }
    if (!fd) {
      return FailErrno(errno, "create map " + name + " (" + std::to_string(entries) + " entries or bytes; needs CAP_BPF)");
    }
    if (is_control) {
      void* page = mmap(nullptr, sizeof(moat_control), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
      if (page == MAP_FAILED) {
        return FailErrno(errno, "map " + name);
      }
      shared->control_ = static_cast<moat_control*>(page);
      shared->control_->page_shift = static_cast<uint32_t>(std::countr_zero(static_cast<unsigned long>(sysconf(_SC_PAGESIZE))));
    }
    shared->fds_[i] = std::move(fd);
  }
  if (pins != nullptr) {
    shared->Pin(*pins);
  }
  return shared;
}

int SharedMaps::Named(std::string_view name) const {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) {
      return fds_[i].get();
    }
  }
  return -1;
}

void SharedMaps::Pin(const Pins& pins) const {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (!IsKept(kNames[i]) || !fds_[i]) {
      continue;
    }
    if (Status status = pins.PutMap(kNames[i], fds_[i].get()); !status) {
      spdlog::warn("{}", status.error().message);
    }
  }
}

SharedMaps::~SharedMaps() {
  if (control_ != nullptr) {
    munmap(control_, sizeof(*control_));
  }
}

Status SharedMaps::GiveTo(bpf_object* object) const {
  for (size_t i = 0; i < std::size(kNames); ++i) {
    bpf_map* map = bpf_object__find_map_by_name(object, kNames[i]);
    if (map == nullptr || !fds_[i]) {
      continue;
    }
    if (const int err = bpf_map__reuse_fd(map, fds_[i].get()); err != 0) {
      return FailErrno(-err, std::string("share map ") + kNames[i]);
    }
  }
  return {};
}

}  // namespace moat::probe
