// SPDX-License-Identifier: Apache-2.0
// A probe scoped to a cgroup of the test's own, a workload inside it (or beside it), and every record that came of it.
//
//   class OpenTest : public moat::test::BpfTest {};
//   TEST_F(OpenTest, SeesEachOpen) {
//     config().assets = {{.name = "model", .paths = {dir}}};
//     Start();
//     const pid_t pid = RunInside([&] { for (int i = 0; i < 23; ++i) MOAT_CHILD_CHECK(close(open(file, O_RDONLY)) == 0); });
//     EXPECT_EQ(Of<moat_file_open>(MOAT_KIND_FILE_OPEN, pid).size(), 23u);
//   }
//
// The workload's process is forked outside the cgroup and joins it first: its own fork is not seen, its exit is (one
// MOAT_KIND_EXIT per RunInside). TearDown checks that attempted = drained + lost for every kind, and that the programs, links,
// maps, descriptors, processes and the cgroup are gone.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "agent/config/config.h"
#include "agent/probe/probe.h"
#include "bpf/abi/event.h"
#include "bpf/abi/file.h"
#include "bpf/abi/gpu.h"
#include "bpf/abi/net.h"
#include "bpf/abi/process.h"

// In a workload: a failed step ends the child with this text and fails the test (gtest's EXPECT would fail only in the child).
#define MOAT_CHILD_CHECK(condition)                                                                                   \
  do {                                                                                                                \
    if (!(condition)) {                                                                                               \
      std::fprintf(stderr, "%s:%d: in the workload: %s: %s\n", __FILE__, __LINE__, #condition, std::strerror(errno)); \
      _exit(99);                                                                                                      \
    }                                                                                                                 \
  } while (false)

namespace moat::test {

using Bytes = std::vector<std::byte>;

class BpfTest : public ::testing::Test, private probe::RecordSink {
 protected:
  void SetUp() override;     // makes the cgroup; skips with its reason without CAP_BPF and CAP_SYS_ADMIN
  void TearDown() override;  // see above

  // Fill before Start. .scope is the test's cgroup, .scan_processes and .auth are off.
  config::Config& config() { return config_; }
  // A shared probe is that of the test before, with its cgroup, when the two configurations differ in nothing but assets; it is left to
  // the next test, unless this one fails or runs were missed. The last is ended, with the same checks, when all tests are done. For
  // where starting is slow: in a virtual machine without hardware help it takes seconds.
  enum class Share { kIfAsked, kAlways, kNever };  // asked: MOAT_SHARE_PROBES is set
  // Starts the probe. Expects the domains that config switches on to be loaded and all their hooks attached, unless told not to.
  void Start(bool expect_all = true, Share share = Share::kIfAsked);
  // Ends it before TearDown does, with the same checks.
  void Stop();
  // Ends the probe that the test before left. For a test that forks, or loads programs of its own, before Start: what is still open
  // then is taken for left behind.
  static void EndShared();
  probe::Probe& probe() { return *probe_; }
  bool started() const { return probe_ != nullptr; }
  // The backend that this kernel's probe took for an event: "lsm", "sys_exit", ...
  std::string Backend(std::string_view event) const;
  // Whether an event's hook says that it does not see the thing of this id ("io_uring").
  bool Unseen(std::string_view event, std::string_view id) const;

  // Why this kernel has nothing for an event, to skip with; empty: it is attached. An event that could be had and failed fails the test.
  std::string Exposed(std::string_view event) const;

  // Path of the test's cgroup below the mount, its directory, its id.
  const std::string& scope() const { return config_.scope; }
  const std::string& cgroup_directory() const { return directory_; }
  uint64_t cgroup_id() const { return cgroup_id_; }

  using Work = std::function<void()>;
  // Runs work in a child inside the cgroup, drains meanwhile, waits for its end and drains all. Returns its pid. An exit status
  // other than `status` fails the test (wait status as of waitpid; 0: a normal exit).
  pid_t RunInside(const Work& work, int status = 0);
  // The same in a child beside the cgroup, which is kept alive until everything that it caused was drained.
  pid_t RunOutside(const Work& work);
  // For work that must go on while the test does something: Spawn returns at once, Finish drains and waits.
  pid_t Spawn(const Work& work, bool inside = true);
  void Finish(pid_t pid, int status = 0);

  void DrainAll();  // until both rings are empty
  void Sums();  // probe().Sums into records()
  void Scan();  // probe().Scan into records()
  void Clear();  // forgets the records so far, not their number: the ledger check still holds

  // Every record so far, in the order of arrival.
  const std::vector<Bytes>& records() const { return records_; }
  // Those of a kind, as their struct; pid 0: of any process. A record of another size fails the test.
  template <typename Record>
  std::vector<Record> Of(moat_kind kind, pid_t pid = 0) {
    std::vector<Record> out;
    for (const Bytes& bytes : records_) {
      moat_hdr header;
      std::memcpy(&header, bytes.data(), sizeof(header));
      if (header.kind != kind || (pid != 0 && header.pid != static_cast<uint32_t>(pid))) {
        continue;
      }
      EXPECT_EQ(bytes.size(), sizeof(Record)) << "kind " << kind;
      if (bytes.size() == sizeof(Record)) {
        std::memcpy(&out.emplace_back(), bytes.data(), sizeof(Record));
      }
    }
    return out;
  }
  size_t Count(moat_kind kind, pid_t pid = 0) const;
  // Kinds and numbers of everything so far, for messages: "exit 1, file_open 23".
  std::string Summary() const;

  // What the kernel and the probe say they tried for a kind.
  KindLedger Ledger(moat_kind kind) { return probe_->KernelLedger().kinds[kind]; }
  // Runs of programs that the kernel skipped since Start (bpf/lib/hook.bpf.h), of one kind or of all. With any, exact numbers cannot be
  // had: each test tells how many there were (the property runs_missed), and tests/vm/matrix.py repeats one that failed so.
  uint64_t Missed(moat_kind kind = MOAT_KIND_COUNT) const;
  // What was counted and what the kernel skipped of a kind make up what was done; the skipped ones may be of other processes.
  void ExpectCounted(uint64_t counted, uint64_t done, moat_kind kind) const;

 private:
  // What outlives a test that shares its probe.
  struct Session {
    config::Config config;
    std::string directory;
    uint64_t cgroup_id = 0;
    std::unique_ptr<probe::Probe> probe;
    std::array<uint64_t, MOAT_KIND_COUNT> drained{};
    std::set<int> descriptors_before;
  };
  static Session& Kept();
  friend class KeptSessionEnd;

  void OnRecord(std::span<const std::byte> record) override;
  void CheckLedger();
  void MakeCgroup();
  void RemoveCgroup();
  void ExpectAllHooks();
  std::array<uint64_t, MOAT_KIND_COUNT> MissedEver() const;
  bool Fits(const Session& session) const;
  void Take(Session& session);
  void Leave(Session& session);

  config::Config config_;
  std::string directory_;
  uint64_t cgroup_id_ = 0;
  std::unique_ptr<probe::Probe> probe_;
  std::vector<Bytes> records_;
  std::array<uint64_t, MOAT_KIND_COUNT> drained_{};
  std::set<int> descriptors_before_;
  std::set<pid_t> children_;
  struct Child {
    pid_t pid;
    int done, go;  // the child writes done, and waits for go
  };
  std::vector<Child> outside_;
  bool shared_ = false;  // the probe is to be left to the next test
  bool taken_ = false;  // it was another test's before
  std::array<uint64_t, MOAT_KIND_COUNT> missed_before_{};
};

}  // namespace moat::test
