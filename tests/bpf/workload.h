// SPDX-License-Identifier: Apache-2.0
// What several workloads need: a directory of their own, files in it, a child inside the workload.
#pragma once

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/bpf/fixture.h"

namespace moat::test {

// Removed with everything in it. On the file system of /var/tmp: a real one, where /tmp is often a tmpfs.
class TempDir {
 public:
  TempDir() {
    char name[] = "/var/tmp/moat-bpf-XXXXXX";
    path_ = mkdtemp(name) != nullptr ? name : "/nonexistent";
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void WriteFile(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// mode: with the set-user-ID bit too, which copying by itself would not keep.
inline void CopyFile(const std::string& from, const std::string& to, mode_t mode) {
  WriteFile(to, ReadFile(from));
  EXPECT_EQ(chmod(to.c_str(), mode), 0) << to << ": " << std::strerror(errno);
}

// A device number as the kernel keeps it in s_dev.
inline uint32_t KernelDev(dev_t dev) { return static_cast<uint32_t>(major(dev) << 20 | minor(dev)); }

// Inside a workload: forks a child that runs body, waits for it, returns its wait status.
template <typename Body>
int InChild(Body body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  int status = -1;
  MOAT_CHILD_CHECK(child > 0 && waitpid(child, &status, 0) == child);
  return status;
}

}  // namespace moat::test
