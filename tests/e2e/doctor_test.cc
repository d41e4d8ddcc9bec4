// SPDX-License-Identifier: Apache-2.0
// moatd --doctor, and moatctl doctor where no agent runs: what an agent would get is what it gets.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <map>

#include "tests/e2e/agent.h"
#include "tests/e2e/refusal.h"

namespace moat::e2e {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class DoctorTest : public ::testing::Test {
 protected:
  // Runs a program of build/bin to its end; what it printed is in out_ and err_.
  int Run(const std::string& program, const std::vector<std::string>& args, const std::function<void()>& in_child = {}) {
    const std::string path = MOAT_BINARY_DIR "/bin/" + program, out = place_.File("out"), err = place_.File("err");
    const pid_t pid = place_.Spawn(
        [&] {
          ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), STDOUT_FILENO);
          ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), STDERR_FILENO);
          std::vector<char*> argv = {const_cast<char*>(path.c_str())};
          for (const std::string& arg : args) {
            argv.push_back(const_cast<char*>(arg.c_str()));
          }
          argv.push_back(nullptr);
          if (in_child) {
            in_child();
          }
          ::execv(argv[0], argv.data());
        },
        false);
    const int status = WaitFor(pid);
    out_ = ReadText(out);
    err_ = ReadText(err);
    return status;
  }

  // moatd --doctor under a configuration; its answer is in answer_.
  int Ask(const std::string& yaml, const std::function<void()>& in_child = {}) {
    const int status = Run("moatd", {"--doctor", "--config", place_.Write("ask.yaml", yaml)}, in_child);
    answer_.Clear();
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(out_, &answer_).ok()) << out_ << err_;
    return status;
  }

  Place place_;
  std::string out_, err_;
  v1::AgentStatus answer_;
};

// Domains as text, without what only a running agent has.
std::string Text(const v1::AgentStatus& status) {
  v1::AgentStatus domains;
  *domains.mutable_domains() = status.domains();
  for (v1::Domain& domain : *domains.mutable_domains()) {
    for (v1::Hook& hook : *domain.mutable_hooks()) {
      hook.clear_runs_missed();
      hook.clear_proof();
    }
  }
  return domains.DebugString();
}

// Capabilities that exec hands to root.
void KeepOnly(const std::set<int>& kept) {
  for (int cap = 0; cap <= CAP_LAST_CAP; ++cap) {
    if (!kept.contains(cap) && ::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL) {
      ::_exit(96);
    }
  }
}

// The scope does not exist: it is not needed.
TEST_F(DoctorTest, TellsEveryEventAndAttachesNothing) {
  ASSERT_EQ(Ask("scope: /moat-e2e-no-such-cgroup\n", EndWhenItAttaches), 0) << err_ << out_;
  EXPECT_TRUE(answer_.healthy());
  EXPECT_EQ(answer_.version(), MOAT_VERSION);
  EXPECT_FALSE(answer_.kernel().empty());
  EXPECT_FALSE(answer_.hostname().empty());
  std::map<std::string, int> hooks;
  for (const v1::Domain& domain : answer_.domains()) {
    EXPECT_TRUE(domain.loaded()) << domain.name() << ": " << domain.error();
    hooks[domain.name()] = domain.hooks_size();
    for (const v1::Hook& hook : domain.hooks()) {
      EXPECT_EQ(hook.backend().empty(), hook.exposure()) << hook.event();
      EXPECT_FALSE(hook.why().empty()) << hook.event();
      EXPECT_EQ(hook.attached(), !hook.exposure()) << hook.event();
    }
  }
  hooks.erase("syscall");  // only where no better backend is to be had
  EXPECT_EQ(hooks, (std::map<std::string, int>{{"process", 24}, {"auth", 6}, {"file", 26}, {"gpu", 15}, {"net", 19}}));
  for (const char* why : {"BTF tracepoints load here", "cgroup/connect programs load here", "task iterators load here"}) {
    EXPECT_THAT(out_, HasSubstr(why));
  }
}

// Shows that the filter of the test above bites.
TEST_F(DoctorTest, AnAgentThatAttachesEndsUnderThatFilter) {
  Agent agent(place_, "", {}, EndWhenItAttaches);
  EXPECT_FALSE(agent.WaitReady());
  EXPECT_EQ(agent.End(SIGTERM), 128 + SIGSYS);
}

// Whatever the kernel refuses: the answer is, to the word, what the agent then says of itself.
TEST_F(DoctorTest, TellsWhatAnAgentGets) {
  const auto compare = [&](const std::string& what, const std::string& yaml,
                           const std::function<std::function<void()>()>& child) {
    SCOPED_TRACE(what);
    const int code = Ask(yaml, child());
    Agent agent(place_, yaml, {}, child());
    ASSERT_TRUE(agent.WaitReady());
    const v1::AgentStatus status = agent.Status();
    EXPECT_EQ(Text(answer_), Text(status));
    EXPECT_EQ(answer_.healthy(), status.healthy());
    EXPECT_EQ(code, status.healthy() ? 0 : 1);
    EXPECT_EQ(status.healthy(), what == "nothing");
    EXPECT_EQ(agent.End(SIGTERM), 0);
  };
  compare("nothing", "", [] { return std::function<void()>(); });
  compare("a domain switched off", "domains: {net: false}\n", [] { return std::function<void()>(); });
  compare("capabilities", "", [] { return [] { KeepOnly({CAP_BPF, CAP_PERFMON}); }; });
  // The last: every question what the kernel offers.
  for (const char* program : {"moat_net_state", "moat_syscall_ex", "moat_ask"}) {
    std::vector<std::unique_ptr<Refusal>> refusals;
    compare(program, "", [&] { return refusals.emplace_back(std::make_unique<Refusal>(program))->InChild(); });
    for (const auto& refusal : refusals) {
      EXPECT_GT(refusal->refused(), 0) << program;
    }
  }
}

