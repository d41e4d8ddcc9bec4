// SPDX-License-Identifier: Apache-2.0
// Assets as the kernel sees them used: each way to open, read, map, write and cut one, counted to the byte.
#include <gmock/gmock.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>

#include <functional>
#include <thread>

#include "tests/bpf/file_kit.h"

namespace moat::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FileBpfTest : public AssetBpfTest {};

struct OpenWay {
  const char* name;
  std::function<int(const std::string& path)> open;
};

std::vector<OpenWay> OpenWays() {
  return {
      {"open", [](const std::string& path) { return static_cast<int>(syscall(SYS_open, path.c_str(), O_RDONLY)); }},
      {"openat", [](const std::string& path) { return static_cast<int>(syscall(SYS_openat, AT_FDCWD, path.c_str(), O_RDONLY)); }},
      {"openat2",
       [](const std::string& path) {
         open_how how{};
         how.flags = O_RDONLY;
         return static_cast<int>(syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof(how)));
       }},
      {"open_by_handle_at",
       [](const std::string& path) {
         alignas(file_handle) char room[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
         auto* handle = reinterpret_cast<file_handle*>(room);
         handle->handle_bytes = MAX_HANDLE_SZ;
         int mount_id = 0;
         MOAT_CHILD_CHECK(name_to_handle_at(AT_FDCWD, path.c_str(), handle, &mount_id, 0) == 0);
         // Any descriptor on the same file system; a directory, so that it is no open of an asset file.
         const int mount = MustOpen(path.substr(0, path.rfind('/')), O_RDONLY | O_DIRECTORY);
         const int fd = open_by_handle_at(mount, handle, O_RDONLY);
         close(mount);
         return fd;
       }},
  };
}

TEST_F(FileBpfTest, EveryWayToOpenIsSeenEachTime) {
  Start();
  for (const OpenWay& way : OpenWays()) {
    const pid_t pid = RunInside([&] {
      for (int i = 0; i < kTimes; ++i) {
        const int fd = way.open(weights());
        MOAT_CHILD_CHECK(fd >= 0);
        close(fd);
      }
    });
    const auto opens = Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid);
    EXPECT_EQ(opens.size(), size_t{kTimes}) << way.name;
    for (const moat_file_open& open : opens) {
      struct stat st{};
      ASSERT_EQ(stat(weights().c_str(), &st), 0);
      EXPECT_EQ(open.inode, st.st_ino);
      EXPECT_EQ(open.dev, KernelDev(st.st_dev));
      EXPECT_EQ(open.bytes, kModelBytes);
      EXPECT_EQ(open.asset, 0u);
      EXPECT_EQ(open.open_flags & O_ACCMODE, unsigned{O_RDONLY});
      EXPECT_STREQ(open.name, "weights");
      EXPECT_EQ(open.hdr.labels, 0u) << "an open alone is no reading";
      EXPECT_EQ(open.hdr.cgroup_id, cgroup_id());
    }
  }
}

// Names are copied by words of eight bytes: lengths around a word, and around the room in the record (127 and a NUL).
TEST_F(FileBpfTest, NamesOfAnyLengthAreWholeOrSaidToBeCut) {
  const std::vector<size_t> lengths = {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 39, 40, 126, 127, 128, 129, 255};
  const auto name_of = [](size_t length) {
    std::string name(length, 'n');
    name.back() = 'e';
    return name;
  };
  for (const size_t length : lengths) {
    WriteFile(Path("model/" + name_of(length)), "12345");
  }
  Start();
  const pid_t pid = RunInside([&] {
    for (const size_t length : lengths) {
      close(MustOpen(Path("model/" + name_of(length)), O_RDONLY));
    }
  });
  const auto opens = Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid);
  ASSERT_EQ(opens.size(), lengths.size());
  for (size_t i = 0; i < lengths.size(); ++i) {
    const bool cut = lengths[i] >= MOAT_NAME_LEN;
    EXPECT_EQ(opens[i].hdr.flags & (MOAT_F_TRUNCATED | MOAT_F_UNREADABLE), cut ? MOAT_F_TRUNCATED : 0) << lengths[i];
    std::string padded = name_of(lengths[i]).substr(0, MOAT_NAME_LEN - 1);
    padded.resize(MOAT_NAME_LEN);
    EXPECT_EQ(std::string(opens[i].name, MOAT_NAME_LEN), padded) << lengths[i];
  }
}

