// SPDX-License-Identifier: Apache-2.0
// The parts of the probe that need no kernel program: device lists, asset paths, BTF and fanotify bytes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/btf.h>
#include <linux/fanotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string_view>
#include <vector>

#include "agent/event/event.h"
#include "agent/probe/block_devices.h"
#include "agent/probe/devices.h"
#include "agent/probe/domain.h"
#include "agent/probe/fan.h"
#include "agent/probe/features.h"
#include "agent/probe/kernel_btf.h"
#include "agent/probe/owners.h"
#include "agent/probe/resolve.h"
#include "agent/probe/scope.h"
#include "agent/probe/syscall_table.h"
#include "agent/probe/table.h"

namespace moat::probe {
namespace {

namespace fs = std::filesystem;

TEST(ProbeDevices, FixedMajorsByNumberOthersByName) {
  const auto majors = ParseMajors(
      "Character devices:\n  1 mem\n195 nvidia-frontend\n226 drm\n237 nvidia-uvm\n238 nvidia-caps\n239 nvidia-capsule\n"
      "240 kfd\n261 accel\n4095 gdrdrv\n4096 neuron\n\nBlock devices:\n241 kfd\n195 nvidia\n");
  std::vector<std::pair<uint32_t, uint32_t>> got;
  for (const Major& major : majors) {
    got.emplace_back(major.major, major.class_id);
  }
  const std::vector<std::pair<uint32_t, uint32_t>> expected = {
      {195, MOAT_GPU_NVIDIA}, {226, MOAT_GPU_DRM},   {237, MOAT_GPU_NVIDIA_UVM}, {238, MOAT_GPU_NVIDIA_CAPS},
      {240, MOAT_GPU_KFD},    {261, MOAT_GPU_ACCEL}, {4095, MOAT_GPU_GDRDRV}};
  EXPECT_EQ(got, expected);
}

TEST(ProbeDevices, GarbageGivesNothing) {
  for (const char* text : {"", "\n\n", "Character devices:", "Character devices:\n\n 195", "195 nvidia\n",
                           "Character devices:\nnvidia 195\n-1 kfd\n99999999999999999999 kfd\n"}) {
    EXPECT_TRUE(ParseMajors(text).empty()) << text;
  }
}

TEST(ProbeDevices, ClassNamesAreThoseOfEvents) {
  for (uint32_t id = MOAT_GPU_NVIDIA; id < MOAT_GPU_CLASSES; ++id) {
    EXPECT_STREQ(ClassName(id), event::GpuClassName(static_cast<event::GpuClass>(id)));
    EXPECT_EQ(ClassFromName(ClassName(id)), id);
  }
  EXPECT_EQ(ClassFromName("no-such"), MOAT_GPU_NONE);
}

class ResolveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/moat-resolve-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
  }
  void TearDown() override { fs::remove_all(root_); }
  void Write(const std::string& path, size_t bytes) {
    fs::create_directories(fs::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << std::string(bytes, 'x');
  }
  std::vector<std::string> Paths(const ResolvedAsset& asset) const {
    std::vector<std::string> out;
    for (const auto& file : asset.files) {
      out.push_back(file.path.substr(root_.size()));
    }
    std::ranges::sort(out);
    return out;
  }
  std::string root_;
};

TEST_F(ResolveTest, ADirectoryWithEverythingBelow) {
  Write("/m/a", 100);
  Write("/m/sub/b", 20);
  const auto assets = ResolveAssets({{.name = "m", .asset_class = "weights", .paths = {root_ + "/m"}}});
  ASSERT_EQ(assets.size(), 1u);
  EXPECT_EQ(Paths(assets[0]), (std::vector<std::string>{"/m", "/m/a", "/m/sub", "/m/sub/b"}));
  EXPECT_EQ(assets[0].bytes, 120u);
  EXPECT_TRUE(assets[0].problems.empty());
  for (const auto& file : assets[0].files) {
    struct stat info{};
    ASSERT_EQ(stat(file.path.c_str(), &info), 0);
    EXPECT_EQ(file.inode, info.st_ino);
    EXPECT_EQ(file.directory, S_ISDIR(info.st_mode));
    EXPECT_EQ(file.dev, major(info.st_dev) << 20 | minor(info.st_dev));
  }
}

// The layout of the Hugging Face cache: names are symlinks to blobs without an extension.
TEST_F(ResolveTest, ASymlinkInADirectoryBringsItsFile) {
  Write("/blobs/abc", 50);
  Write("/outside/other", 7);
  fs::create_directories(root_ + "/snapshots/1");
  fs::create_symlink("../../blobs/abc", root_ + "/snapshots/1/model.safetensors");
  fs::create_directory_symlink(root_ + "/outside", root_ + "/snapshots/1/elsewhere");
  fs::create_symlink("nothing", root_ + "/snapshots/1/broken");
  fs::create_directory_symlink("..", root_ + "/snapshots/1/loop");
  const auto assets = ResolveAssets({{.name = "m", .asset_class = "weights", .paths = {root_ + "/snapshots"}}});
  EXPECT_EQ(Paths(assets[0]), (std::vector<std::string>{"/snapshots", "/snapshots/1", "/snapshots/1/model.safetensors"}));
  EXPECT_EQ(assets[0].bytes, 50u);
  struct stat blob{};
  ASSERT_EQ(stat((root_ + "/blobs/abc").c_str(), &blob), 0);
  EXPECT_TRUE(std::ranges::any_of(assets[0].files, [&](const auto& file) { return file.inode == blob.st_ino; }));
  EXPECT_EQ(assets[0].problems.size(), 3u) << "two directories not followed, one link that leads nowhere";
}

TEST_F(ResolveTest, ANamedPathMayBeASymlink) {
  Write("/real/a", 5);
  fs::create_directory_symlink(root_ + "/real", root_ + "/link");
  const auto assets = ResolveAssets({{.name = "m", .asset_class = "weights", .paths = {root_ + "/link", root_ + "/real/a"}}});
  EXPECT_EQ(assets[0].files.size(), 2u) << "the file once, although it is reached twice";
  EXPECT_EQ(assets[0].bytes, 5u);
}

TEST_F(ResolveTest, WhatCannotBeIsAProblem) {
  Write("/m/a", 5);
  const auto assets = ResolveAssets({{.name = "one", .asset_class = "weights", .paths = {root_ + "/m", "/dev/null"}},
                                     {.name = "two", .asset_class = "weights", .paths = {root_ + "/m/a", root_ + "/none"}}});
  ASSERT_EQ(assets[0].problems.size(), 1u);
  EXPECT_NE(assets[0].problems[0].find("/dev/null: neither a file nor a directory"), std::string::npos);
  ASSERT_EQ(assets[1].problems.size(), 2u);
  EXPECT_NE(assets[1].problems[0].find("belongs to an asset named earlier"), std::string::npos);
  EXPECT_NE(assets[1].problems[1].find("No such file"), std::string::npos);
  EXPECT_TRUE(assets[1].files.empty());
}

TEST_F(ResolveTest, LimitsAreTold) {
  for (int i = 0; i < 30; ++i) {
    Write("/m/" + std::to_string(i), 1);
  }
  Write("/deep/1/2/3/4/5/file", 1);
  const auto few = ResolveAssets({{.name = "m", .asset_class = "weights", .paths = {root_ + "/m"}}}, {.files = 10, .depth = 64});
  EXPECT_EQ(few[0].files.size(), 10u);
  ASSERT_EQ(few[0].problems.size(), 1u);
  EXPECT_NE(few[0].problems[0].find("more than 10 files"), std::string::npos);
  const auto flat =
      ResolveAssets({{.name = "m", .asset_class = "weights", .paths = {root_ + "/deep"}}}, {.files = 1000, .depth = 3});
  ASSERT_EQ(flat[0].problems.size(), 1u);
  EXPECT_NE(flat[0].problems[0].find("deeper than 3"), std::string::npos);
  std::vector<config::Asset> many(70);
  EXPECT_EQ(ResolveAssets(many).size(), 64u);
}

TEST(ProbeBtf, FindsByKindAndName) {
  // Three types: struct a {} (id 1), typedef btf_trace_x (2), func a (3).
  const std::string strings("\0a\0btf_trace_x\0", 15);
  const auto type = [](uint32_t name, uint32_t kind) {
    const btf_type t{.name_off = name, .info = kind << 24, .size = 0};
    return std::string(reinterpret_cast<const char*>(&t), sizeof(t));
  };
  const std::string types = type(1, BTF_KIND_STRUCT) + type(3, BTF_KIND_TYPEDEF) + type(1, BTF_KIND_FUNC);
  btf_header header{};
  header.magic = BTF_MAGIC;
  header.version = 1;
  header.hdr_len = sizeof(header);
  header.type_len = static_cast<uint32_t>(types.size());
  header.str_off = header.type_len;
  header.str_len = static_cast<uint32_t>(strings.size());
  const std::string good = std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + types + strings;
  const KernelBtf::Name names[] = {{BTF_KIND_FUNC, "a"}, {BTF_KIND_TYPEDEF, "btf_trace_x"}, {BTF_KIND_FUNC, "none"}};
  const auto btf = KernelBtf::Parse(good, names);
  ASSERT_TRUE(btf) << btf.error().message;
  EXPECT_EQ(btf->Find(BTF_KIND_FUNC, "a"), 3);
  EXPECT_EQ(btf->Find(BTF_KIND_STRUCT, "a"), -1) << "not asked for";
  EXPECT_EQ(btf->Find(BTF_KIND_TYPEDEF, "btf_trace_x"), 2);
  for (size_t cut = 0; cut < good.size() - 1; ++cut) {
    EXPECT_FALSE(KernelBtf::Parse(good.substr(0, cut), names)) << cut;
  }
}

std::string FanBytes(uint64_t mask, int32_t pid, const std::string& infos) {
  fanotify_event_metadata meta{};
  meta.event_len = static_cast<uint32_t>(sizeof(meta) + infos.size());
  meta.vers = FANOTIFY_METADATA_VERSION;
  meta.metadata_len = sizeof(meta);
  meta.mask = mask;
  meta.fd = FAN_NOFD;
  meta.pid = pid;
  return std::string(reinterpret_cast<const char*>(&meta), sizeof(meta)) + infos;
}

std::string FanInfo(uint8_t type, const std::string& handle, const std::string& name) {
  std::string body("fsid1234");
  const uint32_t bytes = static_cast<uint32_t>(handle.size());
  const int32_t handle_type = 1;
  body.append(reinterpret_cast<const char*>(&bytes), 4).append(reinterpret_cast<const char*>(&handle_type), 4).append(handle);
  if (type != FAN_EVENT_INFO_TYPE_FID) {
    body.append(name).push_back('\0');
  }
  const fanotify_event_info_header header{
      .info_type = type, .pad = 0, .len = static_cast<uint16_t>(sizeof(header) + body.size())};
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) + body;
}

