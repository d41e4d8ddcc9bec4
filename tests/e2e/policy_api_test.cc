// SPDX-License-Identifier: Apache-2.0
// Policies through the API and moatctl of a real agent: files and what the kernel decides change together, or neither does.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <thread>

#include "tests/e2e/agent.h"

namespace moat::e2e {
namespace {

using ::testing::HasSubstr;

int Connect(uint16_t port) {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in name{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0 ? 0 : errno;
}

class PolicyApiTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::mkdir(place_.File("policies").c_str(), 0755), 0);
    ASSERT_EQ(::mkdir(place_.File("bpf").c_str(), 0755), 0);
    ASSERT_EQ(::mount("bpf", place_.File("bpf").c_str(), "bpf", 0, nullptr), 0) << std::strerror(errno);
    for (auto* server : {&open_, &shut_}) {
      server->fd = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in name{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
      socklen_t length = sizeof(name);
      ASSERT_EQ(::bind(server->fd.get(), reinterpret_cast<sockaddr*>(&name), length), 0);
      ASSERT_EQ(::listen(server->fd.get(), 512), 0);
      ASSERT_EQ(::getsockname(server->fd.get(), reinterpret_cast<sockaddr*>(&name), &length), 0);
      server->port = ntohs(name.sin_port);
    }
    agent_ =
        std::make_unique<Agent>(place_, "policies: {files: [" + place_.File("policies") + "], pins: " + place_.File("bpf/moat") +
                                            "}\ndomains: {process: false, file: false, gpu: false, net: false}\n");
    ASSERT_TRUE(agent_->WaitReady());
    stub_ = v1::Policies::NewStub(agent_->Channel());
  }
  void TearDown() override {
    agent_.reset();
    std::filesystem::remove_all(place_.File("bpf/moat"));
    EXPECT_EQ(::umount(place_.File("bpf").c_str()), 0) << std::strerror(errno);
  }