TEST_F(FileBpfTest, CreatIsSeenAndCutsTheFile) {
  WriteFile(Path("model/scratch"), "12345");
  Start();
  const pid_t pid = RunInside([&] {
    for (int i = 0; i < kTimes; ++i) {
      const int fd = static_cast<int>(syscall(SYS_creat, Path("model/scratch").c_str(), 0644));
      MOAT_CHILD_CHECK(fd >= 0);
      close(fd);
    }
  });
  const auto opens = Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid);
  ASSERT_EQ(opens.size(), size_t{kTimes});
  EXPECT_EQ(opens[0].open_flags & (O_ACCMODE | O_CREAT | O_TRUNC), unsigned{O_WRONLY | O_CREAT | O_TRUNC});
  EXPECT_EQ(Tampering(pid, MOAT_TAMPER_TRUNCATE).size(), size_t{kTimes});
}

TEST_F(FileBpfTest, EveryNameLeadsToTheSameAsset) {
  ASSERT_EQ(symlink(weights().c_str(), Path("symlink").c_str()), 0);
  ASSERT_EQ(link(weights().c_str(), Path("hardlink").c_str()), 0);
  WriteFile(Path("model/moved"), "m");
  ASSERT_EQ(mkdir(Path("elsewhere").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Path("mounted").c_str(), 0755), 0);
  Start();
  const pid_t pid = RunInside([&] {
    close(MustOpen(Path("symlink"), O_RDONLY));
    close(MustOpen(Path("hardlink"), O_RDONLY));
    close(MustOpen(Path("model/../model/./weights"), O_RDONLY));
    MOAT_CHILD_CHECK(rename(Path("model/moved").c_str(), Path("elsewhere/renamed").c_str()) == 0);
    close(MustOpen(Path("elsewhere/renamed"), O_RDONLY));
    MOAT_CHILD_CHECK(unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0);
    MOAT_CHILD_CHECK(mount(Path("model").c_str(), Path("mounted").c_str(), nullptr, MS_BIND, nullptr) == 0);
    close(MustOpen(Path("mounted/weights"), O_RDONLY));
    MOAT_CHILD_CHECK(mount(weights().c_str(), other().c_str(), nullptr, MS_BIND, nullptr) == 0);
    close(MustOpen(other(), O_RDONLY));
  });
  std::vector<std::string> names;
  for (const auto& open : Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid)) {
    EXPECT_EQ(open.asset, 0u);
    names.emplace_back(open.name);
  }
  EXPECT_THAT(names, ElementsAre("weights", "hardlink", "weights", "renamed", "weights", "weights"));
}

TEST_F(FileBpfTest, ANewFileBelowAnAssetDirectoryBelongsToIt) {
  ASSERT_EQ(mkdir(Path("model/a").c_str(), 0755), 0);
  Start();
  const pid_t pid = RunInside([&] {
    MOAT_CHILD_CHECK(mkdir(Path("model/a/b").c_str(), 0755) == 0);  // a directory that user space has never listed
    const int fd = MustOpen(Path("model/a/b/new"), O_RDWR | O_CREAT | O_TRUNC, 0644);
    MOAT_CHILD_CHECK(write(fd, "12345", 5) == 5);
    char buffer[8];
    MOAT_CHILD_CHECK(pread(fd, buffer, sizeof(buffer), 0) == 5);
  });
  const auto opens = Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid);
  ASSERT_EQ(opens.size(), 1u);
  EXPECT_EQ(opens[0].asset, 0u);
  EXPECT_STREQ(opens[0].name, "new");
  EXPECT_THAT(Tampering(pid, MOAT_TAMPER_TRUNCATE), IsEmpty()) << "it was made by this open: there was nothing to cut";
  const moat_io_val sums = FinalSums(pid);
  EXPECT_EQ(sums.bytes_written, 5u);
  EXPECT_EQ(sums.bytes_read, 5u);
}

