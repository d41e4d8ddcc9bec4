// SPDX-License-Identifier: Apache-2.0
// Ways to come by a descriptor of an asset's file.
#include <fcntl.h>
#include <linux/openat2.h>

#include "tests/bpf/blind/case.h"
#include "tests/bpf/blind/compat32.h"
#include "tests/bpf/blind/uring.h"

namespace moat::test {
namespace {

// Runs open 23 times; each descriptor must be the asset's.
template <typename Open>
auto Opening(Open open) {
  return [open](Stage& stage) {
    struct stat wanted{}, got{};
    MOAT_CHILD_CHECK(stat(stage.weights.c_str(), &wanted) == 0);
    for (int i = 0; i < kTimes; ++i) {
      const int fd = open(stage);
      MOAT_CHILD_CHECK(fd >= 0 && fstat(fd, &got) == 0 && got.st_ino == wanted.st_ino && got.st_dev == wanted.st_dev);
      close(fd);
    }
  };
}

int ByHandle(Stage& stage) {
  alignas(file_handle) char room[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
  auto* handle = reinterpret_cast<file_handle*>(room);
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  MOAT_CHILD_CHECK(name_to_handle_at(AT_FDCWD, stage.weights.c_str(), handle, &mount_id, 0) == 0);
  const int mount = MustOpen(stage.dir, O_RDONLY | O_DIRECTORY);  // any descriptor on the same file system
  const int fd = open_by_handle_at(mount, handle, O_RDONLY);
  close(mount);
  return fd;
}

int ByUring(Uring& ring, const std::string& path, int flags) {
  io_uring_sqe sqe = Sqe(IORING_OP_OPENAT, AT_FDCWD, path.c_str(), 0);
  sqe.open_flags = static_cast<uint32_t>(flags);
  return ring.Do(sqe);
}

void UringOpens(Stage& stage) {
  Uring ring;
  Opening([&ring](Stage& at) { return ByUring(ring, at.weights, O_RDONLY); })(stage);
}

void Open32(Stage& stage) {
  char* path = Low(4096);
  std::strcpy(path, stage.weights.c_str());
  Opening([path](Stage&) { return Call32(kOpen32, Low32(path), O_RDONLY); })(stage);
}

}  // namespace

void AddOpenCases(std::vector<BlindSpot>& cases) {
  const Truth opens = {.opens = kTimes};
  const auto add = [&](BlindSpot spot) { cases.push_back(std::move(spot)); };
  const auto plain = [&](const char* name, std::function<void(Stage&)> act, const char* exposure = "") {
    add({.name = name,
         .group = Group::kFile,
         .events = {"file.open"},
         .exposure = exposure,
         .act = std::move(act),
         .truth = opens});
  };
  plain("openat",
        Opening([](Stage& at) { return static_cast<int>(syscall(SYS_openat, AT_FDCWD, at.weights.c_str(), O_RDONLY)); }));
#ifdef SYS_open
  plain("open", Opening([](Stage& at) { return static_cast<int>(syscall(SYS_open, at.weights.c_str(), O_RDONLY)); }));
#endif
  plain("openat2", Opening([](Stage& at) {
          open_how how{};
          how.flags = O_RDONLY;
          return static_cast<int>(syscall(SYS_openat2, AT_FDCWD, at.weights.c_str(), &how, sizeof(how)));
        }));
  plain("open_by_handle_at", Opening(ByHandle));
  add({.name = "open by int 0x80",
       .group = Group::kFile,
       .events = {"file.open"},
       .exposure = "compat32",
       .unavailable = Compat32Lacks,
       .act = Open32,
       .truth = opens});
  add({.name = "io_uring open",
       .group = Group::kFile,
       .events = {"file.open"},
       .exposure = "io_uring",
       .unavailable = [] { return UringLacks({IORING_OP_OPENAT}); },
       .act = UringOpens,
       .truth = opens});
  plain("O_PATH open", Opening([](Stage& at) { return MustOpen(at.weights, O_PATH); }), "o_path");
  // The descriptor is the test's, from before the probe: only what the workload makes of it counts.
  add({.name = "reopen of an O_PATH descriptor",
       .group = Group::kFile,
       .events = {"file.open"},
       .exposure = "",
       .setup = [](Stage& stage) { ASSERT_GE(stage.fd = open(stage.weights.c_str(), O_PATH | O_CLOEXEC), 0); },
       .act = Opening([](Stage& at) { return MustOpen("/proc/self/fd/" + std::to_string(at.fd), O_RDONLY); }),
       .cleanup = [](Stage& stage) { close(stage.fd); },
       .truth = opens});
  plain("hard link", [](Stage& stage) {
    MOAT_CHILD_CHECK(link(stage.weights.c_str(), stage.Path("hardlink").c_str()) == 0);
    Opening([](Stage& at) { return MustOpen(at.Path("hardlink"), O_RDONLY); })(stage);
  });
  plain("renamed, then opened", [](Stage& stage) {
    MOAT_CHILD_CHECK(rename(stage.weights.c_str(), stage.Path("innocent").c_str()) == 0);
    stage.weights = stage.Path("innocent");
    Opening([](Stage& at) { return MustOpen(at.weights, O_RDONLY); })(stage);
  });
}

}  // namespace moat::test
