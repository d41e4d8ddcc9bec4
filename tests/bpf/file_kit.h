// SPDX-License-Identifier: Apache-2.0
// A model directory that is an asset, and a file beside it that is not: what the file and label tests have in common.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "tests/bpf/workload.h"

namespace moat::test {

constexpr size_t kModelBytes = 1'000'003;  // no multiple of a page
constexpr int kTimes = 23;
constexpr size_t kChunk = 1000;

class AssetBpfTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    ASSERT_EQ(mkdir(Path("model").c_str(), 0755), 0);
    WriteFile(weights(), std::string(kModelBytes, 'w'));
    WriteFile(other(), std::string(kModelBytes, 'o'));
    WriteFile(second(), std::string(kModelBytes, 's'));
    config().gpu = config().net = false;  // not in play here, and a shorter start
    config().assets = {{.name = "model", .paths = {Path("model")}}, {.name = "second", .paths = {second()}}};
  }
  void TearDown() override { BpfTest::TearDown(); }

  std::string Path(const std::string& name) const { return dir_.File(name); }
  std::string weights() const { return Path("model/weights"); }  // asset 0, through its directory
  std::string second() const { return Path("second.bin"); }      // asset 1, by itself
  std::string other() const { return Path("other"); }            // no asset

  // The final sums of a process for an asset; fails the test unless there is exactly one such record.
  moat_io_val FinalSums(pid_t pid, uint32_t asset = 0) {
    std::vector<moat_io_val> found;
    for (const auto& io : Of<moat_file_io>(MOAT_KIND_FILE_IO, pid)) {
      if (io.asset == asset && io.last == 1) {
        found.push_back(io.sum);
      }
    }
    EXPECT_EQ(found.size(), 1u) << "final sums of asset " << asset << "; all: " << Summary();
    return found.empty() ? moat_io_val{} : found.front();
  }
  std::vector<moat_file_tamper> Tampering(pid_t pid, moat_tamper_op op) {
    std::vector<moat_file_tamper> found;
    for (const auto& tamper : Of<moat_file_tamper>(MOAT_KIND_FILE_TAMPER, pid)) {
      if (tamper.op == op) {
        found.push_back(tamper);
      }
    }
    return found;
  }
  size_t FileRecords() const {
    return Count(MOAT_KIND_FILE_OPEN) + Count(MOAT_KIND_FILE_MAP) + Count(MOAT_KIND_FILE_TAMPER) + Count(MOAT_KIND_FILE_IO);
  }

 private:
  TempDir dir_;
};

// Inside a workload: a descriptor, or the end of the workload.
inline int MustOpen(const std::string& path, int flags, mode_t mode = 0) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC, mode);
  MOAT_CHILD_CHECK(fd >= 0);
  return fd;
}

}  // namespace moat::test