void UseEverything(const std::string& path) {
  const int fd = MustOpen(path, O_RDWR);
  char buffer[64];
  MOAT_CHILD_CHECK(read(fd, buffer, sizeof(buffer)) == sizeof(buffer));
  MOAT_CHILD_CHECK(pwrite(fd, buffer, sizeof(buffer), 0) == sizeof(buffer));
  MOAT_CHILD_CHECK(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
  MOAT_CHILD_CHECK(ftruncate(fd, kModelBytes) == 0);
  close(fd);
}

TEST_F(FileBpfTest, WhatIsNoAssetGivesNothing) {
  Start();
  RunInside([&] {
    for (int i = 0; i < kTimes; ++i) {
      UseEverything(other());
      close(MustOpen(Path("model"), O_RDONLY | O_DIRECTORY));  // the directory itself is no weight
      const int null = MustOpen("/dev/null", O_RDWR);
      MOAT_CHILD_CHECK(write(null, "x", 1) == 1);
      close(null);
      MOAT_CHILD_CHECK(open(Path("model/missing").c_str(), O_RDONLY) < 0);
      char buffer[8];
      MOAT_CHILD_CHECK(read(-1, buffer, 8) < 0 && read(1 << 20, buffer, 8) < 0);
    }
  });
  EXPECT_EQ(FileRecords(), 0u) << Summary();
}

TEST_F(FileBpfTest, ANeighbourOutsideTheScopeGivesNothing) {
  Start();
  const auto work = [&] {
    for (int i = 0; i < kTimes; ++i) {
      UseEverything(second());
    }
  };
  RunOutside(work);
  EXPECT_EQ(records().size(), 0u) << Summary();
  const pid_t pid = RunInside(work);
  EXPECT_EQ(Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid).size(), size_t{kTimes});
  EXPECT_EQ(Of<moat_file_map>(MOAT_KIND_FILE_MAP, pid).size(), size_t{kTimes});
  EXPECT_EQ(FinalSums(pid, 1).bytes_read, size_t{kTimes} * 64);
}

struct Way {
  const char* name;
  // One transfer of at most kChunk bytes between the asset's fd and a file or pipe of ours; returns what the call returned.
  std::function<ssize_t(int asset, int file, const int (&pipe)[2])> move;
};

const std::vector<Way>& ReadWays() {
  static char buffer[kChunk];
  static const iovec kVec[] = {{buffer, kChunk / 4}, {buffer, kChunk - kChunk / 4}};
  static const std::vector<Way> kWays = {
      {"read", [](int fd, int, const int(&)[2]) { return read(fd, buffer, kChunk); }},
      {"pread64", [](int fd, int, const int(&)[2]) { return pread(fd, buffer, kChunk, 5); }},
      {"readv", [](int fd, int, const int(&)[2]) { return readv(fd, kVec, 2); }},
      {"preadv", [](int fd, int, const int(&)[2]) { return preadv(fd, kVec, 2, 7); }},
      {"preadv2", [](int fd, int, const int(&)[2]) { return preadv2(fd, kVec, 2, 7, 0); }},
      {"sendfile", [](int fd, int out, const int(&)[2]) { return sendfile(out, fd, nullptr, kChunk); }},
      {"copy_file_range", [](int fd, int out, const int(&)[2]) { return copy_file_range(fd, nullptr, out, nullptr, kChunk, 0); }},
      {"splice",
       [](int fd, int, const int(&pipe)[2]) {
         const ssize_t n = splice(fd, nullptr, pipe[1], nullptr, kChunk, 0);
         MOAT_CHILD_CHECK(read(pipe[0], buffer, kChunk) == n);
         return n;
       }},
  };
  return kWays;
}

TEST_F(FileBpfTest, EveryWayToReadIsCountedToTheByte) {
  Start();
  for (const Way& way : ReadWays()) {
    const pid_t pid = RunInside([&] {
      const int fd = MustOpen(weights(), O_RDONLY), out = MustOpen(Path("out"), O_RDWR | O_CREAT | O_TRUNC, 0644);
      int pipe[2];
      MOAT_CHILD_CHECK(pipe2(pipe, O_CLOEXEC) == 0);
      for (int i = 0; i < kTimes; ++i) {
        MOAT_CHILD_CHECK(way.move(fd, out, pipe) == kChunk);
      }
      char byte;
      MOAT_CHILD_CHECK(pread(fd, &byte, 1, kModelBytes) == 0);  // the end of the file and errors count for nothing
      MOAT_CHILD_CHECK(pread(fd, &byte, 1, -1) < 0);
    });
    SCOPED_TRACE(way.name);
    const moat_io_val sums = FinalSums(pid);
    EXPECT_EQ(sums.reads, size_t{kTimes});
    EXPECT_EQ(sums.bytes_read, kTimes * kChunk);
    EXPECT_EQ(sums.writes, 0u);
    EXPECT_EQ(sums.cgroup_id, cgroup_id());
    EXPECT_EQ(Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid).size(), 1u) << "reads are summed, not told one by one";
    const auto exits = Of<moat_exit>(MOAT_KIND_EXIT, pid);
    ASSERT_EQ(exits.size(), 1u);
    EXPECT_EQ(exits[0].hdr.labels, 1u);
  }
}

