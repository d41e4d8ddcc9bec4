// SPDX-License-Identifier: Apache-2.0
// /proc as we find it: of ourselves, of a child, and of a made-up tree with hostile contents.
#include "agent/enrich/proc_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/base/clock.h"

namespace moat::enrich {
namespace {

using testing::ElementsAre;

uint64_t StartOf(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string word;
  for (int field = 3; field <= 22; ++field) {
    rest >> word;
  }
  return std::stoull(word) * 10'000'000;
}

TEST(ProcReader, Ourselves) {
  event::ProcessKey key{static_cast<uint32_t>(getpid()), StartOf(getpid())};
  auto process = ReadProcess("/proc", key);
  ASSERT_TRUE(process);
  EXPECT_EQ(process->key, key);
  EXPECT_EQ(process->parent.pid, static_cast<uint32_t>(getppid()));
  EXPECT_EQ(process->uid, getuid());
  EXPECT_EQ(process->euid, geteuid());
  EXPECT_EQ(process->gid, getgid());
  EXPECT_EQ(process->exe, std::filesystem::read_symlink("/proc/self/exe"));
  EXPECT_FALSE(process->args.empty());
  EXPECT_TRUE(process->from_scan);
  EXPECT_EQ(process->exec_flags, 0u);
  struct stat st{};
  ASSERT_EQ(stat("/proc/self/exe", &st), 0);
  EXPECT_EQ(process->exe_inode, st.st_ino);
}

TEST(ProcReader, AnotherStartTimeIsAnotherProcess) {
  auto pid = static_cast<uint32_t>(getpid());
  uint64_t start = StartOf(getpid());
  EXPECT_TRUE(ReadProcess("/proc", {pid, start + 9'999'999}));   // the same tick
  EXPECT_TRUE(ReadProcess("/proc", {pid, start + 10'000'000}));  // one of tolerance
  EXPECT_FALSE(ReadProcess("/proc", {pid, start + 20'000'000}));
  EXPECT_FALSE(ReadProcess("/proc", {pid, start - 20'000'000}));
  EXPECT_FALSE(ReadProcess("/proc", {pid, 0}));
  EXPECT_FALSE(ReadProcess("/proc", {0xffffffff, start}));
}

// A process from a memfd: a program without a name.
TEST(ProcReader, MemfdAndArguments) {
  int fd = memfd_create("moat test", 0);
  ASSERT_GE(fd, 0);
  std::ifstream sleep("/bin/sleep", std::ios::binary);
  std::string program((std::istreambuf_iterator<char>(sleep)), {});
  ASSERT_EQ(write(fd, program.data(), program.size()), static_cast<ssize_t>(program.size()));
  pid_t child = fork();
  if (child == 0) {
    const char* argv[] = {"", "30", "20", nullptr};
    fexecve(fd, const_cast<char**>(argv), environ);
    _exit(127);
  }
  close(fd);
  event::ProcessKey key{static_cast<uint32_t>(child), StartOf(child)};
  std::optional<event::Process> process;
  // The kernel changes the executable first and the arguments a little later.
  for (int i = 0; i < 10'000 && (!process || !process->exe.starts_with("/memfd:") || process->args.empty()); ++i) {
    usleep(1000);
    process = ReadProcess("/proc", key);
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  ASSERT_TRUE(process);
  EXPECT_EQ(process->exe, "/memfd:moat test (deleted)");
  EXPECT_EQ(process->exec_flags, event::kExecMemfd | event::kExecDeleted);
  EXPECT_THAT(process->args, ElementsAre("", "30", "20"));
  EXPECT_FALSE(ReadProcess("/proc", key)) << "gone";
}

class FakeProc : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/moat-proc-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    std::filesystem::create_directory(root_ / "7");
    Write("stat", "7 (a) S 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 500 0\n");
    Write("status", "Name:\ta\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000400\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void Write(const char* name, std::string_view text) { std::ofstream(root_ / "7" / name, std::ios::binary) << text; }
  std::optional<event::Process> Read() { return ReadProcess(root_, {7, 5'000'000'000}); }
  std::filesystem::path root_;
};

TEST_F(FakeProc, Fields) {
  auto process = Read();
  ASSERT_TRUE(process);
  EXPECT_EQ(process->parent, (event::ProcessKey{5, 0}));
  EXPECT_EQ(process->uid, 1u);
  EXPECT_EQ(process->euid, 2u);
  EXPECT_EQ(process->gid, 5u);
  EXPECT_EQ(process->cap_permitted, 0x1ffffffffffu);
  EXPECT_EQ(process->cap_effective, 0x400u);
  EXPECT_EQ(process->exec_flags, event::kExecSetuid);
  EXPECT_EQ(process->exe, "");
  EXPECT_TRUE(process->args.empty());
}

TEST_F(FakeProc, NamesCannotForgeFields) {
  Write("stat", "7 (x) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1) S 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 500 0\n");
  Write("status", "Name:\tUid:\t0\nUid:\t1\t1\t1\t1\n");
  auto process = Read();
  ASSERT_TRUE(process);
  EXPECT_EQ(process->parent.pid, 5u);
  EXPECT_EQ(process->uid, 1u);
}

TEST_F(FakeProc, LongArgumentsAreCutAndFlagged) {
  Write("cmdline", std::string(1000, 'a') + '\0' + std::string(1000, 'b') + '\0');
  auto process = Read();
  ASSERT_TRUE(process);
  EXPECT_THAT(process->args, ElementsAre(std::string(1000, 'a'), std::string(23, 'b')));
  EXPECT_TRUE(process->exec_flags & event::kExecArgvTruncated);
  Write("cmdline", std::string(1023, 'a') + '\0');
  process = Read();
  EXPECT_THAT(process->args, ElementsAre(std::string(1023, 'a')));
  EXPECT_FALSE(process->exec_flags & event::kExecArgvTruncated);
}

TEST_F(FakeProc, AFileThatIsCalledDeletedIsNot) {
  std::ofstream(root_ / "tool (deleted)") << "x";
  std::filesystem::create_symlink(root_ / "tool (deleted)", root_ / "7" / "exe");
  auto process = Read();
  ASSERT_TRUE(process);
  EXPECT_EQ(process->exe, (root_ / "tool (deleted)").string());
  EXPECT_FALSE(process->exec_flags & event::kExecDeleted);
}

TEST_F(FakeProc, BrokenStatIsNoProcess) {
  for (const char* text : {"", "7", "7 (a", "7 (a)", "7 (a) S", "7 (a) S 5", "7 (a) S x 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 500 0",
                           "7 (a) S 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 99999999999999999999999 0"}) {
    Write("stat", text);
    EXPECT_FALSE(Read()) << text;
  }
}

}  // namespace
}  // namespace moat::enrich
