// SPDX-License-Identifier: Apache-2.0
#include "agent/base/cgroup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>

#include "agent/enrich/cgroup_paths.h"

namespace moat {
namespace {

TEST(Cgroup, FindsTheMount) {
  struct Case {
    const char* mountinfo;
    const char* path;
    const char* root;
  };
  const Case cases[] = {
      {"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup", "/"},
      // Hybrid: the v1 hierarchies beside it; no optional fields, and several.
      {"31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
       "32 30 0:28 / /sys/fs/cgroup/unified rw,relatime shared:10 master:2 - cgroup2 cgroup2 rw\n",
       "/sys/fs/cgroup/unified", "/"},
      {"32 30 0:28 / /mnt/with\\040blank\\134 rw - cgroup2 none rw\n", "/mnt/with blank\\", "/"},
      // A container's view first, the whole tree second.
      {"1 0 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n2 0 0:28 / /host/cgroup ro - cgroup2 cgroup rw\n",
       "/host/cgroup", "/"},
      {"1 0 0:28 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "/sys/fs/cgroup", "/docker/abc"},
      // In a cgroup namespace "/" is the container's own, and the whole tree lies above it.
      {"1 0 0:28 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n2 0 0:28 /../../.. /host/cgroup ro - cgroup2 cgroup rw\n",
       "/host/cgroup", "/../../.."},
      {"2 0 0:28 /../.. /host/cgroup ro - cgroup2 cgroup rw\n1 0 0:28 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "/host/cgroup",
       "/../.."},
      {"2 0 0:28 /../other /other ro - cgroup2 cgroup rw\n1 0 0:28 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "/sys/fs/cgroup",
       "/"},
      // A mount point that is called like the file system is none.
      {"1 0 0:1 / /cgroup2 rw - tmpfs cgroup2 rw\n32 30 0:28 / /ok rw - cgroup2 none rw", "/ok", "/"},
  };
  for (const Case& c : cases) {
    auto mount = ParseCgroup2Mount(c.mountinfo);
    ASSERT_TRUE(mount) << c.mountinfo;
    EXPECT_EQ(mount->path, c.path);
    EXPECT_EQ(mount->root, c.root);
  }
}

TEST(Cgroup, SaysWhenThereIsNoMount) {
  for (const char* text : {"", "\n\n", "31 30 0:27 / /x rw - cgroup cgroup rw\n", "1 2 3", "1 2 3 4 5 6", "1 2 3 4 5 6 - ",
                           "1 2 3 4 5 6 7 8 cgroup2"}) {
    auto mount = ParseCgroup2Mount(text);
    ASSERT_FALSE(mount) << text;
    EXPECT_EQ(mount.error().code, Code::kNotFound);
    EXPECT_NE(mount.error().message.find("mount -t cgroup2"), std::string::npos);
  }
}

TEST(Cgroup, TellsAPartFromTheWhole) {
  auto mount = FindCgroup2Mount();
  if (!mount || mount->root != "/" || ::geteuid() != 0) {
    GTEST_SKIP() << "needs root and the whole cgroup2 tree";
  }
  EXPECT_TRUE(ShowsWholeTree(*mount));
  const std::string part = mount->path + "/moat-unit-" + std::to_string(::getpid());
  ASSERT_EQ(::mkdir(part.c_str(), 0755), 0);
  EXPECT_FALSE(ShowsWholeTree({part, "/"}));
  ::rmdir(part.c_str());
}

// Against the tree that is really there: ids by stat, paths by id, and the walk agree.
TEST(Cgroup, NumbersAndPathsAgree) {
  auto mount = FindCgroup2Mount();
  if (!mount) {
    GTEST_SKIP() << mount.error().message;
  }
  std::map<uint64_t, std::string> walked;
  WalkCgroups(*mount, 200, [&](uint64_t id, const std::string& path) {
    EXPECT_TRUE(walked.emplace(id, path).second);
    return true;
  });
  ASSERT_FALSE(walked.empty());
  size_t resolved = 0, refused = 0;
  for (const auto& [id, path] : walked) {
    auto found = CgroupPath(*mount, id);
    if (found) {
      EXPECT_EQ(*found, path);
      ++resolved;
    } else {
      // Others' cgroups may vanish meanwhile, and an unprivileged run may not ask.
      EXPECT_TRUE(found.error().code == Code::kNotFound || found.error().code == Code::kPermissionDenied)
          << found.error().message;
      refused += found.error().code == Code::kPermissionDenied;
    }
  }
  EXPECT_GT(resolved + refused, 0u);
  auto root = CgroupId(*mount, "/");
  ASSERT_TRUE(root);
  EXPECT_EQ(walked[*root], "/");
  EXPECT_FALSE(CgroupId(*mount, "/no/such/cgroup"));
  if (refused == 0) {
    auto none = CgroupPath(*mount, uint64_t{1} << 62);
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code, Code::kNotFound);
  }
}

// Any directory tree walks like a cgroup tree.
class FakeTree : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/moat-cgroup-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    mount_ = {name, "/"};
    std::filesystem::create_directories(mount_.path + "/a/b");
    std::filesystem::create_directories(mount_.path + "/c");
    std::filesystem::create_directory_symlink("..", mount_.path + "/a/loop");
  }
  void TearDown() override { std::filesystem::remove_all(mount_.path); }
  Cgroup2Mount mount_;
};