TEST(ProbeFan, ParsesARename) {
  const std::string bytes =
      FanBytes(FAN_RENAME, 42,
               FanInfo(FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, "dir1", "old") +
                   FanInfo(FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, "dir2", "new") + FanInfo(FAN_EVENT_INFO_TYPE_FID, "file", "")) +
      FanBytes(FAN_Q_OVERFLOW, 0, "");
  std::vector<FanEvent> events;
  bool overflow = false;
  ASSERT_TRUE(ParseFanEvents(bytes, events, overflow));
  EXPECT_TRUE(overflow);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].pid, 42u);
  EXPECT_EQ(events[0].place.name, "old");
  EXPECT_EQ(events[0].renamed.name, "new");
  EXPECT_TRUE(events[0].place.directory.ends_with("dir1"));
  EXPECT_TRUE(events[0].renamed.directory.ends_with("dir2"));
  EXPECT_TRUE(events[0].target.ends_with("file"));
}

TEST(ProbeFan, CutOrLyingBytesAreRefused) {
  const std::string good = FanBytes(FAN_DELETE, 42, FanInfo(FAN_EVENT_INFO_TYPE_DFID_NAME, "dir1", "name"));
  std::vector<FanEvent> events;
  bool overflow = false;
  ASSERT_TRUE(ParseFanEvents(good, events, overflow));
  for (size_t cut = 1; cut < good.size(); ++cut) {
    events.clear();
    EXPECT_FALSE(ParseFanEvents(good.substr(0, cut), events, overflow)) << cut;
  }
  for (size_t at = 0; at < good.size(); ++at) {
    for (const char value : {'\0', '\x7f', '\xff'}) {
      std::string bad = good;
      bad[at] = value;
      events.clear();
      (void)ParseFanEvents(bad, events, overflow);  // any result, no read outside: the sanitizer's word
    }
  }
}

