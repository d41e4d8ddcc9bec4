// SPDX-License-Identifier: Apache-2.0
// Starting, stopping, reloading and failing.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "tests/e2e/agent.h"
#include "tests/e2e/refusal.h"

namespace moat::e2e {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LifecycleTest : public ::testing::Test {
 protected:
  // Runs moatd to its end; what it printed is in output_.
  int Run(const std::vector<std::string>& args) {
    const std::string out = place_.File("out");
    const pid_t pid = place_.Spawn(
        [&] {
          const int fd = ::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
          ::dup2(fd, STDOUT_FILENO);
          ::dup2(fd, STDERR_FILENO);
          std::vector<char*> argv = {const_cast<char*>("moatd")};
          for (const std::string& arg : args) {
            argv.push_back(const_cast<char*>(arg.c_str()));
          }
          argv.push_back(nullptr);
          ::execv(MOAT_BINARY_DIR "/bin/moatd", argv.data());
        },
        false);
    const int status = WaitFor(pid);
    output_ = ReadText(out);
    return status;
  }

  Place place_;
  std::string output_;
};

TEST_F(LifecycleTest, CommandLine) {
  EXPECT_EQ(Run({"--version"}), 0);
  EXPECT_THAT(output_, HasSubstr("moatd 0."));
  EXPECT_EQ(Run({"--help"}), 0);
  EXPECT_THAT(output_, HasSubstr("SIGHUP"));
  EXPECT_EQ(Run({"--nonsense"}), 2);
  EXPECT_EQ(Run({"--config", place_.File("none.yaml")}), 2);
  EXPECT_EQ(output_, place_.File("none.yaml") + ": cannot be read: No such file or directory\n");
}

TEST_F(LifecycleTest, ABadFileTellsEveryMistakeAndExits2) {
  const std::string file = place_.Write("bad.yaml", "scope: nowhere\nrings: {bulk: 3KiB}\nlgo: {}\n");
  for (const bool check : {false, true}) {
    EXPECT_EQ(Run(check ? std::vector<std::string>{"--check", "--config", file} : std::vector<std::string>{"--config", file}), 2);
    EXPECT_THAT(output_, HasSubstr(file + ":1:8: "));
    EXPECT_THAT(output_, HasSubstr(file + ":2:15: "));
    EXPECT_THAT(output_, HasSubstr(file + ":3:1: "));
  }
}

TEST_F(LifecycleTest, CheckOfAGoodFileStartsNothing) {
  EXPECT_EQ(Run({"--check", "--config", MOAT_SOURCE_DIR "/deploy/config/moatd.yaml"}), 0);
  EXPECT_THAT(output_, HasSubstr("good"));
}

TEST_F(LifecycleTest, AMissingScopeExits1AndSaysWhatToDo) {
  const std::string file =
      place_.Write("moatd.yaml", "scope: /moat-e2e-no-such-cgroup\napi: {socket: " + place_.File("s") + "}\n");
  EXPECT_EQ(Run({"--config", file}), 1);
  EXPECT_THAT(output_, HasSubstr("cannot start: probe: scope: no cgroup"));
}

TEST_F(LifecycleTest, StartsSeesStopsAndLeavesNothing) {
  Agent agent(place_, "");
  ASSERT_TRUE(agent.WaitReady());
  const KernelObjects objects = agent.Objects();
  EXPECT_GE(objects.programs.size(), 4u);
  EXPECT_GE(objects.links.size(), 4u);
  EXPECT_EQ(objects.Alive().size(), objects.programs.size() + objects.maps.size() + objects.links.size());
  const v1::AgentStatus status = agent.Status();
  EXPECT_EQ(status.scope(), place_.scope());
  EXPECT_TRUE(status.healthy()) << status.ShortDebugString();
  EXPECT_EQ(status.domains_size(), 6);
  std::printf("hooks attached after %lu ms; resident %lu KiB\n", status.attach_ms(), status.rss_bytes() >> 10);
  struct stat socket{};
  ASSERT_EQ(::stat(place_.File("moat.sock").c_str(), &socket), 0);
  EXPECT_EQ(socket.st_mode & 07777, 0660u);

  v1::Filter all;
  Watcher watcher(agent, all);
  ASSERT_TRUE(watcher.WaitConnected());
  const pid_t pid = place_.Spawn([] { ::execl("/bin/true", "true", nullptr); });
  EXPECT_EQ(WaitFor(pid), 0);
  EXPECT_TRUE(Eventually([&] { return watcher.Count(v1::KIND_EXEC) == 1 && watcher.Count(v1::KIND_EXIT) == 1; }));

  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(agent.End(SIGTERM), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_TRUE(Eventually([&] { return objects.Alive().empty(); }, 5s)) << ::testing::PrintToString(objects.Alive());
  EXPECT_NE(::stat(place_.File("moat.sock").c_str(), &socket), 0);
}

TEST_F(LifecycleTest, SigintEndsItToo) {
  Agent agent(place_, "");
  ASSERT_TRUE(agent.WaitReady());
  EXPECT_EQ(agent.End(SIGINT), 0);
}

TEST_F(LifecycleTest, SigkillLeavesNothingAttached) {
  Agent agent(place_, "");
  ASSERT_TRUE(agent.WaitReady());
  const KernelObjects objects = agent.Objects();
  EXPECT_THAT(objects.Alive(), ::testing::Not(IsEmpty()));
  EXPECT_EQ(agent.End(SIGKILL), 128 + SIGKILL);
  EXPECT_TRUE(Eventually([&] { return objects.Alive().empty(); }, 5s)) << ::testing::PrintToString(objects.Alive());
  // And the next agent starts over the dead one's socket.
  Agent next(place_, "");
  EXPECT_TRUE(next.WaitReady());
  EXPECT_EQ(next.End(SIGTERM), 0);
}

TEST_F(LifecycleTest, ASecondAgentOnTheSocketExits1) {
  Agent agent(place_, "");
  ASSERT_TRUE(agent.WaitReady());
  EXPECT_EQ(Run({"--config", place_.File("moatd.yaml")}), 1);
  EXPECT_THAT(output_, HasSubstr("cannot start: api: "));
  EXPECT_EQ(agent.Status().scope(), place_.scope());  // the first is as it was
}

TEST_F(LifecycleTest, SigtermEndsWithinFiveSecondsWithAStuckSubscriber) {
  Agent agent(place_, "gpu: {devices: [{path: /dev/null}], watch: [{command: 0x2a}]}\n");
  ASSERT_TRUE(agent.WaitReady());
  grpc::ClientContext context;
  const auto channel = agent.Channel();
  const auto stub = v1::Monitor::NewStub(channel);
  const auto reader = stub->Watch(&context, {});
  v1::WatchResponse first;
  ASSERT_TRUE(reader->Read(&first));  // connected; and never again
  const pid_t pid = place_.Spawn([] {
    const int fd = ::open("/dev/null", O_RDWR);
    for (int i = 0; i < 300'000; ++i) {
      ::ioctl(fd, _IO('F', 0x2a), nullptr);
    }
  });
  EXPECT_EQ(WaitFor(pid), 0);
  EXPECT_TRUE(Eventually([&] { return agent.Status().subscriber_losses() > 0; })) << "the subscriber is not stuck";
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(agent.End(SIGTERM), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  context.TryCancel();
}

TEST_F(LifecycleTest, SighupReadsAssetsAgainAndABadFileChangesNothing) {
  const auto document = [](const std::string& name, const std::string& path) {
    return "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: " + name + "}\nspec: {paths: [" + path + "]}\n";
  };
  const std::string one = place_.Write("one.bin", "12345"), two = place_.Write("two.bin", "1234567");
  place_.Write("assets.yaml", document("one", one));
  Agent agent(place_, "assets: {files: [" + place_.File("assets.yaml") + "]}\n");
  ASSERT_TRUE(agent.WaitReady());
  const auto names = [&] {
    std::vector<std::string> out;
    const v1::AgentStatus status = agent.Status();
    for (const v1::Asset& asset : status.assets()) {
      out.push_back(asset.name());
    }
    return out;
  };
  const auto open_both = [&] {
    const pid_t pid = place_.Spawn([&] {
      ::close(::open(one.c_str(), O_RDONLY));
      ::close(::open(two.c_str(), O_RDONLY));
    });
    EXPECT_EQ(WaitFor(pid), 0);
  };
  const auto opens = [](const Watcher& watcher) {
    std::vector<std::string> out;
    for (const Watcher::Seen& seen : watcher.seen()) {
      if (seen.event.kind() == v1::KIND_FILE_OPEN) {
        out.push_back(seen.event.file_open().asset());
      }
    }
    return out;
  };
  EXPECT_THAT(names(), ElementsAre("one"));
  v1::Filter files;
  files.add_kinds("file_open");
  Watcher watcher(agent, files);
  ASSERT_TRUE(watcher.WaitConnected());
  open_both();
  EXPECT_TRUE(Eventually([&] { return opens(watcher).size() == 1; }));

  place_.Write("assets.yaml", "kind: Asset\n");
  agent.Signal(SIGHUP);
  EXPECT_TRUE(Eventually([&] { return agent.Log().find("assets stay as they were") != std::string::npos; }));
  EXPECT_THAT(agent.Log(), HasSubstr(place_.File("assets.yaml") + ":1:1: \"apiVersion\" is missing"));
  EXPECT_THAT(names(), ElementsAre("one"));

  place_.Write("assets.yaml", document("one", one) + "---\n" + document("two", two));
  agent.Signal(SIGHUP);
  EXPECT_TRUE(Eventually([&] { return names().size() == 2; }));
  EXPECT_TRUE(Eventually([&] { return agent.Log().find("2 assets in force") != std::string::npos; }));
  open_both();
  EXPECT_TRUE(Eventually([&] { return opens(watcher).size() == 3; }));
  EXPECT_THAT(opens(watcher), ElementsAre("one", "one", "two"));
  EXPECT_EQ(agent.End(SIGTERM), 0);
}

// Attached and not, by domain; each with its reason. What the kernel has nothing for is neither.
std::map<std::string, std::pair<int, int>> CountHooks(const v1::AgentStatus& status) {
  std::map<std::string, std::pair<int, int>> count;
  for (const v1::Domain& domain : status.domains()) {
    EXPECT_EQ(domain.loaded(), domain.error().empty()) << domain.name() << ": " << domain.error();
    for (const v1::Hook& hook : domain.hooks()) {
      if (!hook.exposure()) {
        ++(hook.attached() ? count[domain.name()].first : count[domain.name()].second);
      }
      EXPECT_FALSE(hook.why().empty()) << hook.event();
      EXPECT_TRUE(hook.attached() || hook.unseen_size() > 0) << hook.event();
    }
  }
  return count;
}

// A volume of a pod is mounted when the pod starts, long after moatd.
TEST_F(LifecycleTest, WeightsThatAreMountedLaterAreFound) {
  const std::string volume = place_.File("volume"), weights = volume + "/model.safetensors", covered = volume + "/covered";
  ASSERT_EQ(::mkdir(volume.c_str(), 0755), 0);
  place_.Write("volume/covered", "w");
  Agent agent(place_, "assets: {inline: [{name: model, paths: [" + volume + "]}]}\n", {}, [] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      ::_exit(97);  // nothing of this is for the host
    }
  });
  ASSERT_TRUE(agent.WaitReady());
  const auto files = [&] { return agent.Status().assets_size() == 1 ? agent.Status().assets(0).files() : 0; };
  EXPECT_EQ(files(), 2u) << "a directory and a file";
  v1::Filter filter;
  filter.add_assets("model");
  Watcher watcher(agent, filter);
  ASSERT_TRUE(watcher.WaitConnected());
  const auto there = [&](const std::function<bool()>& work) {  // in moatd's mount namespace
    return WaitFor(place_.Spawn([&] {
      const Fd mounts(::open(("/proc/" + std::to_string(agent.pid()) + "/ns/mnt").c_str(), O_RDONLY | O_CLOEXEC));
      if (::setns(mounts.get(), CLONE_NEWNS) != 0 || !work()) {
        ::_exit(1);
      }
    }));
  };
  const auto open = [&](const std::string& path) { return static_cast<bool>(Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC))); };
  const auto looked = [&] {
    size_t times = 0;
    const std::string log = agent.Log();
    for (size_t at = 0; (at = log.find("a mount at an asset's path came or went", at)) != std::string::npos; ++at) {
      ++times;
    }
    return times;
  };
  ASSERT_EQ(there([&] {
              return ::mount("moat-test", volume.c_str(), "tmpfs", 0, nullptr) == 0 &&
                     Fd(::open(weights.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
            }),
            0);
  ASSERT_TRUE(Eventually([&] { return files() == 4 && looked() == 1; })) << files() << " files; " << agent.Log();
  ASSERT_EQ(there([&] { return open(weights); }), 0);
  EXPECT_TRUE(Eventually([&] { return watcher.Count(v1::KIND_FILE_OPEN) == 1; }));
  // Whoever does not have that mount still reads what it covers: no mount takes the label off weights, and no reload.
  agent.Signal(SIGHUP);
  ASSERT_TRUE(Eventually([&] { return agent.Log().find("reload: 1 assets in force") != std::string::npos; }));
  EXPECT_EQ(files(), 4u);
  EXPECT_EQ(WaitFor(place_.Spawn([&] { ::_exit(open(covered) ? 0 : 1); })), 0);
  EXPECT_TRUE(Eventually([&] { return watcher.Count(v1::KIND_FILE_OPEN) == 2; }));
  // Another one in its place, at once: the kernel gives it the numbers of the one before.
  ASSERT_EQ(there([&] {
              return ::umount(volume.c_str()) == 0 && ::mount("moat-test", volume.c_str(), "tmpfs", 0, nullptr) == 0 &&
                     Fd(::open((volume + "/one").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) &&
                     Fd(::open((volume + "/two").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
            }),
            0);
  ASSERT_TRUE(Eventually([&] { return files() >= 5 && looked() == 2; })) << files() << " files; " << agent.Log();
  // Another one beside it is none of ours, and nothing is looked for.
  ASSERT_EQ(there([&] { return ::mount("moat-test", "/mnt", "tmpfs", 0, nullptr) == 0; }), 0);
  std::this_thread::sleep_for(1s);
  EXPECT_EQ(looked(), 2u);
  ASSERT_EQ(there([&] { return ::umount(volume.c_str()) == 0; }), 0);
  ASSERT_TRUE(Eventually([&] { return files() == 2 && looked() == 3; }))
      << "what is mounted nowhere is forgotten; " << agent.Log();
}

// The rest of its domain and the other domains run.
TEST_F(LifecycleTest, AProgramThatCannotLoadIsReportedAndTheOthersRun) {
  Refusal refusal("moat_net_state");
  Agent agent(place_, "", {}, refusal.InChild());
  ASSERT_TRUE(agent.WaitReady());
  EXPECT_GT(refusal.refused(), 0);
  const v1::AgentStatus status = agent.Status();
  EXPECT_FALSE(status.healthy());
  for (const auto& [domain, hooks] : CountHooks(status)) {
    EXPECT_GT(hooks.first, 0) << domain;
  }
  for (const v1::Domain& domain : status.domains()) {
    for (const v1::Hook& hook : domain.hooks()) {
      const bool gone = hook.event() == "net.state" || hook.event() == "net.cookie";  // the second is the first one's
      EXPECT_EQ(hook.attached() || hook.exposure(), !gone) << hook.event();
    }
  }
  EXPECT_THAT(agent.Log(), HasSubstr("program moat_net_state: the kernel refuses to load it: Invalid argument"));
  Watcher watcher(agent, {});
  ASSERT_TRUE(watcher.WaitConnected());
  EXPECT_EQ(WaitFor(place_.Spawn([] { ::execl("/bin/true", "true", nullptr); })), 0);
  EXPECT_TRUE(Eventually([&] { return watcher.Count(v1::KIND_EXEC) == 1; }));
  EXPECT_EQ(agent.End(SIGTERM), 0);
}

// As a unit file with too few capabilities would start it. Exec hands root no more than the bounding set.
void WithBpfAndPerfmonAlone() {
  for (int cap = 0; cap <= CAP_LAST_CAP; ++cap) {
    if (cap != CAP_BPF && cap != CAP_PERFMON && ::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL) {
      ::_exit(96);
    }
  }
}

TEST_F(LifecycleTest, WithFewCapabilitiesItSeesWhatItCanAndTellsTheRest) {
  const std::string weights = place_.Write("weights.bin", "12345");
  Agent agent(place_, "assets: {inline: [{name: w, paths: [" + weights + "]}]}\n", {}, WithBpfAndPerfmonAlone);
  ASSERT_TRUE(agent.WaitReady());
  const v1::AgentStatus status = agent.Status();
  EXPECT_FALSE(status.healthy());
  auto hooks = CountHooks(status);
  EXPECT_EQ(hooks["process"].second, 0);
  EXPECT_EQ(hooks["gpu"].second, 0);
  EXPECT_EQ(hooks["file"].second, 9);  // fanotify needs CAP_SYS_ADMIN
  EXPECT_EQ(hooks["net"].second, 8);   // cgroup programs need CAP_NET_ADMIN
  Watcher watcher(agent, {});
  ASSERT_TRUE(watcher.WaitConnected());
  EXPECT_EQ(WaitFor(place_.Spawn([&] { ::close(::open(weights.c_str(), O_RDONLY)); })), 0);
  EXPECT_TRUE(Eventually([&] { return watcher.Count(v1::KIND_FILE_OPEN) == 1; }));
  EXPECT_EQ(agent.End(SIGTERM), 0);
}

TEST_F(LifecycleTest, ADomainSwitchedOffIsOff) {
  Agent agent(place_, "domains: {net: false}\n");
  ASSERT_TRUE(agent.WaitReady());
  const v1::AgentStatus status = agent.Status();
  for (const v1::Domain& domain : status.domains()) {
    EXPECT_EQ(domain.loaded(), domain.name() != "net") << domain.name();
  }
  EXPECT_EQ(agent.End(SIGTERM), 0);
}

TEST_F(LifecycleTest, WhateverTouchesACanarySaysSo) {
  const std::string bait = place_.Write("bait", "bait"), other = place_.Write("other", "other");
  Agent agent(place_,
              "assets: {inline: [{name: bait, class: canary, paths: [" + bait + "]}, {name: other, paths: [" + other + "]}]}\n");
  ASSERT_TRUE(agent.WaitReady());
  Watcher watcher(agent, {});
  ASSERT_TRUE(watcher.WaitConnected());
  const auto touches = [](const std::string& path, bool all) {
    char byte;
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    (void)!::read(fd, &byte, 1);
    (void)::mmap(nullptr, 1, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)!::write(fd, "x", 1);
    if (all) {
      (void)!::ftruncate(fd, 2);
      (void)::link(path.c_str(), (path + ".link").c_str());
      (void)::rename(path.c_str(), (path + ".new").c_str());
      (void)::unlink((path + ".new").c_str());
    }
  };
  EXPECT_EQ(WaitFor(place_.Spawn([&] { touches(other, /*all=*/true); })), 0);
  const pid_t pid = place_.Spawn([&] { touches(bait, /*all=*/true); });
  EXPECT_EQ(WaitFor(pid), 0);
  const auto told = [&] {
    std::set<std::string> out;
    for (const Watcher::Seen& seen : watcher.seen()) {
      const v1::Event& event = seen.event;
      const bool flagged = std::ranges::find(event.flags(), static_cast<int>(v1::FLAG_CANARY)) != event.flags().end();
      EXPECT_TRUE(!flagged || static_cast<pid_t>(event.pid()) == pid || event.pid() == 0) << event.ShortDebugString();
      if (flagged) {
        out.insert(v1::Kind_Name(event.kind()) +
                   (event.has_file_tamper() ? " " + v1::TamperOp_Name(event.file_tamper().op()) : std::string()));
      }
    }
    return out;
  };
  EXPECT_TRUE(
      Eventually([&] { return told().contains("KIND_FILE_TAMPER TAMPER_OP_UNLINK") && told().contains("KIND_FILE_IO"); }));
  EXPECT_THAT(told(),
              testing::IsSupersetOf({"KIND_FILE_OPEN", "KIND_FILE_MAP", "KIND_FILE_IO", "KIND_FILE_TAMPER TAMPER_OP_WRITE",
                                     "KIND_FILE_TAMPER TAMPER_OP_TRUNCATE", "KIND_FILE_TAMPER TAMPER_OP_LINK",
                                     "KIND_FILE_TAMPER TAMPER_OP_RENAME", "KIND_FILE_TAMPER TAMPER_OP_UNLINK"}));
  EXPECT_THAT(agent.Log(), HasSubstr("canary bait was touched: file_open by moat_e2e_tests[" + std::to_string(pid) + "]"));
  EXPECT_THAT(agent.Log(), testing::Not(HasSubstr("canary other")));
}

}  // namespace
}  // namespace moat::e2e