const std::vector<Way>& WriteWays() {
  static char buffer[kChunk];
  static const iovec kVec[] = {{buffer, kChunk / 4}, {buffer, kChunk - kChunk / 4}};
  static const std::vector<Way> kWays = {
      {"write", [](int fd, int, const int(&)[2]) { return write(fd, buffer, kChunk); }},
      {"pwrite64", [](int fd, int, const int(&)[2]) { return pwrite(fd, buffer, kChunk, 5); }},
      {"writev", [](int fd, int, const int(&)[2]) { return writev(fd, kVec, 2); }},
      {"pwritev", [](int fd, int, const int(&)[2]) { return pwritev(fd, kVec, 2, 7); }},
      {"pwritev2", [](int fd, int, const int(&)[2]) { return pwritev2(fd, kVec, 2, 7, 0); }},
      {"sendfile", [](int fd, int in, const int(&)[2]) { return sendfile(fd, in, nullptr, kChunk); }},
      {"copy_file_range", [](int fd, int in, const int(&)[2]) { return copy_file_range(in, nullptr, fd, nullptr, kChunk, 0); }},
      {"splice",
       [](int fd, int, const int(&pipe)[2]) {
         MOAT_CHILD_CHECK(write(pipe[1], buffer, kChunk) == kChunk);
         return splice(pipe[0], nullptr, fd, nullptr, kChunk, 0);
       }},
  };
  return kWays;
}

TEST_F(FileBpfTest, EveryWayToWriteIsCountedAndToldOnce) {
  Start();
  for (const Way& way : WriteWays()) {
    const pid_t pid = RunInside([&] {
      const int fd = MustOpen(weights(), O_RDWR), in = MustOpen(other(), O_RDONLY);
      int pipe[2];
      MOAT_CHILD_CHECK(pipe2(pipe, O_CLOEXEC) == 0);
      for (int i = 0; i < kTimes; ++i) {
        MOAT_CHILD_CHECK(way.move(fd, in, pipe) == kChunk);
      }
    });
    SCOPED_TRACE(way.name);
    const moat_io_val sums = FinalSums(pid);
    EXPECT_EQ(sums.writes, size_t{kTimes});
    EXPECT_EQ(sums.bytes_written, kTimes * kChunk);
    EXPECT_EQ(sums.reads, 0u);
    const auto tampering = Tampering(pid, MOAT_TAMPER_WRITE);
    ASSERT_EQ(tampering.size(), 1u);
    EXPECT_EQ(tampering[0].bytes, kChunk);
    EXPECT_EQ(tampering[0].asset, 0u);
    EXPECT_STREQ(tampering[0].name, "weights");
    const auto exits = Of<moat_exit>(MOAT_KIND_EXIT, pid);
    ASSERT_EQ(exits.size(), 1u);
    EXPECT_EQ(exits[0].hdr.labels, 0u) << "who only writes has learnt nothing";
  }
}

TEST_F(FileBpfTest, CuttingAnAssetIsToldEachTime) {
  Start();
  const pid_t pid = RunInside([&] {
    const int fd = MustOpen(second(), O_RDWR);
    for (int i = 0; i < kTimes; ++i) {
      MOAT_CHILD_CHECK(ftruncate(fd, 5000 - i) == 0);
    }
    MOAT_CHILD_CHECK(ftruncate(fd, -1) < 0);
  });
  const auto cuts = Tampering(pid, MOAT_TAMPER_TRUNCATE);
  ASSERT_EQ(cuts.size(), size_t{kTimes});
  for (int i = 0; i < kTimes; ++i) {
    EXPECT_EQ(cuts[i].bytes, 5000u - i);
    EXPECT_EQ(cuts[i].asset, 1u);
  }
  const pid_t opener = RunInside([&] {
    close(static_cast<int>(syscall(SYS_open, second().c_str(), O_WRONLY | O_TRUNC)));
    close(static_cast<int>(syscall(SYS_openat, AT_FDCWD, second().c_str(), O_RDWR | O_TRUNC)));
    open_how how{};
    how.flags = O_WRONLY | O_TRUNC;
    close(static_cast<int>(syscall(SYS_openat2, AT_FDCWD, second().c_str(), &how, sizeof(how))));
    close(MustOpen(second(), O_PATH));
    close(MustOpen(second(), O_WRONLY));
  });
  EXPECT_EQ(Tampering(opener, MOAT_TAMPER_TRUNCATE).size(), 3u);
  EXPECT_EQ(Of<moat_file_open>(MOAT_KIND_FILE_OPEN, opener).size(), Unseen("file.open", "o_path") ? 4u : 5u);
}

