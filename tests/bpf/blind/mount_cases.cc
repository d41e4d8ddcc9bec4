// SPDX-License-Identifier: Apache-2.0
// The same file through other mounts and file systems. Mounts are made in a mount namespace that goes with its last process: in
// the workload's own, or, where the probe must resolve the asset through the mount, in one that setup enters and cleanup leaves.
#include <fcntl.h>

#include "tests/bpf/blind/case.h"
#include "tests/bpf/blind/mounts.h"

namespace moat::test {
namespace {

// 23 opens of a file whose first bytes must be the asset's; with read: each reads a chunk too.
void OpenEach(const std::string& path, bool read_too) {
  char buffer[kChunk];
  for (int i = 0; i < kTimes; ++i) {
    const int fd = MustOpen(path, O_RDONLY);
    MOAT_CHILD_CHECK(!read_too || (read(fd, buffer, kChunk) == ssize_t{kChunk} && buffer[0] == 'w' && buffer[kChunk - 1] == 'w'));
    close(fd);
  }
}

void BindMount(Stage& stage) {
  MOAT_CHILD_CHECK(mkdir(stage.Path("mounted").c_str(), 0755) == 0 && OwnMounts());
  MOAT_CHILD_CHECK(mount(stage.asset.c_str(), stage.Path("mounted").c_str(), nullptr, MS_BIND, nullptr) == 0);
  OpenEach(stage.Path("mounted/weights"), false);
}

// Through the root of a process that has mounted the asset where this one has an empty directory.
void OtherNamespace(Stage& stage) {
  const std::string at = stage.Path("mounted");
  MOAT_CHILD_CHECK(mkdir(at.c_str(), 0755) == 0);
  const Signal mounted, opened;
  const pid_t child = fork();
  if (child == 0) {
    MOAT_CHILD_CHECK(OwnMounts() && mount(stage.asset.c_str(), at.c_str(), nullptr, MS_BIND, nullptr) == 0);
    mounted.Give();
    opened.Take();
    _exit(0);
  }
  mounted.Take();
  MOAT_CHILD_CHECK(access((at + "/weights").c_str(), F_OK) != 0);
  OpenEach("/proc/" + std::to_string(child) + "/root" + at + "/weights", false);
  opened.Give();
  int status = -1;
  MOAT_CHILD_CHECK(waitpid(child, &status, 0) == child && status == 0);
}

// An overlay at `merged` with the asset's directory below it.
bool MountOverlay(const Stage& stage) {
  for (const char* name : {"upper", "scratch", "merged"}) {
    if (mkdir(stage.Path(name).c_str(), 0755) != 0) {
      return false;
    }
  }
  const std::string options =
      "lowerdir=" + stage.asset + ",upperdir=" + stage.Path("upper") + ",workdir=" + stage.Path("scratch");
  return mount("overlay", stage.Path("merged").c_str(), "overlay", 0, options.c_str()) == 0;
}

std::string OverlayLacks() {
  const pid_t child = fork();
  if (child == 0) {
    Stage stage;
    const TempDir dir;
    stage.dir = dir.path();
    stage.asset = stage.Path("lower");
    const bool good = OwnMounts() && mkdir(stage.asset.c_str(), 0755) == 0 && MountOverlay(stage);
    const int why = good ? 0 : errno;
    umount2(stage.Path("merged").c_str(), MNT_DETACH);
    std::error_code ignored;
    std::filesystem::remove_all(stage.dir, ignored);
    _exit(why);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? "" : std::string("no overlay over /var/tmp: ") + std::strerror(WEXITSTATUS(status));
}

auto Overlaid(bool read_too) {
  return [read_too](Stage& stage) {
    MOAT_CHILD_CHECK(OwnMounts() && MountOverlay(stage));
    OpenEach(stage.Path("merged/weights"), read_too);
  };
}

// Opening it for writing makes the overlay copy the asset into its upper layer: from there on it is another inode's bytes.
void CopyUp(Stage& stage) {
  MOAT_CHILD_CHECK(OwnMounts() && MountOverlay(stage));
  const int fd = MustOpen(stage.Path("merged/weights"), O_RDWR);
  struct stat lower{}, upper{};
  MOAT_CHILD_CHECK(stat(stage.weights.c_str(), &lower) == 0 && stat(stage.Path("upper/weights").c_str(), &upper) == 0);
  MOAT_CHILD_CHECK(lower.st_ino != upper.st_ino && upper.st_size == ssize_t{kModelBytes});
  close(fd);
  const int copy = MustOpen(stage.Path("merged/weights"), O_RDONLY);
  char buffer[kChunk];
  for (int i = 0; i < kTimes; ++i) {
    MOAT_CHILD_CHECK(read(copy, buffer, kChunk) == ssize_t{kChunk} && buffer[0] == 'w' && buffer[kChunk - 1] == 'w');
  }
}

// The asset is a file of the overlay itself, in its upper layer, and named by its path in the overlay.
void SetUpper(Stage& stage) {
  ASSERT_NO_FATAL_FAILURE(Enter(stage));
  ASSERT_TRUE(MountOverlay(stage)) << std::strerror(errno);
  stage.asset = stage.weights = stage.Path("merged/own");
  WriteFile(stage.asset, std::string(kModelBytes, 'w'));
}

}  // namespace

void AddMountCases(std::vector<BlindSpot>& cases) {
  const Truth opens = {.opens = kTimes}, reads = {.bytes_read = kTimes * kChunk, .labelled = 1};
  const auto add = [&](const char* name, std::vector<const char*> events, const char* exposure, std::function<void(Stage&)> act,
                       Truth truth, std::function<std::string()> unavailable = {}) {
    cases.push_back({.name = name,
                     .group = Group::kFile,
                     .events = std::move(events),
                     .exposure = exposure,
                     .unavailable = std::move(unavailable),
                     .act = std::move(act),
                     .truth = truth});
  };
  add("bind mount", {"file.open"}, "", BindMount, opens);
  add("another mount namespace", {"file.open"}, "mount_ns", OtherNamespace, opens);
  add("open through an overlay", {"file.open"}, "overlay", Overlaid(false), opens, OverlayLacks);
  add("read through an overlay", {"file.read"}, "overlay", Overlaid(true), reads, OverlayLacks);
  add("read of an overlay's copy", {"file.read"}, "overlay.copy", CopyUp, {.labelled = 1}, OverlayLacks);
  cases.push_back({.name = "open of an overlay's own file",
                   .group = Group::kFile,
                   .events = {"file.open"},
                   .exposure = "",
                   .unavailable = OverlayLacks,
                   .setup = SetUpper,
                   .act = [](Stage& stage) { OpenEach(stage.weights, false); },
                   .cleanup = Leave,
                   .truth = opens});
  cases.push_back({.name = "read of an overlay's own file",
                   .group = Group::kFile,
                   .events = {"file.read"},
                   .exposure = "other_reads",
                   .unavailable = OverlayLacks,
                   .setup = SetUpper,
                   .act = [](Stage& stage) { OpenEach(stage.weights, true); },
                   .cleanup = Leave,
                   .truth = reads});
}

}  // namespace moat::test
