// SPDX-License-Identifier: Apache-2.0
// moatctl doctor without an agent: the program that it runs, and what it takes from it. Shell scripts play moatd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "agent/base/child.h"
#include "agent/cli/moatd.h"
#include "agent/cli/options.h"
#include "tests/unit/sanitizer.h"

namespace moat::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
namespace fs = std::filesystem;

constexpr const char* kAnswer = R"({
 "version": "0.1.0", "kernel": "6.18.5", "healthy": true,
 "domains": [
  {"name": "process", "loaded": true, "hooks": [
   {"event": "process.exec", "backend": "tp_btf", "program": "moat_process_exec", "attached": true, "why": "BTF tracepoints load here"}]},
  {"name": "gpu", "error": "the verifier said no", "hooks": [
   {"event": "gpu.open", "why": "the verifier said no", "unseen": ["all of it"]}]}],
 "of_a_newer_moatd": [{"x": 1}]
})";

class CliMoatd : public testing::Test {
 protected:
  CliMoatd() : folder_(testing::TempDir() + "/moat-cli-moatd-XXXXXX") { EXPECT_NE(mkdtemp(folder_.data()), nullptr); }
  ~CliMoatd() override { fs::remove_all(folder_); }

  std::string File(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }
  std::string Script(const std::string& text, const std::string& name = "moatd") const {
    const std::string file = File(name, "#!/bin/sh\n" + text + "\n");
    fs::permissions(file, fs::perms::owner_all);
    return file;
  }
  // A moatd that prints this and ends so.
  std::string Moatd(const std::string& out, int status = 0, const std::string& err = "") const {
    return Script("cat '" + File("out", out) + "'; cat '" + File("err", err) + "' >&2; exit " + std::to_string(status));
  }
  pid_t PidIn(const std::string& name) const {
    pid_t pid = 0;
    std::ifstream(folder_ + "/" + name) >> pid;
    return pid;
  }

  struct Ran {
    int code = 0;
    std::string text;  // both streams
  };
  static Ran Doctor(const std::string& moatd, const std::string& more = "") {
    Ran ran;
    FILE* pipe = popen(
        (MOAT_BINARY_DIR "/bin/moatctl --address /nowhere/x.sock doctor --moatd " + moatd + " " + more + " 2>&1").c_str(), "r");
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
      ran.text += static_cast<char>(c);
    }
    ran.code = WEXITSTATUS(pclose(pipe));
    return ran;
  }

  std::string folder_;
};

// Whether a process that is not our child is there and no zombie.
bool Lives(pid_t pid) {
  std::string line;
  std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/stat"), line);
  return !line.empty() && line.find(") Z ") == std::string::npos;
}

TEST_F(CliMoatd, AChildsWordsAndStatusAreTaken) {
  auto result = RunChild(Script("cat; echo \"$1 $2\"; echo bad >&2; exit 7"), {"one", "two three"}, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->status, 7);
  EXPECT_EQ(result->out, "one two three\n") << "and cat met /dev/null";
  EXPECT_EQ(result->err, "bad\n");
  result = RunChild(Script("kill -9 $$"), {}, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->status, 128 + SIGKILL);
}

