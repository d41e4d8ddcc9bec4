// SPDX-License-Identifier: Apache-2.0
// The kernel's own matching, with map entries that user space would not write: an inode number that is in use again, a table that is
// full, a directory entry without its gate. The file object alone, its open hook attached to openat.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "agent/base/fd.h"
#include "agent/probe/features.h"
#include "agent/probe/syscall_table.h"
#include "bpf/abi/label.h"
#include "bpf/abi/stats.h"
#include "file.skel.h"
#include "syscall.skel.h"
#include "tests/bpf/file_kit.h"

namespace moat::test {
namespace {

class InodeBpfTest : public BpfTest {
 protected:
  void SetUp() override {
    EndShared();
    BpfTest::SetUp();
    if (IsSkipped()) {
      return;
    }
    const auto features = probe::Features::Ask();
    ASSERT_TRUE(features) << features.error().message;
    if (!features->cast.yes) {
      GTEST_SKIP() << "needs bpf_rdonly_cast (kernel 6.2): the program is taken from the image for such kernels";
    }
    WriteFile(file(), "weights");
    skel_ = file_bpf__open();
    ASSERT_NE(skel_, nullptr);
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skel_->obj) {
      bpf_program__set_autoload(program, program == skel_->progs.moat_file_open);
    }
    bpf_map__set_max_entries(skel_->maps.moat_inodes, 4);
    ASSERT_EQ(file_bpf__load(skel_), 0);
    const Fd cgroup(open(cgroup_directory().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const uint32_t zero = 0, fd = static_cast<uint32_t>(cgroup.get());
    ASSERT_EQ(bpf_map_update_elem(bpf_map__fd(skel_->maps.moat_scope), &zero, &fd, BPF_ANY), 0);
    void* page =
        mmap(nullptr, sizeof(moat_control), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(skel_->maps.data_control), 0);
    ASSERT_NE(page, MAP_FAILED);
    control_ = static_cast<moat_control*>(page);
    control_->have_assets = 1;

    switch_ = syscall_bpf__open();
    ASSERT_NE(switch_, nullptr);
    ASSERT_EQ(bpf_map__reuse_fd(switch_->maps.moat_syscalls, bpf_map__fd(skel_->maps.moat_syscalls)), 0);
    ASSERT_EQ(syscall_bpf__load(switch_), 0);
    probe::SyscallTable calls(bpf_map__fd(skel_->maps.moat_syscalls));
    const auto slot = calls.Add(*probe::SyscallNumber("openat"), bpf_program__fd(skel_->progs.moat_file_open), true);
    ASSERT_TRUE(slot) << slot.error().message;
    ASSERT_EQ(syscall_bpf__attach(switch_), 0);
  }
  void TearDown() override {
    syscall_bpf__destroy(switch_);
    if (control_ != nullptr) {
      munmap(control_, sizeof(*control_));
    }
    file_bpf__destroy(skel_);
    BpfTest::TearDown();
  }

  std::string file() const { return dir_.File("file"); }
  static moat_inode_key KeyOf(const std::string& path) {
    struct stat st{};
    EXPECT_EQ(stat(path.c_str(), &st), 0) << path;
    return {.inode = st.st_ino, .dev = KernelDev(st.st_dev), .pad = 0};
  }
  // What the file system says; fails the test where it keeps none.
  uint32_t GenerationOf(const std::string& path) {
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    int generation = 0;
    EXPECT_EQ(ioctl(fd.get(), FS_IOC_GETVERSION, &generation), 0) << std::strerror(errno);
    return static_cast<uint32_t>(generation);
  }
  void Put(const std::string& path, const moat_inode_val& value, bool filter = true) {
    const moat_inode_key key = KeyOf(path);
    ASSERT_EQ(bpf_map_update_elem(inodes(), &key, &value, BPF_ANY), 0) << std::strerror(errno);
    if (filter) {
      control_->filter[moat_filter_slot(key.inode)] = 1;
    }
  }
  bool Get(const std::string& path, moat_inode_val& value) {
    const moat_inode_key key = KeyOf(path);
    return bpf_map_lookup_elem(inodes(), &key, &value) == 0;
  }
  // How many opens of a path by a workload inside were reported.
  uint64_t OpensSeen(const std::string& path, int times) {
    const uint64_t before = Attempted();
    RunInside([&] {
      for (int i = 0; i < times; ++i) {
        close(MustOpen(path, O_RDONLY));
      }
    });
    return Attempted() - before;
  }
  uint64_t Attempted() {
    const uint32_t kind = MOAT_KIND_FILE_OPEN;
    return Sum(bpf_map__fd(skel_->maps.moat_stats), kind, sizeof(moat_stat));
  }
  uint64_t TableFull() {
    const uint32_t table = MOAT_TABLE_INODES;
    return Sum(bpf_map__fd(skel_->maps.moat_table_full), table, sizeof(uint64_t));
  }
  int inodes() const { return bpf_map__fd(skel_->maps.moat_inodes); }

  moat_control* control_ = nullptr;

  const TempDir dir_;

 private:
  // The first field of a per-CPU element, over all CPUs.
  static uint64_t Sum(int map, uint32_t key, size_t size) {
    std::vector<char> values(size * static_cast<size_t>(libbpf_num_possible_cpus()));
    EXPECT_EQ(bpf_map_lookup_elem(map, &key, values.data()), 0);
    uint64_t sum = 0;
    for (size_t at = 0; at < values.size(); at += size) {
      uint64_t first = 0;
      std::memcpy(&first, &values[at], sizeof(first));
      sum += first;
    }
    return sum;
  }

  file_bpf* skel_ = nullptr;
  syscall_bpf* switch_ = nullptr;
};

TEST_F(InodeBpfTest, AnInodeNumberInUseAgainIsNotTheAsset) {
  const uint32_t generation = GenerationOf(file());
  Put(file(), {.asset = 7, .flags = 0, .generation = generation + 1, .generation_known = 1});
  EXPECT_EQ(OpensSeen(file(), kTimes), 0u);
  Put(file(), {.asset = 7, .flags = 0, .generation = generation, .generation_known = 1});
  EXPECT_EQ(OpensSeen(file(), kTimes), uint64_t{kTimes});
}

TEST_F(InodeBpfTest, TheGenerationIsNotedAtFirstSight) {
  Put(file(), {.asset = 7, .flags = 0, .generation = 0, .generation_known = 0});
  EXPECT_EQ(OpensSeen(file(), 1), 1u);
  moat_inode_val value{};
  ASSERT_TRUE(Get(file(), value));
  EXPECT_EQ(value.generation_known, 1u);
  EXPECT_EQ(value.generation, GenerationOf(file()));
  EXPECT_EQ(value.asset, 7u);
}

TEST_F(InodeBpfTest, AFileBelowADirectoryIsLearntOnceTheGateIsOpen) {
  std::string below = dir_.path();
  for (int depth = 0; depth < 20; ++depth) {  // deeper than the steps that are in line
    below += "/d";
    ASSERT_EQ(mkdir(below.c_str(), 0755), 0);
  }
  below += "/below";
  WriteFile(below, "x");
  Put(dir_.path(), {.asset = 7, .flags = MOAT_INODE_DIR, .generation = 0, .generation_known = 0});
  moat_inode_val value{};
  EXPECT_EQ(OpensSeen(below, 1), 0u) << "no directories are announced";
  control_->have_dirs = 1;
  control_->dir_devs[0] = KeyOf(below).dev + 2ull;
  EXPECT_EQ(OpensSeen(below, 1), 0u) << "none on this file system";
  EXPECT_FALSE(Get(below, value));
  control_->dir_devs[1] = KeyOf(below).dev + 1ull;
  EXPECT_EQ(OpensSeen(below, kTimes), uint64_t{kTimes});
  ASSERT_TRUE(Get(below, value));
  EXPECT_EQ(value.asset, 7u);
  EXPECT_EQ(value.flags, MOAT_INODE_LEARNT);
  EXPECT_EQ(value.generation, GenerationOf(below));
  EXPECT_NE(control_->filter[moat_filter_slot(KeyOf(below).inode)], 0);
  control_->have_dirs = 0;  // from here on it is found without the walk
  EXPECT_EQ(OpensSeen(below, kTimes), uint64_t{kTimes});
}

TEST_F(InodeBpfTest, AFullTableIsCountedAndTheOpenIsStillSeen) {
  Put(dir_.path(), {.asset = 7, .flags = MOAT_INODE_DIR, .generation = 0, .generation_known = 0});
  control_->have_dirs = 1;
  control_->dir_devs_full = 1;
  std::fill(std::begin(control_->dir_devs), std::end(control_->dir_devs), 1ull);
  for (int i = 0; i < 3; ++i) {  // four entries fit
    EXPECT_EQ(OpensSeen(file() + (WriteFile(file() + std::to_string(i), "x"), std::to_string(i)), 1), 1u);
  }
  EXPECT_EQ(TableFull(), 0u);
  EXPECT_EQ(OpensSeen(file(), 1), 1u);
  EXPECT_EQ(TableFull(), 1u);
}

TEST_F(InodeBpfTest, WithoutItsFilterBitOrWithoutAssetsAnEntryIsNotLookedAt) {
  Put(file(), {.asset = 7, .flags = 0, .generation = 0, .generation_known = 0}, /*filter=*/false);
  EXPECT_EQ(OpensSeen(file(), 1), 0u);
  Put(file(), {.asset = 7, .flags = 0, .generation = 0, .generation_known = 0});
  control_->have_assets = 0;
  EXPECT_EQ(OpensSeen(file(), 1), 0u);
  control_->have_assets = 1;
  EXPECT_EQ(OpensSeen(file(), 1), 1u);
}

TEST_F(InodeBpfTest, TheAgentsOwnOpensAreNotReported) {
  Put(file(), {.asset = 7, .flags = 0, .generation = 0, .generation_known = 0});
  const uint64_t before = Attempted();
  RunInside([&] {
    control_->agent_pid = static_cast<uint32_t>(getpid());
    close(MustOpen(file(), O_RDONLY));
    control_->agent_pid = 0;
    close(MustOpen(file(), O_RDONLY));
  });
  EXPECT_EQ(Attempted() - before, 1u);
}

}  // namespace
}  // namespace moat::test
