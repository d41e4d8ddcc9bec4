// SPDX-License-Identifier: Apache-2.0
// moatctl watch against a server that is fed by hand: what it prints and with which code it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

#include "agent/api/hub.h"
#include "agent/api/server.h"
#include "agent/cli/options.h"
#include "tests/unit/api_events.h"
#include "tests/unit/sanitizer.h"

namespace moat::cli {
namespace {

using testing::HasSubstr;

class CliWatch : public testing::Test {
 protected:
  void SetUp() override {
    MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
    std::string path = testing::TempDir() + "/moat-cli-XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    directory_ = path;
    config_.socket = directory_ + "/moat.sock";
    config_.audit.file = directory_ + "/audit";  // not among what is captured
    options_.address = "unix://" + config_.socket;
    options_.json = true;
    StartAgent();
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(directory_);
  }
  void StartAgent() {
    hub_ = api::Hub::Create({});
    auto server = api::Server::Start(config_, *hub_, [] { return api::StatusSnapshot{}; });
    ASSERT_TRUE(server.has_value()) << server.error().message;
    server_ = std::move(*server);
  }

  // Runs watch to its end; once it is subscribed, does what is to be done meanwhile.
  int Run(const std::function<void()>& meanwhile = [] {}) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    std::thread other([&] {
      for (int i = 0; i < 1000 && hub_->subscribers() == 0; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      meanwhile();
    });
    int code = RunWatch(options_);
    other.join();
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return code;
  }
  // No subscription is expected.
  int RunAlone() {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    int code = RunWatch(options_);
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return code;
  }
  std::vector<nlohmann::json> Objects() const {
    std::vector<nlohmann::json> objects;
    std::istringstream lines(out_);
    for (std::string line; std::getline(lines, line);) {
      objects.push_back(nlohmann::json::parse(line));
    }
    return objects;
  }

  std::string directory_, out_, err_;
  config::Config config_;
  Options options_;
  std::unique_ptr<api::Hub> hub_;
  std::unique_ptr<api::Server> server_;
};

TEST_F(CliWatch, StopsAtTheCount) {
  options_.count = 700;
  EXPECT_EQ(Run([&] { hub_->OnBatch(test::MakeBatch(1, 1000)); }), kExitOk);
  auto objects = Objects();
  ASSERT_EQ(objects.size(), 700u);
  EXPECT_EQ(objects[699]["seq"], 700);
  EXPECT_EQ(objects[0]["process"]["exe"], "/usr/bin/python3");
  EXPECT_EQ(objects[0]["process"], objects[699]["process"]) << "told once, shown each time";
  EXPECT_THAT(err_, HasSubstr("700 events, 0 missing (gaps), 0 lost"));
}

TEST_F(CliWatch, StopsWhenTheTimeIsUp) {
  options_.for_ms = 300;
  auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Run([&] { hub_->OnBatch(test::MakeBatch(1, 3)); }), kExitOk);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(290));
  EXPECT_EQ(Objects().size(), 3u);
  EXPECT_THAT(err_, HasSubstr("--since "));
}

TEST_F(CliWatch, TheCursorItShowsGoesOn) {
  options_.for_ms = 300;
  EXPECT_EQ(Run([&] { hub_->OnBatch(test::MakeBatch(1, 3)); }), kExitOk);
  size_t at = err_.find("--since ");
  ASSERT_NE(at, std::string::npos) << err_;
  options_.since = err_.substr(at + 8, err_.find('\n', at) - at - 8);
  options_.for_ms = 0;
  options_.count = 2;
  hub_->OnBatch(test::MakeBatch(4, 2));
  EXPECT_EQ(Run(), kExitOk);
  ASSERT_EQ(Objects().size(), 2u);
  EXPECT_EQ(Objects()[0]["seq"], 4);
}

TEST_F(CliWatch, OldestReplays) {
  hub_->OnBatch(test::MakeBatch(1, 5));
  options_.since = "oldest";
  options_.count = 5;
  EXPECT_EQ(Run(), kExitOk);
  EXPECT_EQ(Objects().size(), 5u);
}

TEST_F(CliWatch, GapsAreCountedApart) {
  options_.json = false;
  options_.count = 1;
  EXPECT_EQ(Run([&] {
              auto batch = std::make_shared<event::Batch>();
              batch->events.push_back(test::MakeEvent(event::Kind::kGap, event::Gap{event::Kind::kExec, 0, 12}, nullptr));
              batch->events[0].header.seq = 1;
              hub_->OnBatch(batch);
            }),
            kExitOk);
  EXPECT_THAT(out_, HasSubstr("12 events are missing (exec): ring_full"));
  EXPECT_THAT(err_, HasSubstr("1 events, 12 missing (gaps)"));
}

TEST_F(CliWatch, BadFilterIsUsage) {
  options_.kinds = {"exce"};
  EXPECT_EQ(RunAlone(), kExitUsage);
  EXPECT_THAT(err_, HasSubstr("did you mean 'exec'?"));
}

TEST_F(CliWatch, NobodyThereIsItsOwnCode) {
  options_.address = directory_ + "/none.sock";
  EXPECT_EQ(RunAlone(), kExitUnreachable);
  EXPECT_THAT(err_, HasSubstr("there is no such socket"));
}

TEST_F(CliWatch, AnAgentThatStopsIsItsOwnCode) {
  EXPECT_EQ(Run([&] {
              hub_->OnBatch(test::MakeBatch(1, 3));
              std::this_thread::sleep_for(std::chrono::milliseconds(300));
              server_.reset();
            }),
            kExitUnreachable);
  EXPECT_EQ(Objects().size(), 3u);
  EXPECT_THAT(err_, HasSubstr("has ended"));
  EXPECT_THAT(err_, HasSubstr("3 events"));
}

