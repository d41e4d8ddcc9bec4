// SPDX-License-Identifier: Apache-2.0
// Mounts that go with the mount namespace they are made in, and file systems in an image of one's own.
#pragma once

#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <cstdlib>

#include "agent/base/fd.h"
#include "tests/bpf/blind/case.h"

namespace moat::test {

inline bool OwnMounts() { return unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0; }

// The test's own thread moves into a mount namespace, and back.
inline void Enter(Stage& stage) {
  ASSERT_GE(stage.old_namespace = open("/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC), 0);
  ASSERT_TRUE(OwnMounts()) << std::strerror(errno);
}
inline void Leave(Stage& stage) {
  if (stage.old_namespace >= 0) {
    EXPECT_EQ(setns(stage.old_namespace, CLONE_NEWNS), 0) << std::strerror(errno);
    close(stage.old_namespace);
  }
}

// Mounts an image by a loop device, which lets go of it at the last close: the unmount.
inline bool MountImage(const std::string& image, const std::string& at, const char* kind) {
  const Fd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC)), backing(open(image.c_str(), O_RDWR | O_CLOEXEC));
  const int number = control ? ioctl(control.get(), LOOP_CTL_GET_FREE) : -1;
  const std::string device = "/dev/loop" + std::to_string(number);
  const Fd loop(number < 0 ? -1 : open(device.c_str(), O_RDWR | O_CLOEXEC));
  loop_info64 info{};
  info.lo_flags = LO_FLAGS_AUTOCLEAR;
  return loop && ioctl(loop.get(), LOOP_SET_FD, backing.get()) == 0 && ioctl(loop.get(), LOOP_SET_STATUS64, &info) == 0 &&
         mount(device.c_str(), at.c_str(), kind, 0, nullptr) == 0;
}

// A new file system by the first of the makers (kind, command) that this machine has, mounted where it says; "": stage.cannot says why
// not. The test is in a mount namespace of its own then.
inline std::string MountNew(Stage& stage, const std::vector<std::pair<const char*, std::string>>& makers) {
  const std::string image = stage.Path("image"), at = stage.Path("mounted");
  std::ofstream(image).close();
  for (const auto& [kind, make] : makers) {
    if (truncate(image.c_str(), 400ll << 20) != 0 || std::system((make + image + " >/dev/null 2>&1").c_str()) != 0) {
      stage.cannot += (stage.cannot.empty() ? "no " : ", no ") + make.substr(0, make.find(' '));
      continue;
    }
    Enter(stage);
    if (mkdir(at.c_str(), 0755) != 0 || !MountImage(image, at, kind)) {
      stage.cannot = std::string("mounting an image of ") + kind + ": " + std::strerror(errno);
      return "";
    }
    stage.cannot.clear();
    return at;
  }
  return "";
}

// The asset lies in another file system.
inline void MoveAsset(Stage& stage, const std::string& at) {
  stage.asset = at + "/model";
  stage.weights = at + "/model/weights";
  stage.other = at + "/other";
  ASSERT_EQ(mkdir(stage.asset.c_str(), 0755), 0) << std::strerror(errno);
  WriteFile(stage.weights, std::string(kModelBytes, 'w'));
}

}  // namespace moat::test
