// SPDX-License-Identifier: Apache-2.0
// Assets: what a policy allows works, and what it denies does not, by the operation. Every way to read one: blind/denied_bpf_test.cc.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/uio.h>

#include <cerrno>

#include "tests/bpf/enforce_kit.h"

namespace moat::test {
namespace {

// The memory of one that holds the weights, for one that may not read them.
class AssetEnforceBpfTest : public EnforceBpfTest {
 protected:
  void SetUp() override {
    EnforceBpfTest::SetUp();
    WriteFile(dir_.File("weights"), "wwwwwwww");
    config().process = config().file = true;
    config().assets = {{.name = "model", .paths = {dir_.File("weights")}}};
  }
  TempDir dir_;
};

TEST_F(AssetEnforceBpfTest, AHoldersMemoryIsNotForThoseWhoMayNotRead) {
  Start(/*expect_all=*/false);
  if (const std::string why = Exposed("enforce.memory"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const std::string below = cgroup_directory() + "/reader";
  ASSERT_EQ(mkdir(below.c_str(), 0755), 0);
  const std::string asset =
      "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: model}\nspec: {paths: [" + dir_.File("weights") + "]}\n---\n";
  std::string policy = PolicyOf("  assets: [{asset: model, read: allow}]\n");
  Shared<pid_t> reader;
  Shared<char*> where;
  Signal read_it, done;
  // The reader reads before the policy is there, which selects nobody here: it holds the asset, and the other does not.
  const pid_t holder = Spawn([&] {
    char* memory = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    const int fd = open(dir_.File("weights").c_str(), O_RDONLY | O_CLOEXEC);
    MOAT_CHILD_CHECK(fd >= 0 && read(fd, memory, 8) == 8);
    *where = memory;
    *reader = getpid();
    read_it.Give();
    done.Take();
  });
  read_it.Take();
  const auto look = [&](int expected) {
    RunInside([&, expected] {
      char bytes[8] = {};
      const iovec here{bytes, 8}, there{*where, 8};
      const ssize_t got = process_vm_readv(*reader, &here, 1, &there, 1, 0);
      MOAT_CHILD_CHECK(expected == 0 ? got == 8 : got == -1 && errno == expected);
      char program[256];  // what is no memory stays to be seen
      MOAT_CHILD_CHECK(readlink(("/proc/" + std::to_string(*reader) + "/exe").c_str(), program, sizeof(program)) > 0);
    });
  };
  policy.replace(policy.find("CGROUP"), 6, "CGROUP/reader");
  look(0);
  // Whoever has looked holds the asset too: only then the policy, for those that come after.
  Enforce(asset + policy);
  look(EPERM);
  done.Give();
  Finish(holder);
  EXPECT_EQ(rmdir(below.c_str()), 0);
  EXPECT_EQ(Verdicts().size(), 1u);
}

TEST_F(AssetEnforceBpfTest, TheSelectedReadsAndDoesNotWrite) {
  Start(/*expect_all=*/false);
  if (const std::string why = Exposed("enforce.file_open"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const std::string weights = dir_.File("weights"), other = dir_.File("other");
  WriteFile(other, "oooo");
  Enforce("apiVersion: moat/v1\nkind: Asset\nmetadata: {name: model}\nspec: {paths: [" + weights + "]}\n---\n" +
          PolicyOf("  assets: [{asset: model, read: allow, map: allow, write: deny, exec: deny}]\n"));
  const pid_t pid = RunInside([&] {
    char bytes[8] = {};
    const int fd = open(weights.c_str(), O_RDONLY | O_CLOEXEC);
    MOAT_CHILD_CHECK(fd >= 0 && read(fd, bytes, 8) == 8 && bytes[0] == 'w');
    MOAT_CHILD_CHECK(mmap(nullptr, 8, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
    MOAT_CHILD_CHECK(mmap(nullptr, 8, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EPERM);
    const auto refused = [](int result) { return result == -1 && errno == EPERM; };
    MOAT_CHILD_CHECK(refused(open(weights.c_str(), O_WRONLY | O_CLOEXEC)));
    MOAT_CHILD_CHECK(refused(open(weights.c_str(), O_RDONLY | O_TRUNC | O_CLOEXEC)));
    MOAT_CHILD_CHECK(refused(truncate(weights.c_str(), 0)));
    MOAT_CHILD_CHECK(refused(rename(weights.c_str(), (weights + "2").c_str())));
    MOAT_CHILD_CHECK(refused(rename(other.c_str(), weights.c_str())));
    MOAT_CHILD_CHECK(refused(unlink(weights.c_str())));
    MOAT_CHILD_CHECK(refused(link(weights.c_str(), (weights + "2").c_str())));
    MOAT_CHILD_CHECK(refused(chmod(weights.c_str(), 0777)));
    MOAT_CHILD_CHECK(refused(execl(weights.c_str(), "w", nullptr)) || errno == EACCES);  // it is not executable to begin with
    // What is no asset is nobody's business.
    const int writing = open(other.c_str(), O_RDWR | O_TRUNC | O_CLOEXEC);
    MOAT_CHILD_CHECK(writing >= 0 && write(writing, "x", 1) == 1 && chmod(other.c_str(), 0600) == 0);
  });
  EXPECT_EQ(ReadFile(weights), "wwwwwwww");
  size_t allowed = 0, denied = 0;
  for (const moat_verdict& verdict : Verdicts(pid)) {
    EXPECT_EQ(verdict.asset, 0u);
    (verdict.action == MOAT_VERDICT_ALLOW ? allowed : denied)++;
  }
  EXPECT_GE(allowed, 2u);
  EXPECT_GE(denied, 9u);
}

TEST_F(AssetEnforceBpfTest, ADescriptorFromBeforeThePolicyIsOfNoUse) {
  Start(/*expect_all=*/false);
  if (const std::string why = Exposed("enforce.file_use"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  Signal opened, go;
  const pid_t pid = Spawn([&] {
    char byte = 0;
    const int fd = open(dir_.File("weights").c_str(), O_RDWR | O_CLOEXEC);
    MOAT_CHILD_CHECK(fd >= 0 && read(fd, &byte, 1) == 1);
    opened.Give();
    go.Take();
    MOAT_CHILD_CHECK(read(fd, &byte, 1) == -1 && errno == EPERM);
    MOAT_CHILD_CHECK(write(fd, &byte, 1) == -1 && errno == EPERM);
    MOAT_CHILD_CHECK(mmap(nullptr, 8, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EPERM);
  });
  opened.Take();
  std::string policy = PolicyOf("  assets: [{asset: model, read: allow, write: allow, map: allow}]\n");
  policy.replace(policy.find("CGROUP"), 6, "/somebody/else");
  Enforce("apiVersion: moat/v1\nkind: Asset\nmetadata: {name: model}\nspec: {paths: [" + dir_.File("weights") + "]}\n---\n" +
          policy);
  go.Give();
  Finish(pid);
  std::vector<unsigned> told;
  for (const moat_verdict& verdict : Verdicts(pid)) {
    EXPECT_EQ(verdict.action, MOAT_VERDICT_DENY);
    told.push_back(verdict.operation);
  }
  EXPECT_THAT(told, testing::ElementsAre(MOAT_VERDICT_READ, MOAT_VERDICT_WRITE, MOAT_VERDICT_MAP));
}

TEST_F(AssetEnforceBpfTest, DryRunTellsTheOpenAndNotEachRead) {
  Start(/*expect_all=*/false);
  if (const std::string why = Exposed("enforce.file_use"); !why.empty()) {
    GTEST_SKIP() << why;
  }
  std::string policy = PolicyOf("  assets: [{asset: model, read: allow}]\n", "dry-run");
  policy.replace(policy.find("CGROUP"), 6, "/somebody/else");
  Enforce("apiVersion: moat/v1\nkind: Asset\nmetadata: {name: model}\nspec: {paths: [" + dir_.File("weights") + "]}\n---\n" +
          policy);
  const pid_t pid = RunInside([&] {
    char byte = 0;
    const int fd = open(dir_.File("weights").c_str(), O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < 5; ++i) {
      MOAT_CHILD_CHECK(fd >= 0 && read(fd, &byte, 1) == 1);
    }
  });
  const auto told = Verdicts(pid);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].action, MOAT_VERDICT_WOULD_DENY);
  EXPECT_EQ(told[0].operation, MOAT_VERDICT_READ);
}

}  // namespace
}  // namespace moat::test