  std::string Text(uint16_t port, const std::string& name = "closed") const {
    return "apiVersion: moat/v1\nkind: Policy\nmetadata: {name: " + name +
           "}\nspec:\n  mode: enforce\n  subjects: [{cgroup: " + place_.scope() +
           "}]\n  egress:\n    default: deny\n    allow: [{cidr: 127.0.0.0/8, ports: [" + std::to_string(port) + "/tcp]}]\n";
  }
  int Inside(uint16_t port) const {
    return WaitFor(place_.Spawn([port] { ::_exit(Connect(port)); }));
  }
  v1::ApplyPoliciesResponse Apply(const std::string& text, grpc::StatusCode code = grpc::StatusCode::OK, uint32_t expected = 0) {
    v1::ApplyPoliciesRequest request;
    request.set_expected_generation(expected);
    auto* file = request.add_files();
    file->set_name("given.yaml");
    file->set_text(text);
    v1::ApplyPoliciesResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub_->Apply(&context, request, &response);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    return response;
  }
  v1::PolicySet List() {
    v1::ListPoliciesResponse response;
    grpc::ClientContext context;
    EXPECT_TRUE(stub_->List(&context, {}, &response).ok());
    return response.set();
  }
  uint32_t Rollback() {
    v1::RollbackPoliciesResponse response;
    grpc::ClientContext context;
    const grpc::Status status = stub_->Rollback(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.set().generation();
  }
  std::set<std::string> Pinned() const {
    std::set<std::string> names;
    std::error_code error;  // no such directory: nothing
    for (const auto& entry : std::filesystem::recursive_directory_iterator(place_.File("bpf/moat"), error)) {
      names.insert(entry.path());
    }
    return names;
  }
  // moatctl policy ..., its exit code; what it printed is in out_.
  int Ctl(std::vector<std::string> words) {
    words.insert(words.begin(), {"moatctl", "--address", place_.File("moat.sock"), "policy"});
    const std::string out = place_.File("out");
    const int code = WaitFor(place_.Spawn(
        [&] {
          std::vector<char*> argv;
          for (std::string& word : words) {
            argv.push_back(word.data());
          }
          argv.push_back(nullptr);
          (void)std::freopen(out.c_str(), "w", stdout);
          (void)::dup2(STDOUT_FILENO, STDERR_FILENO);
          ::execv(MOAT_BINARY_DIR "/bin/moatctl", argv.data());
          ::_exit(97);
        },
        false));
    out_ = ReadText(out);
    return code;
  }

  struct Server {
    Fd fd;
    uint16_t port = 0;
  };
  Place place_;
  Server open_, shut_;
  std::unique_ptr<Agent> agent_;
  std::unique_ptr<v1::Policies::Stub> stub_;
  std::string out_;
};

TEST_F(PolicyApiTest, WhatIsAppliedIsWrittenAndDecides) {
  EXPECT_EQ(Inside(shut_.port), 0);
  const v1::ApplyPoliciesResponse applied = Apply("---\n" + Text(open_.port));
  ASSERT_TRUE(applied.applied());
  EXPECT_EQ(applied.set().policies_size(), 1);
  EXPECT_EQ(ReadText(place_.File("policies/closed.yaml")), Text(open_.port));
  EXPECT_EQ(Inside(shut_.port), EPERM);
  EXPECT_EQ(Inside(open_.port), 0);
  EXPECT_EQ(List().policies(0).denied(), 1u);
  EXPECT_EQ(List().policies(0).allowed(), 1u);
  v1::GetPolicyRequest request;
  request.set_name("closed");
  v1::GetPolicyResponse got;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Get(&context, request, &got).ok());
  EXPECT_EQ(got.policy().text(), Text(open_.port));
  EXPECT_EQ(got.rules_size(), 2);
}

TEST_F(PolicyApiTest, ItsOwnRenameMakesNoSecondGeneration) {
  const uint32_t generation = Apply(Text(open_.port)).set().generation();
  std::this_thread::sleep_for(800ms);  // a reading settles for 200 ms
  EXPECT_EQ(List().generation(), generation);
  EXPECT_EQ(Apply(Text(open_.port)).set().generation(), generation) << "nothing is new";
  place_.Write("policies/closed.yaml", Text(shut_.port));
  EXPECT_TRUE(Eventually([&] { return List().generation() != generation; })) << "another's change is read";
}

TEST_F(PolicyApiTest, ABadSetChangesNeitherFileNorKernel) {
  ASSERT_TRUE(Apply(Text(open_.port)).applied());
  const uint32_t generation = List().generation();
  const v1::ApplyPoliciesResponse bad =
      Apply("# mine\n" + Text(shut_.port) + "    holding: [{asset: no-such}]\n---\n" + Text(open_.port, "good"));
  EXPECT_FALSE(bad.applied());
  ASSERT_GE(bad.problems_size(), 1);
  EXPECT_EQ(bad.problems(0).file(), "given.yaml");
  EXPECT_EQ(bad.problems(0).line(), 11u) << bad.problems(0).message();
  EXPECT_FALSE(std::filesystem::exists(place_.File("policies/good.yaml")));
  EXPECT_EQ(ReadText(place_.File("policies/closed.yaml")), Text(open_.port));
  EXPECT_EQ(List().generation(), generation);
  EXPECT_EQ(Inside(shut_.port), EPERM);
  EXPECT_EQ(Inside(open_.port), 0);
  EXPECT_GE(Apply(Text(open_.port, "../out")).problems_size(), 1);
  EXPECT_FALSE(std::filesystem::exists(place_.File("out.yaml")));
  (void)Apply(Text(shut_.port), grpc::StatusCode::ABORTED, generation + 1);
  EXPECT_TRUE(Apply(Text(shut_.port), grpc::StatusCode::OK, generation).applied());
}

TEST_F(PolicyApiTest, ADocumentIsReplacedWhereItStands) {
  const std::string before = "# ours\n---\n" + Text(open_.port, "a") + "---\n" + Text(open_.port, "b");
  place_.Write("policies/both.yaml", before);
  ASSERT_TRUE(Eventually([&] { return List().policies_size() == 2; }));
  ASSERT_TRUE(Apply(Text(shut_.port, "a")).applied());
  EXPECT_EQ(ReadText(place_.File("policies/both.yaml")),
            "# ours\n---\n" + Text(shut_.port, "a") + "---\n" + Text(open_.port, "b"));
  EXPECT_EQ(Ctl({"delete", "a"}), 0) << out_;
  EXPECT_EQ(ReadText(place_.File("policies/both.yaml")), "# ours\n---\n" + Text(open_.port, "b"));
  EXPECT_EQ(Ctl({"delete", "b"}), 0) << out_;
  EXPECT_FALSE(std::filesystem::exists(place_.File("policies/both.yaml")));
  EXPECT_EQ(Inside(shut_.port), 0);
  EXPECT_EQ(Ctl({"delete", "b"}), 1) << out_;
}

TEST_F(PolicyApiTest, RollbackGoesBackAndForward) {
  ASSERT_TRUE(Apply(Text(open_.port)).applied());
  ASSERT_TRUE(Apply(Text(shut_.port)).applied());
  EXPECT_EQ(Inside(open_.port), EPERM);
  Rollback();
  EXPECT_EQ(Inside(open_.port), 0);
  EXPECT_EQ(Inside(shut_.port), EPERM);
  EXPECT_EQ(ReadText(place_.File("policies/closed.yaml")), Text(open_.port));
  Rollback();
  EXPECT_EQ(Inside(open_.port), EPERM);
  EXPECT_EQ(Inside(shut_.port), 0);
  EXPECT_EQ(ReadText(place_.File("policies/closed.yaml")), Text(shut_.port));
}

TEST_F(PolicyApiTest, ClearedUntilTheNextChange) {
  ASSERT_TRUE(Apply(Text(open_.port)).applied());
  const std::set<std::string> kept = Pinned();
  EXPECT_GT(kept.size(), 10u);
  EXPECT_EQ(Ctl({"clear"}), 2) << "it wants --yes";
  EXPECT_EQ(Inside(shut_.port), EPERM);
  EXPECT_EQ(Ctl({"clear", "--yes"}), 0) << out_;
  EXPECT_EQ(Inside(shut_.port), 0);
  EXPECT_EQ(Pinned(), std::set<std::string>()) << "nothing of it would go on without the agent";
  EXPECT_EQ(Ctl({"list"}), 0);
  EXPECT_THAT(out_, HasSubstr("cleared"));
  EXPECT_EQ(ReadText(place_.File("policies/closed.yaml")), Text(open_.port));
  ASSERT_TRUE(Apply(Text(open_.port)).applied());
  EXPECT_EQ(Inside(shut_.port), EPERM);
  EXPECT_FALSE(List().cleared());
  EXPECT_EQ(Pinned(), kept);
  EXPECT_EQ(agent_->End(SIGKILL), 128 + SIGKILL);
  EXPECT_EQ(Inside(shut_.port), EPERM);
}

TEST_F(PolicyApiTest, WhatWasClearedEndsWithAnAgentThatIsKilled) {
  ASSERT_TRUE(Apply(Text(open_.port)).applied());
  ASSERT_EQ(Ctl({"clear", "--yes"}), 0) << out_;
  EXPECT_EQ(agent_->End(SIGKILL), 128 + SIGKILL);
  EXPECT_EQ(Inside(shut_.port), 0);
  EXPECT_EQ(Pinned(), std::set<std::string>());
}

TEST_F(PolicyApiTest, TwoWhoApplyAtOnceBothGetTheirs) {
  std::thread other([&] { EXPECT_TRUE(Apply(Text(open_.port, "one")).applied()); });
  EXPECT_TRUE(Apply(Text(open_.port, "two")).applied());
  other.join();
  EXPECT_EQ(List().policies_size(), 2);
  EXPECT_EQ(Inside(open_.port), 0);
  EXPECT_EQ(Inside(shut_.port), EPERM);
}

// The commands of README's "Policies from the command line".
TEST_F(PolicyApiTest, MoatctlDoesWhatTheReadmeSays) {
  const std::string good = place_.Write("closed.yaml", Text(open_.port)), bad = place_.Write("bad.yaml", "kind: Policy\n");
  EXPECT_EQ(Ctl({"check", good}), 0) << out_;
  EXPECT_EQ(Ctl({"check", bad}), 6) << out_;
  EXPECT_THAT(out_, HasSubstr(bad + ":1:1"));
  EXPECT_EQ(Ctl({"apply", "--dry-run", good}), 0) << out_;
  EXPECT_EQ(Inside(shut_.port), 0);
  EXPECT_EQ(Ctl({"apply", good}), 0) << out_;
  EXPECT_EQ(Inside(shut_.port), EPERM);
  EXPECT_EQ(Ctl({"diff", good}), 0);
  EXPECT_THAT(out_, HasSubstr("no policy would change"));
  place_.Write("closed.yaml", Text(shut_.port));
  EXPECT_EQ(Ctl({"diff", good}), 0);
  EXPECT_THAT(out_, HasSubstr("changed closed"));
  EXPECT_THAT(out_, HasSubstr("+    allow: [{cidr: 127.0.0.0/8, ports: [" + std::to_string(shut_.port)));
  EXPECT_EQ(Ctl({"list"}), 0);
  EXPECT_THAT(out_, HasSubstr("closed  enforce"));
  EXPECT_EQ(Ctl({"get", "closed"}), 0);
  EXPECT_THAT(out_, HasSubstr("egress.default: deny"));
  const auto explain = [&](uint16_t port) {
    return Ctl({"explain", "--cgroup", place_.scope(), "--to", "127.0.0.1:" + std::to_string(port)});
  };
  EXPECT_EQ(explain(open_.port), 0) << out_;
  EXPECT_EQ(explain(shut_.port), 4) << out_;
  EXPECT_THAT(out_, HasSubstr("egress.default: deny"));
  const pid_t child = place_.Spawn([] { ::pause(); });
  EXPECT_TRUE(Eventually([&] {
    return Ctl({"explain", "--pid", std::to_string(child), "--to", "127.0.0.1:" + std::to_string(shut_.port)}) == 4;
  })) << out_;
  ::kill(child, SIGKILL);
  EXPECT_EQ(WaitFor(child), 128 + SIGKILL);
  std::string dry = Text(open_.port);
  dry.replace(dry.find("enforce"), 7, "dry-run");
  place_.Write("closed.yaml", dry);
  EXPECT_EQ(Ctl({"apply", good}), 0) << out_;
  EXPECT_EQ(explain(shut_.port), 5) << out_;
  EXPECT_EQ(Inside(shut_.port), 0);
  EXPECT_EQ(List().policies(0).would_deny(), 1u);
  EXPECT_EQ(Ctl({"rollback"}), 0) << out_;
  EXPECT_EQ(Inside(shut_.port), EPERM);
  EXPECT_EQ(Ctl({"explain", "--unit", "x"}), 2) << out_;
}

TEST_F(PolicyApiTest, WithoutPoliciesTheAgentSaysWhatToWrite) {
  agent_.reset();
  agent_ = std::make_unique<Agent>(place_, "domains: {process: true, file: false, gpu: false, net: false}\n");
  ASSERT_TRUE(agent_->WaitReady());
  EXPECT_EQ(Ctl({"list"}), 1);
  EXPECT_THAT(out_, HasSubstr("policies: {files: ["));
  agent_.reset();
  EXPECT_EQ(Ctl({"list"}), 3) << out_;
  EXPECT_EQ(Ctl({"clear", "--yes"}), 3) << out_;
  EXPECT_THAT(out_, HasSubstr("moatd --unload"));
}

}  // namespace
}  // namespace moat::e2e
