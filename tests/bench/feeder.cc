// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/feeder.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <map>
#include <string>
#include <thread>

#include "bpf/abi/label.h"  // the skeleton names its types
#include "feed.skel.h"
#include "tests/bench/host.h"

namespace moat::bench {
namespace {

// Of this process, by name.
std::map<std::string, int> Maps() {
  std::map<std::string, int> out;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const auto target = std::filesystem::read_symlink(entry.path(), error);
    if (error || target.string().find("bpf-map") == std::string::npos) {
      continue;
    }
    const int fd = std::stoi(entry.path().filename());
    bpf_map_info info{};
    uint32_t size = sizeof info;
    if (bpf_obj_get_info_by_fd(fd, &info, &size) == 0) {
      out.emplace(info.name, fd);
    }
  }
  return out;
}

uint64_t Now(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
}

}  // namespace

Feeder::~Feeder() { feed_bpf__destroy(object_); }

Result<std::unique_ptr<Feeder>> Feeder::Create(int cpu) {
  std::unique_ptr<Feeder> feeder(new Feeder);
  feeder->cpu_ = cpu;
  const std::map<std::string, int> maps = Maps();
  feeder->object_ = feed_bpf__open();
  if (feeder->object_ == nullptr) {
    return FailErrno(errno, "open the feeder's object");
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, feeder->object_->obj) {
    std::string name = bpf_map__name(map);
    if (name == ".data.control") {  // as the agent names it (probe/shared_maps.cc)
      name = "moat_control";
    }
    const auto found = maps.find(name.substr(0, BPF_OBJ_NAME_LEN - 1));
    if (found == maps.end() || bpf_map__reuse_fd(map, found->second) != 0) {
      return Fail(Code::kFailedPrecondition, std::string("the agent's map ") + bpf_map__name(map) + " is not there");
    }
  }
  if (const int error = feed_bpf__load(feeder->object_); error != 0) {
    return FailErrno(-error, "load the feeder");
  }
  return feeder;
}

Result<Feeder::Fed> Feeder::Run(uint64_t rate, uint64_t ms) {
  const int program = bpf_program__fd(object_->progs.moat_feed);
  Fed fed;
  int error = 0;
  std::thread thread([&] {
    PinThread(cpu_);
    const uint64_t cpu = Now(CLOCK_THREAD_CPUTIME_ID), start = Now(CLOCK_MONOTONIC), end = start + ms * 1'000'000;
    for (uint64_t now = start; now < end && error == 0; now = Now(CLOCK_MONOTONIC)) {
      // What was missed while others had the core is made up for at twice the rate, not in one burst that no ring could hold.
      const uint64_t due = std::min((now - start) * rate / 1'000'000'000 - fed.events, rate / 500);
      struct {
        uint64_t events;
      } context{due};
      LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &context, .ctx_size_in = sizeof context);
      error = bpf_prog_test_run_opts(program, &options);
      fed.events += due;
      const timespec slice{0, 1'000'000};
      nanosleep(&slice, nullptr);
    }
    fed.cpu_ns = Now(CLOCK_THREAD_CPUTIME_ID) - cpu;
    fed.wall_ns = Now(CLOCK_MONOTONIC) - start;
  });
  thread.join();
  if (error != 0) {
    return FailErrno(-error, "run the feeder");
  }
  return fed;
}

}  // namespace moat::bench
