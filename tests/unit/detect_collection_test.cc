// SPDX-License-Identifier: Apache-2.0
// Whole assets read by those who are not their readers.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/detect_kit.h"

namespace moat::detect {
namespace {

using event::Severity;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Collection : public testing::Test, public DetectKit {
 protected:
  Collection() { detector = MakeCollection({}); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
};

TEST_F(Collection, AttackReaderThatPoliciesDeny) {
  read = [](auto& who, auto) { return who.exe == "/usr/bin/vllm" ? Declared::kAllowed : Declared::kDenied; };
  Io(Process("/usr/bin/vllm"), kWeightBytes);
  EXPECT_THAT(raised, IsEmpty());
  const auto thief = Process("/usr/bin/python3");
  Io(thief, kWeightBytes);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kWeightCollection);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_EQ(raised[0].process, thief->key);
  EXPECT_THAT(raised[0].assets, ElementsAre("llama-70b"));
}

TEST_F(Collection, AttackPieceByPieceByManyProcesses) {
  read = [](auto&, auto) { return Declared::kDenied; };
  for (int i = 0; i < 100; ++i) {
    Io(Process("/usr/bin/dd"), kWeightBytes / 100, kWeights, /*last=*/true);
  }
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_THAT(raised[0].title, HasSubstr("copied or archived all of llama-70b"));
}

TEST_F(Collection, AttackNewProgramWhereNobodyDeclaredReaders) {
  Work("/vllm", {.unit = "vllm.service"});
  Io(Process("/usr/bin/python3", "/vllm"), kWeightBytes);
  now += 11 * kMinute;
  Io(Process("/usr/bin/python3", "/vllm"), kWeightBytes);  // started anew
  EXPECT_THAT(raised, IsEmpty());
  Io(Process("/usr/bin/python3", "/user.slice/session-3.scope"), kWeightBytes);  // the same program, of a person
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  Io(Process("/usr/bin/tar", "/vllm"), kWeightBytes);
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_GT(raised[1].confidence, raised[0].confidence);  // by its name
}

TEST_F(Collection, AttackMapsAll) {
  read = [](auto&, auto) { return Declared::kDenied; };
  Map(Process("/usr/bin/python3"), kWeightBytes);
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Collection, AttackCopyAmongTheAssetsFiles) {
  read = [](auto&, auto) { return Declared::kDenied; };
  Io(Process("/tmp/x"), kWeightBytes, kWeights, true, kWeightBytes);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_THAT(raised[0].explanation, HasSubstr("it made a copy"));
}

TEST_F(Collection, JustBelowAndJustAbove) {
  read = [](auto&, auto) { return Declared::kDenied; };
  const auto thief = Process("/usr/bin/python3");
  Io(thief, kWeightBytes / 10 * 9 - 1);
  EXPECT_THAT(raised, IsEmpty());
  Io(thief, kWeightBytes / 10 * 9);
  EXPECT_THAT(raised, SizeIs(1));
  Io(thief, kWeightBytes);  // the rest is no second time
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Collection, BenignDeclaredReader) {
  read = [](auto&, auto) { return Declared::kAllowed; };
  for (int i = 0; i < 10; ++i) {
    Io(Process("/usr/bin/python" + std::to_string(i)), kWeightBytes, kWeights, true);
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Collection, BenignInitContainerAndServerOfANewPod) {
  Work("/pod1/init", {.pod_name = "vllm-0", .container_image = "registry:5000/copy:1"});
  Work("/pod1/main", {.pod_name = "vllm-0", .container_image = "vllm/vllm:0.9"});
  Work("/pod2/init", {.pod_name = "vllm-1", .container_image = "registry:5000/copy:2"});
  Work("/pod2/main", {.pod_name = "vllm-1", .container_image = "vllm/vllm@sha256:123"});
  for (const char* pod : {"/pod1", "/pod2"}) {
    Io(Process("/bin/cp", std::string(pod) + "/init"), kWeightBytes, kWeights, true);
    now += kMinute;
    Io(Process("/usr/bin/python3", std::string(pod) + "/main"), kWeightBytes, kWeights, true);
    now += 60 * kMinute;
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Collection, BenignSlurmJobsOfManyUsers) {
  for (int i = 0; i < 20; ++i) {
    const std::string cgroup = "/slurm/job_" + std::to_string(i);
    Work(cgroup, {.slurm_job = std::to_string(i), .slurm_user = "user" + std::to_string(i)});
    Io(Process("/usr/bin/python3", cgroup), kWeightBytes);
    now += 60 * kMinute;
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Collection, BenignPartsNowAndThen) {
  read = [](auto&, auto) { return Declared::kDenied; };
  const auto tool = Process("/usr/bin/python3");
  for (int i = 1; i <= 10; ++i) {
    Io(tool, kWeightBytes / 10 * static_cast<uint64_t>(i));
    now += 61 * kMinute;  // the window
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(Collection, ChecksumIsLow) {
  Io(Process("/usr/bin/python3"), kWeightBytes);
  now += 11 * kMinute;
  Io(Process("/usr/bin/sha256sum"), kWeightBytes);
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kLow);
  Io(Process("/tmp/sha256sum"), kWeightBytes);  // a name is not enough
  ASSERT_THAT(raised, SizeIs(2));
  EXPECT_EQ(raised[1].severity, Severity::kMedium);
}

TEST_F(Collection, WhoseItIsComesLater) {
  Declared answer = Declared::kUnknown;
  read = [&](auto&, auto) { return answer; };
  const auto one = Process("/usr/bin/python3"), other = Process("/usr/bin/other");
  Io(one, kWeightBytes);
  Io(other, kWeightBytes);
  answer = Declared::kAllowed;
  Io(one, kWeightBytes, kWeights, true);
  EXPECT_THAT(raised, IsEmpty());
  answer = Declared::kDenied;
  Io(other, kWeightBytes);
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(Collection, AMillionProcessesAndStillAwake) {
  read = [](auto&, auto) { return Declared::kDenied; };
  const auto one = Process("/usr/bin/python3");
  for (uint32_t i = 0; i < 1'000'000; ++i) {
    event::Process other = *one;
    other.key = {i + 1000, i};
    other.cgroup_id = other.exe_inode = i;
    Io(std::make_shared<const event::Process>(other), kMiB);
  }
  EXPECT_THAT(raised, IsEmpty());
  Io(one, kWeightBytes);
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
