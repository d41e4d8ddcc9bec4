// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/slurm.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>

#include "tests/unit/fake_runtimes.h"

namespace moat::enrich {
namespace {

using testing::HasSubstr;

std::string Record(const std::string& name, const std::string& comment = "") {
  return "JobId=123 JobName=" + name +
         " UserId=alice(1000) GroupId=users(100) MCS_label=N/A Priority=1 Nice=0 Account=research QOS=normal JobState=RUNNING "
         "Partition=gpu AllocNode:Sid=login:77 ReqNodeList=(null) Command=/bin/train.sh WorkDir=/tmp Comment=" +
         comment + "\n";
}

std::string ErrorOf(const std::string& text, const std::string& job = "123") {
  const auto found = ParseSlurmJob(text, job);
  return found ? "no error: " + found->user : found.error().message;
}

TEST(Slurm, ReadsAJob) {
  const auto job = ParseSlurmJob(Record("train 70b"), "123");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->user, "alice");
  EXPECT_EQ(job->account, "research");
  EXPECT_EQ(job->partition, "gpu");
  const auto bare = ParseSlurmJob("JobId=7 UserId=a(b)(3) Account=(null) Partition=p", "7");
  ASSERT_TRUE(bare) << bare.error().message;
  EXPECT_EQ(bare->user, "a(b)");
  EXPECT_EQ(bare->account, "");
}

TEST(Slurm, AJobArrayIsOneOwners) {
  const std::string tasks =
      "JobId=130 ArrayJobId=123 ArrayTaskId=1 JobName=a UserId=alice(1000) Account=r Partition=gpu\n"
      "JobId=131 ArrayJobId=123 ArrayTaskId=2 JobName=a UserId=alice(1000) Account=r Partition=gpu\n";
  const auto job = ParseSlurmJob(tasks, "123");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->user, "alice");
}

// The owner of a job names it. Whatever they write there, the job is not somebody else's: at worst it is unknown.
TEST(Slurm, NamesCannotImitateFields) {
  EXPECT_THAT(ErrorOf(Record("x UserId=root(0)")), HasSubstr("scontrol tells UserId= twice"));
  EXPECT_THAT(ErrorOf(Record("x\nUserId=root(0) Account=a Partition=p\n")), HasSubstr("scontrol tells UserId= twice"));
  EXPECT_THAT(ErrorOf(Record("x", "Account=secret")), HasSubstr("no error"));  // "Comment=Account=secret": another word
  EXPECT_THAT(ErrorOf(Record("x", "y Account=secret")), HasSubstr("scontrol tells Account= twice"));
  EXPECT_THAT(ErrorOf(Record("x\tPartition=")), HasSubstr("scontrol tells Partition= twice"));
  EXPECT_THAT(ErrorOf(Record("x UserId=alice(1000)")), HasSubstr("no error: alice"));  // says nothing new
}

TEST(Slurm, WhatIsNoAnswerIsAnError) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("tells nothing of job 123"));
  EXPECT_THAT(ErrorOf(Record("x"), "12"), HasSubstr("tells nothing of job 12"));
  EXPECT_THAT(ErrorOf(Record("x"), "1234"), HasSubstr("tells nothing of job 1234"));
  EXPECT_THAT(ErrorOf("XJobId=123 UserId=a(1) Account=b Partition=c"), HasSubstr("tells nothing of job 123"));
  EXPECT_THAT(ErrorOf("JobId=123 Account=b Partition=c"), HasSubstr("tells no UserId="));
  EXPECT_THAT(ErrorOf("JobId=123 UserId=(7) Account=b Partition=c"), HasSubstr("tells no user"));
  EXPECT_THAT(ErrorOf("JobId=123 UserId=a(7) Partition=c"), HasSubstr("tells no Account="));
  EXPECT_THAT(ErrorOf("JobId=123 UserId=a(7) Account=\xff Partition=c"), HasSubstr("tells no Account="));
  EXPECT_THAT(ErrorOf("JobId=123 UserId=a(7) Account=b Partition="), HasSubstr("tells no Partition="));
  EXPECT_THAT(ErrorOf("JobId=123 UserId=a(7) Account=" + std::string(2000, 'x') + " Partition=c"),
              HasSubstr("tells no Account="));
}

TEST(Slurm, RunsTheProgramWithinBounds) {
  const test::Folder folder;
  const auto ask = [&](const std::string& script, const ChildLimits& limits = {.ms = 5000}) {
    const std::string program = folder / "scontrol";
    std::filesystem::remove(program);
    std::ofstream(program) << "#!/bin/sh\n" << script << "\n";
    chmod(program.c_str(), 0755);
    return AskScontrol(program, "123", limits);
  };
  const auto job = ask("test \"$*\" = 'show job 123 -o' && echo 'JobId=123 UserId=bob(7) Account=a Partition=p'");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->user, "bob");
  EXPECT_THAT(ask("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1").error().message,
              HasSubstr("ended with status 1: slurm_load_jobs error"));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(ask("exec sleep 60", {.ms = 100}).error().code, Code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(ask("exec head -c 3000000 /dev/zero").error().code, Code::kResourceExhausted);
  EXPECT_FALSE(AskScontrol(folder / "none", "123", {}));
}

}  // namespace
}  // namespace moat::enrich
