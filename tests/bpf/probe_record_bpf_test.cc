// SPDX-License-Identifier: Apache-2.0
// One small workload through every domain, recorded and played again. With MOAT_RECORD=FILE the recording is kept: that is how
// tests/replay/data/all_domains.moatrec was made.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/probe/record.h"
#include "tests/bpf/fixture.h"

namespace moat::test {
namespace {

class RecordTest : public BpfTest {
 protected:
  void SetUp() override {
    BpfTest::SetUp();
    char name[] = "/tmp/moat-record-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    root_ = name;
    std::filesystem::create_directory(root_ + "/asset");
    std::ofstream(root_ + "/asset/model.bin") << std::string(10000, 'w');
  }
  void TearDown() override {
    BpfTest::TearDown();
    std::filesystem::remove_all(root_);
  }
  std::string root_;
};

struct Keep final : probe::RecordSink {
  std::vector<Bytes> records;
  void OnRecord(std::span<const std::byte> record) override { records.emplace_back(record.begin(), record.end()); }
};

TEST_F(RecordTest, ARecordingIsWhatWasSeen) {
  config().assets = {{.name = "model", .asset_class = "weights", .paths = {root_ + "/asset"}}};
  config().devices = {{.path = "/dev/null", .device_class = "other"}};
  config().watch = {{.device_class = "", .command = 0x4d, .whole = false}};
  Start();
  const std::string model = root_ + "/asset/model.bin";
  RunInside([&] {
    char buffer[4096];
    const int file = open(model.c_str(), O_RDWR);
    MOAT_CHILD_CHECK(file >= 0 && read(file, buffer, 4000) == 4000 && read(file, buffer, 3000) == 3000);
    void* map = mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, file, 0);
    MOAT_CHILD_CHECK(map != MAP_FAILED && pwrite(file, "12345", 5, 0) == 5);
    const int gpu = open("/dev/null", O_RDWR);
    int parameter[4] = {1, 2, 3, 4};
    MOAT_CHILD_CHECK(gpu >= 0);
    for (int i = 0; i < 3; ++i) {
      ioctl(gpu, _IOWR('m', 0x4d, parameter), parameter);  // watched
      ioctl(gpu, _IOWR('m', 0x4e, parameter), parameter);  // its first is told
    }
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    MOAT_CHILD_CHECK(bind(listener, reinterpret_cast<sockaddr*>(&address), length) == 0 && listen(listener, 1) == 0);
    MOAT_CHILD_CHECK(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    const int out = socket(AF_INET, SOCK_STREAM, 0);
    MOAT_CHILD_CHECK(connect(out, reinterpret_cast<sockaddr*>(&address), length) == 0);
    const int in = accept(listener, nullptr, nullptr);
    MOAT_CHILD_CHECK(in >= 0 && write(out, buffer, 700) == 700 && read(in, buffer, 700) == 700);
    close(out);
    close(in);
    const pid_t pid = fork();
    if (pid == 0) {
      execl("/bin/sh", "sh", "-c", "exit 7", nullptr);
      _exit(99);
    }
    MOAT_CHILD_CHECK(pid > 0 && waitpid(pid, nullptr, 0) == pid);
    MOAT_CHILD_CHECK(rename(model.c_str(), (model + ".old").c_str()) == 0);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  Sums();

  const char* kept = std::getenv("MOAT_RECORD");
  const std::string path = kept != nullptr ? kept : root_ + "/recording";
  auto recorder = probe::Recorder::Create(path);
  ASSERT_TRUE(recorder) << recorder.error().message;
  for (const Bytes& record : records()) {
    (*recorder)->OnRecord(record);
  }
  const Status closed = (*recorder)->Close();
  ASSERT_TRUE(closed) << closed.error().message;
  Keep again;
  const auto played = probe::Replay(path, again);
  ASSERT_TRUE(played) << played.error().message;
  EXPECT_EQ(*played, records().size());
  EXPECT_EQ(again.records, records());
  for (const moat_kind kind : {MOAT_KIND_FORK, MOAT_KIND_EXEC, MOAT_KIND_EXIT, MOAT_KIND_FILE_OPEN, MOAT_KIND_FILE_MAP,
                               MOAT_KIND_FILE_TAMPER, MOAT_KIND_FILE_IO, MOAT_KIND_GPU_OPEN, MOAT_KIND_GPU_IOCTL,
                               MOAT_KIND_NET_CONNECT, MOAT_KIND_NET_LISTEN, MOAT_KIND_NET_ACCEPT, MOAT_KIND_NET_CLOSE}) {
    EXPECT_GT(Count(kind), 0u) << "kind " << kind << " of " << Summary();
  }
}

}  // namespace
}  // namespace moat::test