TEST_F(DoctorTest, ARefusedProgramIsToldAndTheOthersAreAsTheyWere) {
  Refusal refusal("moat_net_state");
  EXPECT_EQ(Ask("", refusal.InChild()), 1);
  EXPECT_GT(refusal.refused(), 0);
  EXPECT_FALSE(answer_.healthy());
  EXPECT_EQ(answer_.domains_size(), 6);
  for (const v1::Domain& domain : answer_.domains()) {
    EXPECT_TRUE(domain.loaded()) << domain.name() << ": " << domain.error();
    EXPECT_GT(domain.hooks_size(), 0);
    for (const v1::Hook& hook : domain.hooks()) {
      const bool refused = hook.event() == "net.state";
      const bool gone = refused || hook.event() == "net.cookie";  // seen by the program of the other
      EXPECT_EQ(hook.attached() || hook.exposure(), !gone) << hook.event();
      EXPECT_EQ(hook.unseen_size() == 1 && hook.unseen(0) == "all of it", gone) << hook.event();
      EXPECT_EQ(hook.why().find("tp_btf moat_net_state: the kernel refuses to load it: Invalid argument") == 0, refused)
          << hook.event() << ": " << hook.why();
      EXPECT_FALSE(hook.why().empty()) << hook.event();
    }
  }
}

// The kernel refuses whatever it is asked for, so that no domain chooses anything; each loads as it is, empty.
TEST_F(DoctorTest, WhatTheKernelAnsweredIsTheReason) {
  Refusal refusal("moat_ask");
  EXPECT_EQ(Ask("", refusal.InChild()), 1);
  std::map<std::string, std::string> why;
  for (const v1::Domain& domain : answer_.domains()) {
    for (const v1::Hook& hook : domain.hooks()) {
      EXPECT_EQ(hook.attached(), hook.backend() == "fanotify") << hook.event();
      why[hook.event()] = hook.why();
    }
  }
  EXPECT_EQ(why["process.fork"], "tp_btf moat_process_fork: BTF tracepoints: Invalid argument");
  EXPECT_EQ(why["net.connect4"], "cgroup moat_net_connect4: cgroup/connect programs: Invalid argument");
  EXPECT_THAT(why["file.open"], HasSubstr("sys_exit moat_file_open: BTF tracepoints: Invalid argument"));
}

TEST_F(DoctorTest, WithoutCapabilitiesItSaysWhatFails) {
  EXPECT_EQ(Ask("", [] { KeepOnly({}); }), 1);
  EXPECT_EQ(answer_.domains_size(), 6);
  for (const v1::Domain& domain : answer_.domains()) {
    EXPECT_THAT(domain.error(), HasSubstr("no agent could start: create map ")) << domain.name();
    EXPECT_THAT(domain.error(), HasSubstr("Operation not permitted")) << domain.name();
    EXPECT_GT(domain.hooks_size(), 0) << domain.name();
  }
}

TEST_F(DoctorTest, MistakesOfTheCommandLineAndTheFileAre2) {
  EXPECT_EQ(Run("moatd", {"--doctor", "--config", place_.File("none.yaml")}), 2);
  EXPECT_EQ(Run("moatd", {"--doctor", "--config", place_.Write("bad.yaml", "scop: host\n")}), 2);
  EXPECT_THAT(err_, HasSubstr("bad.yaml:1:1: "));
  EXPECT_EQ(Run("moatd", {"--doctor", "--check"}), 2);
  EXPECT_EQ(Run("moatd", {"--doctor", "--record", place_.File("r")}), 2);
  EXPECT_EQ(out_, "");
}

TEST_F(DoctorTest, MoatctlAsksTheMoatdBesideIt) {
  const std::vector<std::string> args = {"--address", place_.File("none.sock"), "doctor"};
  EXPECT_EQ(Run("moatctl", args, EndWhenItAttaches), 3) << err_;
  EXPECT_THAT(out_, HasSubstr("No agent answers at " + place_.File("none.sock")));
  EXPECT_THAT(out_, HasSubstr("BTF tracepoints load here\n"));
  EXPECT_THAT(out_, HasSubstr("What would stay unseen\n"));
  EXPECT_THAT(out_, HasSubstr("\nevery event would have a backend: start moatd\n"));
  EXPECT_THAT(out_, Not(HasSubstr("ask again as root")));
  EXPECT_EQ(Run("moatctl", args, [] { KeepOnly({}); }), 3) << err_;
  EXPECT_THAT(out_, HasSubstr("\nnot every event would have a backend"));
  EXPECT_THAT(out_, HasSubstr("this user is without CAP_BPF, CAP_PERFMON"));
  EXPECT_THAT(out_, HasSubstr("ask again as root"));
}

}  // namespace
}  // namespace moat::e2e