TEST_F(FakeTree, WalkIsBoundedAndFollowsNoLinks) {
  auto walk = [this](size_t limit, size_t stop_after) {
    std::vector<std::string> paths;
    WalkCgroups(mount_, limit, [&](uint64_t id, const std::string& path) {
      EXPECT_EQ(id, *CgroupId(mount_, path));
      paths.push_back(path);
      return paths.size() < stop_after;
    });
    return paths;
  };
  auto all = walk(100, 100);
  std::sort(all.begin(), all.end());
  EXPECT_EQ(all, (std::vector<std::string>{"/", "/a", "/a/b", "/c"}));
  EXPECT_EQ(walk(2, 100).size(), 2u);
  EXPECT_EQ(walk(100, 3).size(), 3u);
  EXPECT_EQ(walk(100, 1), (std::vector<std::string>{"/"}));
}

// This is no cgroup file system, where handles of that type lead nowhere: so the cache has to walk, at most every 100 ms.
TEST_F(FakeTree, PathsAreRememberedAndMissesBounded) {
  enrich::CgroupPaths paths(mount_);
  uint64_t now = 1'000'000'000;
  uint64_t b = *CgroupId(mount_, "/a/b");
  EXPECT_EQ(paths.Path(0, now), "");
  EXPECT_EQ(paths.walks(), 0u);
  EXPECT_EQ(paths.Path(b, now), "/a/b");
  EXPECT_EQ(paths.walks(), 1u);
  EXPECT_EQ(paths.size(), 4u);
  std::filesystem::create_directory(mount_.path + "/new");
  uint64_t fresh = *CgroupId(mount_, "/new");
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(paths.Path(fresh, now + 99'000'000), "");
  }
  EXPECT_EQ(paths.walks(), 1u);
  EXPECT_EQ(paths.Path(fresh, now + 100'000'000), "/new");
  EXPECT_EQ(paths.walks(), 2u);
  std::filesystem::remove(mount_.path + "/new");
  EXPECT_EQ(paths.Path(fresh, now + 500'000'000), "/new") << "kept for late events";
}

TEST(CgroupPaths, TheRealTreeByHandle) {
  auto mount = FindCgroup2Mount();
  if (!mount) {
    GTEST_SKIP() << mount.error().message;
  }
  auto top = CgroupId(*mount, "/");
  ASSERT_TRUE(top);
  if (!CgroupPath(*mount, *top)) {
    GTEST_SKIP() << "file handles need CAP_DAC_READ_SEARCH";
  }
  enrich::CgroupPaths paths(*mount);
  EXPECT_EQ(paths.Path(*top, 1), "/");
  EXPECT_EQ(paths.Path(uint64_t{1} << 62, 2), "");
  EXPECT_EQ(paths.walks(), 0u);
  EXPECT_EQ(paths.size(), 1u);
}

}  // namespace
}  // namespace moat