TEST_F(FileBpfTest, MapsAreToldWithTheirSizeAndAccess) {
  Start();
  const pid_t pid = RunInside([&] {
    const int fd = MustOpen(weights(), O_RDWR);
    for (int i = 0; i < kTimes; ++i) {
      MOAT_CHILD_CHECK(mmap(nullptr, kModelBytes - 4096, PROT_READ, MAP_PRIVATE, fd, 4096) != MAP_FAILED);
    }
    MOAT_CHILD_CHECK(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);  // a copy: no tampering
    MOAT_CHILD_CHECK(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED);
    MOAT_CHILD_CHECK(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE, fd, 0) != MAP_FAILED);
    MOAT_CHILD_CHECK(mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    MOAT_CHILD_CHECK(mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, fd, 0) != MAP_FAILED);
    MOAT_CHILD_CHECK(mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, fd, 1) == MAP_FAILED);
  });
  const auto maps = Of<moat_file_map>(MOAT_KIND_FILE_MAP, pid);
  ASSERT_EQ(maps.size(), size_t{kTimes} + 3);
  for (int i = 0; i < kTimes; ++i) {
    EXPECT_EQ(maps[i].length, kModelBytes - 4096);
    EXPECT_EQ(maps[i].offset, 4096u);
    EXPECT_NE(maps[i].address, 0u);
    EXPECT_EQ(maps[i].prot, unsigned{PROT_READ});
    EXPECT_EQ(maps[i].map_flags, unsigned{MAP_PRIVATE});
    EXPECT_EQ(maps[i].asset, 0u);
    EXPECT_EQ(maps[i].hdr.labels, 1u) << "the first map already shows the label that it gave";
    EXPECT_STREQ(maps[i].name, "weights");
  }
  const auto writable = Tampering(pid, MOAT_TAMPER_MAP_WRITE);
  ASSERT_EQ(writable.size(), 2u);
  EXPECT_EQ(writable[0].bytes, 8192u);
  EXPECT_EQ(Count(MOAT_KIND_FILE_IO), 0u) << "mapped bytes stand in the map's record only";
}

TEST_F(FileBpfTest, TheSumsOfAKilledProcessAndOfEachAssetArrive) {
  Start();
  const pid_t pid = RunInside(
      [&] {
        char buffer[kChunk];
        const int first = MustOpen(weights(), O_RDONLY), also = MustOpen(second(), O_RDONLY);
        for (int i = 0; i < kTimes; ++i) {
          MOAT_CHILD_CHECK(read(first, buffer, kChunk) == kChunk);
          MOAT_CHILD_CHECK(read(also, buffer, 10) == 10);
        }
        kill(getpid(), SIGKILL);
      },
      SIGKILL);
  EXPECT_EQ(FinalSums(pid, 0).bytes_read, kTimes * kChunk);
  EXPECT_EQ(FinalSums(pid, 1).bytes_read, kTimes * 10u);
  const auto exits = Of<moat_exit>(MOAT_KIND_EXIT, pid);
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_EQ(exits[0].hdr.labels, 3u);
}

TEST_F(FileBpfTest, ThreadsAddUpInTheirProcess) {
  Start();
  const pid_t pid = RunInside([&] {
    const int fd = MustOpen(weights(), O_RDONLY);
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([fd] {
        char buffer[kChunk];
        for (int k = 0; k < 1000; ++k) {
          MOAT_CHILD_CHECK(pread(fd, buffer, kChunk, 0) == kChunk);
        }
      });
    }
  });
  const moat_io_val sums = FinalSums(pid);
  ExpectCounted(sums.reads, 4000, MOAT_KIND_FILE_IO);
  EXPECT_EQ(sums.bytes_read, sums.reads * kChunk);
}

}  // namespace
}  // namespace moat::test