TEST_F(CliWatch, ReconnectsToANewRunAndSaysSo) {
  options_.reconnect = true;
  options_.count = 5;
  EXPECT_EQ(Run([&] {
              hub_->OnBatch(test::MakeBatch(1, 3));
              std::this_thread::sleep_for(std::chrono::milliseconds(300));
              server_.reset();
              StartAgent();
              hub_->OnBatch(test::MakeBatch(1, 2));
            }),
            kExitOk);
  auto objects = Objects();
  ASSERT_EQ(objects.size(), 6u) << out_;
  EXPECT_EQ(objects[3]["kind"], "lost");
  EXPECT_EQ(objects[3]["agent_restarted"], true);
  EXPECT_THAT(err_, HasSubstr("trying again"));
}

// The program itself, through its main().
class CliMain : public CliWatch {
 protected:
  struct Result {
    int code = 0;
    std::string text;  // both streams
  };
  Result Moatctl(const std::string& arguments, const std::string& before = "") {
    Result result;
    std::string command = "{ " + before + " " MOAT_BINARY_DIR "/bin/moatctl " + arguments + "; } 2>&1";
    FILE* pipe = popen(command.c_str(), "r");
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
      result.text += static_cast<char>(c);
    }
    int status = pclose(pipe);
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
  }
};

TEST_F(CliMain, InterruptAndTerminateEndWell) {
  hub_->OnBatch(test::MakeBatch(1, 3));
  for (const char* signal : {"INT", "TERM"}) {
    Result result = Moatctl("--address " + options_.address + " watch --since oldest",
                            std::string("timeout --preserve-status -k 20 -s ") + signal + " 2");
    EXPECT_EQ(result.code, kExitOk) << signal << ": " << result.text;
    EXPECT_THAT(result.text, HasSubstr("3 events, 0 missing"));
    EXPECT_THAT(result.text, HasSubstr("exit        python3[7]"));
  }
}

TEST_F(CliMain, AReaderThatHasSeenEnoughEndsIt) {
  hub_->OnBatch(test::MakeBatch(1, 3000));
  std::atomic<bool> done{false};
  std::thread more([&] {
    for (uint64_t seq = 3001; !done; seq += 100) {
      hub_->OnBatch(test::MakeBatch(seq, 100));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  Result result =
      Moatctl("--address " + options_.address + " watch --since oldest | head -1'", "bash -c 'set -o pipefail; timeout 30");
  done = true;
  more.join();
  EXPECT_EQ(result.code, kExitOk) << result.text;
}

TEST_F(CliMain, UsageErrorsAreTwo) {
  EXPECT_EQ(Moatctl("").code, kExitUsage);
  EXPECT_EQ(Moatctl("wacth").code, kExitUsage);
  EXPECT_EQ(Moatctl("watch --for soon").code, kExitUsage);
  EXPECT_EQ(Moatctl("watch --pid x").code, kExitUsage);
  EXPECT_EQ(Moatctl("watch --color sometimes").code, kExitUsage);
  EXPECT_EQ(Moatctl("completion tcsh").code, kExitUsage);
}

TEST_F(CliMain, HelpVersionAndCompletionNeedNoAgent) {
  EXPECT_THAT(Moatctl("--help").text, HasSubstr("Exit codes: 0"));
  EXPECT_EQ(Moatctl("watch --help").code, kExitOk);
  EXPECT_THAT(Moatctl("--version").text, HasSubstr("moatctl " MOAT_VERSION));
  for (const char* shell : {"bash", "zsh", "fish"}) {
    Result result = Moatctl(std::string("completion ") + shell);
    EXPECT_EQ(result.code, kExitOk);
    EXPECT_THAT(result.text, HasSubstr("reconnect")) << shell;
    EXPECT_THAT(result.text, HasSubstr("file_tamper")) << shell;
  }
}

TEST_F(CliMain, EnvironmentNamesTheAgentAndColour) {
  hub_->OnBatch(test::MakeBatch(1, 1));
  std::string env = "MOAT_ADDRESS=" + options_.address;
  Result result = Moatctl("watch --since oldest --count 1", env);
  EXPECT_EQ(result.code, kExitOk) << result.text;
  EXPECT_THAT(result.text, testing::Not(HasSubstr("\x1b"))) << "a pipe is no terminal";
  EXPECT_THAT(Moatctl("watch --since oldest --count 1 --color always", env).text, HasSubstr("\x1b[32mexit"));
}

TEST_F(CliMain, StatusAndDoctorTellAnAgentFromNone) {
  EXPECT_EQ(Moatctl("--address " + options_.address + " status").code, kExitOk);
  EXPECT_EQ(Moatctl("--address " + options_.address + " doctor").code, kExitFailed) << "no domain is loaded";
  EXPECT_EQ(Moatctl("--address /nowhere/x.sock status").code, kExitUnreachable);
  const std::string none = "--address /nowhere/x.sock doctor --moatd /nowhere/moatd";
  Result result = Moatctl(none);
  EXPECT_EQ(result.code, kExitUnreachable);
  EXPECT_THAT(result.text, HasSubstr("No agent answers"));
  EXPECT_THAT(result.text, HasSubstr("cgroup2"));
  EXPECT_THAT(result.text, HasSubstr("cannot run /nowhere/moatd: No such file or directory"));
  EXPECT_TRUE(nlohmann::json::accept(Moatctl(none + " -o json").text));
  EXPECT_TRUE(nlohmann::json::accept(Moatctl("--address " + options_.address + " doctor -o json").text));
  EXPECT_TRUE(nlohmann::json::accept(Moatctl("--address " + options_.address + " status -o json").text));
}

}  // namespace
}  // namespace moat::cli