TEST_F(CliMoatd, WhatCannotBeRunIsSaid) {
  auto result = RunChild(folder_ + "/none", {}, {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "cannot run " + folder_ + "/none: No such file or directory");
  result = RunChild(File("plain", "x"), {}, {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kPermissionDenied) << result.error().message;
}

TEST_F(CliMoatd, AChildThatHangsIsKilledAndNothingElseIs) {
  const auto begin = std::chrono::steady_clock::now();
  const auto result = RunChild(
      Script("cd '" + folder_ + "'; echo $$ > own; sleep 60 & echo $! > other; echo half; exec sleep 61"), {}, {.ms = 1000});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kDeadlineExceeded) << result.error().message;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  EXPECT_EQ(kill(PidIn("own"), 0), -1);
  EXPECT_EQ(errno, ESRCH) << "killed and reaped";
  ASSERT_GT(PidIn("other"), 0);
  EXPECT_TRUE(Lives(PidIn("other")));
  kill(PidIn("other"), SIGKILL);
}

TEST_F(CliMoatd, WhatAChildLeavesBehindIsNotWaitedFor) {
  const auto begin = std::chrono::steady_clock::now();
  const auto result = RunChild(Script("sleep 60 & echo $! > '" + folder_ + "/other'; echo done"), {}, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->out, "done\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(9)) << "it holds the pipe for a minute";
  EXPECT_TRUE(Lives(PidIn("other")));
  kill(PidIn("other"), SIGKILL);
}

TEST_F(CliMoatd, OutputIsBounded) {
  const auto bytes = [&](size_t count) { return RunChild(Script("head -c " + std::to_string(count) + " /dev/zero"), {}, {}); };
  auto result = bytes(1 << 20);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->out.size(), 1u << 20);
  result = bytes((1 << 20) + 1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kResourceExhausted) << result.error().message;
  result = RunChild(Script("exec yes"), {}, {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kResourceExhausted) << "and one that never stops is stopped";
  result = RunChild(Script("head -c 3000000 /dev/zero >&2; echo done"), {}, {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->out, "done\n") << "a full pipe of errors does not hold it up";
  EXPECT_EQ(result->err.size(), 16u << 10);
}

TEST_F(CliMoatd, IsFoundBesideMoatctlThenOnThePath) {
  fs::create_directories(folder_ + "/beside");
  fs::create_directories(folder_ + "/path");
  fs::create_directories(folder_ + "/folder/moatd");
  EXPECT_EQ(FindMoatd("given", folder_ + "/path", folder_ + "/beside").value(), "given");
  EXPECT_EQ(FindMoatd("", folder_ + "/path", folder_ + "/beside").error().code, Code::kNotFound);
  Script("", "path/moatd");
  const std::string path = "relative::" + folder_ + "/folder:" + folder_ + "/path";
  EXPECT_EQ(FindMoatd("", path, folder_ + "/beside").value(), folder_ + "/path/moatd");
  File("beside/moatd", "not executable");
  EXPECT_EQ(FindMoatd("", path, folder_ + "/beside").value(), folder_ + "/path/moatd");
  Script("", "beside/moatd");
  EXPECT_EQ(FindMoatd("", path, folder_ + "/beside").value(), folder_ + "/beside/moatd");
  EXPECT_EQ(OwnFolder(), fs::read_symlink("/proc/self/exe").parent_path());
  // A moatd that lies in the current folder is nobody's wish.
  const fs::path before = fs::current_path();
  fs::current_path(folder_ + "/path");
  EXPECT_FALSE(FindMoatd("", ".::relative", ""));
  fs::current_path(before);
}

TEST_F(CliMoatd, AnAnswerIsTakenWithStatus0And1Alone) {
  for (const int status : {0, 1, 2, 3, 127}) {
    const auto answer = AskMoatd(Moatd(kAnswer, status, "\nfirst\nthe file is bad\n\n"));
    EXPECT_EQ(answer.has_value(), status < 2) << status;
    if (answer) {
      EXPECT_EQ(answer->domains_size(), 2);
      EXPECT_EQ(answer->domains(1).hooks(0).unseen(0), "all of it");
    } else {
      EXPECT_THAT(answer.error().message,
                  testing::EndsWith(" --doctor ended with status " + std::to_string(status) + ": the file is bad"));
    }
  }
  EXPECT_EQ(AskMoatd(Script("test \"$*\" = --doctor && echo '" + std::string(kAnswer) + "'")).value().kernel(), "6.18.5");
}

TEST_F(CliMoatd, CutAndWrongAnswersAreRefused) {
  const std::string whole = kAnswer;
  for (size_t length = 0; length < whole.size(); length += 37) {
    const auto answer = AskMoatd(Moatd(whole.substr(0, length)));
    ASSERT_FALSE(answer) << length;
    EXPECT_EQ(answer.error().code, Code::kDataLoss) << answer.error().message;
  }
  const std::string nested(100'000, '[');
  for (const std::string& wrong :
       {std::string("{}"), std::string("[]"), std::string("null"), std::string("7"), std::string("all is well\n"),
        std::string(R"({"domains": "all"})"), std::string(R"({"domains": [{"hooks": 7}]})"), nested, "{\"domains\": " + nested,
        "{\"unknown\": " + nested, std::string("\0\0\0", 3), whole + whole}) {
    EXPECT_FALSE(AskMoatd(Moatd(wrong))) << wrong.substr(0, 80);
  }
}

TEST_F(CliMoatd, NamesAndRowsAreBounded) {
  const auto ask = [&](size_t name, int hooks) {
    auto json = nlohmann::json::parse(kAnswer);
    json["domains"][0]["hooks"][0]["program"] = std::string(name, 'x');
    json["domains"][1]["hooks"] = std::vector(static_cast<size_t>(hooks), json["domains"][1]["hooks"][0]);
    return AskMoatd(Moatd(json.dump()));
  };
  EXPECT_TRUE(ask(64, 999));
  EXPECT_FALSE(ask(65, 999));
  EXPECT_FALSE(ask(64, 1000));
}

TEST_F(CliMoatd, AHangIsToldAsOne) {
  const auto answer = AskMoatd(Script("exec sleep 60"), {.ms = 200});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().message, folder_ + "/moatd did not end within 200 ms");
  EXPECT_EQ(ChildLimits().ms, 10'000u) << "what --help promises";
}

TEST_F(CliMoatd, DoctorShowsWhatAnAgentWouldGet) {
  MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
  const Ran ran = Doctor(Moatd(kAnswer, 1));
  EXPECT_EQ(ran.code, kExitUnreachable);
  EXPECT_THAT(ran.text, HasSubstr("No agent answers at /nowhere/x.sock.\n\nWhat an agent that this user starts now would get"));
  EXPECT_THAT(ran.text, HasSubstr("process  process.exec  tp_btf   moat_process_exec  BTF tracepoints load here\n"));
  EXPECT_THAT(ran.text, HasSubstr("would not be seen: the verifier said no\n"));
  EXPECT_THAT(ran.text, HasSubstr("domain gpu is not loaded: the verifier said no\n"));
  EXPECT_THAT(ran.text, HasSubstr("What would stay unseen\n  gpu.open: all of it\n"));
  EXPECT_THAT(ran.text, HasSubstr("not every event would have a backend"));
  const auto json = nlohmann::json::parse(Doctor(Moatd(kAnswer, 1), "-o json").text);
  EXPECT_TRUE(json["agent"].is_null());
  EXPECT_EQ(json["would_get"]["domains"][1]["hooks"][0]["unseen"][0], "all of it");
  EXPECT_EQ(json["would_get_error"], "");
}

TEST_F(CliMoatd, DoctorCallsItGoodOnlyWhenEveryRowIs) {
  MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
  auto json = nlohmann::json::parse(kAnswer);
  json["domains"].erase(1);
  const Ran ran = Doctor(Moatd(json.dump()));
  EXPECT_EQ(ran.code, kExitUnreachable) << "there is still no agent";
  EXPECT_THAT(ran.text, HasSubstr("every event would have a backend: start moatd"));
  EXPECT_THAT(ran.text, Not(HasSubstr("not every event")));
  EXPECT_THAT(ran.text, Not(HasSubstr("What would stay unseen")));
}

TEST_F(CliMoatd, DoctorSaysWhyMoatdCannotBeAsked) {
  MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
  Ran ran = Doctor(Moatd("", 2, "moatd.yaml:3:1: unknown key\n"));
  EXPECT_EQ(ran.code, kExitUnreachable);
  EXPECT_THAT(ran.text, HasSubstr("ended with status 2: moatd.yaml:3:1: unknown key\n"));
  EXPECT_THAT(ran.text, HasSubstr("--moatd PATH"));
  EXPECT_THAT(ran.text, HasSubstr("cgroup2")) << "the host's facts are there all the same";
  const auto json = nlohmann::json::parse(Doctor(Moatd("{", 0), "-o json").text);
  EXPECT_TRUE(json["would_get"].is_null());
  EXPECT_THAT(json["would_get_error"].get<std::string>(), HasSubstr("not the answer of moatd --doctor"));
}

// The program may not be moatd at all: nothing that it says may reach the terminal as a command.
TEST_F(CliMoatd, HostileAnswersAreEscaped) {
  MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
  const std::string hostile =
      "\x1b]0;owned\x07\nfake line\r\xc2\x9b"
      "31m";
  auto answer = nlohmann::json::parse(kAnswer);
  for (const char* field : {"event", "backend", "program", "why"}) {
    answer["domains"][0]["hooks"][0][field] = answer["domains"][1]["hooks"][0][field] = hostile;
  }
  answer["domains"][1]["name"] = answer["domains"][1]["error"] = answer["domains"][1]["hooks"][0]["unseen"][0] = hostile;
  const std::string raw = "{\"domains\": [{\"name\": \"\xff\x1b[31m\", \"error\": \"\xc0\x9b\"}]}";
  for (const Ran& ran : {Doctor(Moatd(answer.dump())), Doctor(Moatd(answer.dump()), "-o json"), Doctor(Moatd(raw)),
                         Doctor(Moatd("", 9, "bad " + hostile)), Doctor(Moatd("", 9, "bad " + hostile), "-o json")}) {
    EXPECT_EQ(ran.code, kExitUnreachable);
    EXPECT_THAT(ran.text, Not(HasSubstr("\xc2\x9b")));
    EXPECT_THAT(ran.text, Not(HasSubstr("\nfake")));
    for (const char c : ran.text) {
      ASSERT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << ran.text;
    }
  }
}

}  // namespace
}  // namespace moat::cli