TEST(ProbeOwners, ThisProcessLivesAndAnotherStartDoesNot) {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string word;
  for (int field = 3; field <= 22; ++field) {
    rest >> word;
  }
  const uint64_t start_ns = std::stoull(word) * (1000000000ull / static_cast<uint64_t>(sysconf(_SC_CLK_TCK)));
  const auto pid = static_cast<uint32_t>(getpid());
  EXPECT_TRUE(Alive(pid, start_ns));
  EXPECT_TRUE(Alive(pid, start_ns + 9'999'999)) << "a clock tick is what /proc tells";
  EXPECT_FALSE(Alive(pid, start_ns + 1'000'000'000));
  EXPECT_FALSE(Alive(0x7fffffff, start_ns));
}

// As sysfs has it: links by number into a tree in which a partition lies below its disk, and a volume names its parts.
TEST_F(ResolveTest, TheDisksUnderAFileSystem) {
  const auto device = [this](const std::string& path, const std::string& number) {
    fs::create_directories(root_ + "/devices/" + path);
    fs::create_directories(root_ + "/dev/block");
    std::ofstream(root_ + "/devices/" + path + "/dev") << number << "\n";
    fs::create_symlink(root_ + "/devices/" + path, root_ + "/dev/block/" + number);
  };
  device("sda", "8:0");
  device("sda/sda2", "8:2");
  std::ofstream(root_ + "/devices/sda/sda2/partition") << "2\n";
  device("dm-0", "253:0");
  fs::create_directories(root_ + "/devices/dm-0/slaves");
  fs::create_directory_symlink(root_ + "/devices/sda/sda2", root_ + "/devices/dm-0/slaves/sda2");
  const uint32_t sda = 8u << 20, sda2 = 8u << 20 | 2, volume = 253u << 20;
  EXPECT_EQ(BlockDevicesUnder(volume, root_), (std::set<uint32_t>{sda, sda2, volume}));
  EXPECT_EQ(BlockDevicesUnder(sda2, root_), (std::set<uint32_t>{sda, sda2}));
  EXPECT_EQ(BlockDevicesUnder(sda, root_), (std::set<uint32_t>{sda}));
  EXPECT_TRUE(BlockDevicesUnder(7u << 20, root_).empty()) << "no such device: tmpfs, overlay, btrfs";
  std::ofstream(root_ + "/devices/sda/dev") << "garbage\n";
  EXPECT_TRUE(BlockDevicesUnder(sda, root_).empty());
}

TEST(ProbeScope, BelowIsByWholeNames) {
  EXPECT_TRUE(InScope("/a", "/a"));
  EXPECT_TRUE(InScope("/a/b", "/a"));
  EXPECT_FALSE(InScope("/ab", "/a"));
  EXPECT_FALSE(InScope("/", "/a"));
  EXPECT_TRUE(InScope("/x", "host"));
}

// A call has room for two hooks, of which the first must pass it on; domains are attached in the order of Images().
TEST(ProbeTable, HooksThatShareASystemCallPassItOn) {
  std::map<std::string_view, std::vector<const Candidate*>> calls;
  for (const Image& image : Images()) {
    for (const Row& row : Table()) {
      for (const Candidate& candidate : row.candidates) {
        if (candidate.backend == Backend::kSyscallExit && image.name == std::string_view(row.domain)) {
          for (const std::string_view call : candidate.attach) {
            calls[call].push_back(&candidate);
            EXPECT_TRUE(SyscallNumber(call)) << call;
          }
        }
      }
    }
  }
  EXPECT_GE(calls.size(), 20u);
  for (const auto& [call, hooks] : calls) {
    EXPECT_LE(hooks.size(), 2u) << call;
    EXPECT_TRUE(hooks.size() == 1 || hooks.front()->passes_on) << call;
  }
  EXPECT_EQ(calls["openat"].size(), 2u);
  EXPECT_FALSE(SyscallNumber("no_such_call"));
}

TEST(ProbeTable, EveryRowHasACandidateAndEveryProgramOnce) {
  std::set<std::string> programs, events;
  for (const Row& row : Table()) {
    EXPECT_TRUE(events.insert(row.event).second) << row.event;
    EXPECT_TRUE(std::string(row.event).starts_with(std::string(row.domain) + ".")) << row.event;
    EXPECT_FALSE(row.candidates.empty()) << row.event;
    for (const Candidate& candidate : row.candidates) {
      if (candidate.program == nullptr) {  // another row's program sees it, or user space
        EXPECT_EQ(candidate.with == nullptr, candidate.backend == Backend::kFanotify) << row.event;
        EXPECT_TRUE(candidate.with == nullptr || events.contains(candidate.with)) << row.event;
        continue;
      }
      EXPECT_TRUE(programs.insert(candidate.program).second) << candidate.program;
      const bool needs_points = candidate.backend <= Backend::kSyscallExit;
      EXPECT_EQ(candidate.attach.empty(), !needs_points) << candidate.program;
      EXPECT_TRUE(candidate.with == nullptr || events.contains(candidate.with)) << candidate.program << ": a row further up";
    }
  }
}

TEST(Features, WhetherTheKernelPreemptsItself) {
  EXPECT_FALSE(Features::Preempts("#1 SMP Debian 5.10.262-1 (2026-09-01)", "").yes);
  EXPECT_TRUE(Features::Preempts("#1 SMP PREEMPT Debian", "").yes);
  EXPECT_TRUE(Features::Preempts("#1 SMP PREEMPT_DYNAMIC Debian", "").yes) << "not readable: the worse is taken";
  EXPECT_FALSE(Features::Preempts("#1 SMP PREEMPT_DYNAMIC Debian", "none (voluntary) full").yes);
  EXPECT_FALSE(Features::Preempts("#1 SMP PREEMPT_DYNAMIC Debian", "(none) voluntary full lazy").yes);
  EXPECT_TRUE(Features::Preempts("#1 SMP PREEMPT_DYNAMIC Debian", "none voluntary (full) lazy").yes);
  EXPECT_TRUE(Features::Preempts("#1 SMP PREEMPT_DYNAMIC Debian", "full (lazy)").yes);
}

}  // namespace
}  // namespace moat::probe
