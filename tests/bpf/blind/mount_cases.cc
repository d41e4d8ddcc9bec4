// SPDX-License-Identifier: Apache-2.0
// The same file through other mounts and file systems. Mounts are made in a mount namespace that goes with its last process: in
// the workload's own, or, where the probe must resolve the asset through the mount, in one that setup enters and cleanup leaves.
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <cstdlib>

#include "agent/base/fd.h"
#include "tests/bpf/blind/case.h"

namespace moat::test {
namespace {

bool OwnMounts() { return unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0; }

// The test's own thread moves into a mount namespace, and back.
void Enter(Stage& stage) {
  ASSERT_GE(stage.old_namespace = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC), 0);
  ASSERT_TRUE(OwnMounts()) << std::strerror(errno);
}
void Leave(Stage& stage) {
  if (stage.old_namespace >= 0) {
    EXPECT_EQ(setns(stage.old_namespace, CLONE_NEWNS), 0) << std::strerror(errno);
    close(stage.old_namespace);
  }
}

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

// Can two files of this file system share their extents?
bool Clones(const std::string& dir) {
  WriteFile(dir + "/clone-from", std::string(8192, 'c'));
  const Fd from(open((dir + "/clone-from").c_str(), O_RDONLY)), to(open((dir + "/clone-to").c_str(), O_RDWR | O_CREAT, 0600));
  const bool can = from && to && ioctl(to.get(), FICLONE, from.get()) == 0;
  unlink((dir + "/clone-from").c_str());
  unlink((dir + "/clone-to").c_str());
  return can;
}

// Mounts an image by a loop device, which lets go of it at the last close: the unmount.
bool MountImage(const std::string& image, const std::string& at, const char* kind) {
  const Fd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC)), backing(open(image.c_str(), O_RDWR | O_CLOEXEC));
  const int number = control ? ioctl(control.get(), LOOP_CTL_GET_FREE) : -1;
  const std::string device = "/dev/loop" + std::to_string(number);
  const Fd loop(number < 0 ? -1 : open(device.c_str(), O_RDWR | O_CLOEXEC));
  loop_info64 info{};
  info.lo_flags = LO_FLAGS_AUTOCLEAR;
  return loop && ioctl(loop.get(), LOOP_SET_FD, backing.get()) == 0 && ioctl(loop.get(), LOOP_SET_STATUS64, &info) == 0 &&
         mount(device.c_str(), at.c_str(), kind, 0, nullptr) == 0;
}

void SetClone(Stage& stage) {
  std::string at = stage.dir;
  if (!Clones(at)) {
    const std::string image = stage.Path("image");
    const char* kind = nullptr;
    std::ofstream(image).close();
    for (const auto& [name, make] : {std::pair{"btrfs", "mkfs.btrfs -q -f "}, {"xfs", "mkfs.xfs -q -f -m reflink=1 "}}) {
      const std::string command = make + image + " >/dev/null 2>&1";
      if (kind == nullptr && truncate(image.c_str(), 400ll << 20) == 0 && std::system(command.c_str()) == 0) {
        kind = name;
      }
    }
    if (kind == nullptr) {
      stage.cannot = "the file system of /var/tmp cannot clone, and neither mkfs.btrfs nor mkfs.xfs can make one that does";
      return;
    }
    ASSERT_NO_FATAL_FAILURE(Enter(stage));
    at = stage.Path("cloning");
    ASSERT_EQ(mkdir(at.c_str(), 0755), 0);
    if (!MountImage(image, at, kind)) {
      stage.cannot = std::string("mounting an image of ") + kind + ": " + std::strerror(errno);
      return;
    }
    ASSERT_TRUE(Clones(at));
  }
  stage.asset = at + "/clonable";
  ASSERT_EQ(mkdir(stage.asset.c_str(), 0755), 0);
  stage.weights = stage.asset + "/weights";
  stage.other = at + "/taken";
  WriteFile(stage.weights, std::string(kModelBytes, 'w'));
}

void Clone(Stage& stage) {
  const int from = MustOpen(stage.weights, O_RDONLY), to = MustOpen(stage.other, O_RDWR | O_CREAT, 0600);
  for (int i = 0; i < kTimes; ++i) {
    MOAT_CHILD_CHECK(ftruncate(to, 0) == 0 && ioctl(to, FICLONE, from) == 0);
  }
  struct stat st{};
  char last = 0;
  MOAT_CHILD_CHECK(fstat(to, &st) == 0 && st.st_size == ssize_t{kModelBytes});
  MOAT_CHILD_CHECK(pread(to, &last, 1, kModelBytes - 1) == 1 && last == 'w');
}

}  // namespace

void AddMountCases(std::vector<BlindSpot>& cases) {
  const Truth opens = {.opens = kTimes}, reads = {.bytes_read = kTimes * kChunk, .labelled = 1};
  const auto add = [&](const char* name, const char* event, const char* exposure, std::function<void(Stage&)> act, Truth truth,
                       std::function<std::string()> unavailable = {}) {
    cases.push_back({.name = name,
                     .group = Group::kFile,
                     .event = event,
                     .exposure = exposure,
                     .unavailable = std::move(unavailable),
                     .act = std::move(act),
                     .truth = truth});
  };
  add("bind mount", "file.open", "", BindMount, opens);
  add("another mount namespace", "file.open", "mount_ns", OtherNamespace, opens);
  add("open through an overlay", "file.open", "overlay", Overlaid(false), opens, OverlayLacks);
  add("read through an overlay", "file.read", "overlay", Overlaid(true), reads, OverlayLacks);
  add("read of an overlay's copy", "file.read", "overlay.copy", CopyUp, {.labelled = 1}, OverlayLacks);
  cases.push_back({.name = "open of an overlay's own file",
                   .group = Group::kFile,
                   .event = "file.open",
                   .exposure = "",
                   .unavailable = OverlayLacks,
                   .setup = SetUpper,
                   .act = [](Stage& stage) { OpenEach(stage.weights, false); },
                   .cleanup = Leave,
                   .truth = opens});
  cases.push_back({.name = "read of an overlay's own file",
                   .group = Group::kFile,
                   .event = "file.read",
                   .exposure = "",
                   .unavailable = OverlayLacks,
                   .setup = SetUpper,
                   .act = [](Stage& stage) { OpenEach(stage.weights, true); },
                   .cleanup = Leave,
                   .truth = reads});
  cases.push_back({.name = "FICLONE",
                   .group = Group::kFile,
                   .event = "file.copy",
                   .exposure = "ficlone",
                   .setup = SetClone,
                   .act = Clone,
                   .cleanup = Leave,
                   .truth = {.bytes_read = kTimes * kModelBytes, .labelled = 1}});
}

}  // namespace moat::test
