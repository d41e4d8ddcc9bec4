// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/workload_path.h"

#include <gtest/gtest.h>

namespace moat::enrich {
namespace {

const std::string kId(64, 'a'), kOther(64, 'b');
const std::string kUid = "0f3b1c2d-4e5f-6071-8293-a4b5c6d7e8f9";
const std::string kPod = "/kubepods/burstable/pod" + kUid;
const std::string kUser = "/user.slice/user-1000.slice/user@1000.service";

event::Workload Read(const std::string& path, Teller teller, const std::string& root) {
  const WorkloadPath read = ReadWorkloadPath(path);
  EXPECT_EQ(read.teller, teller) << path;
  EXPECT_EQ(read.root, root) << path;
  EXPECT_EQ(read.told.cgroup, path);
  EXPECT_EQ(read.told.known, root.empty()) << path;
  return read.told;
}

TEST(WorkloadPath, PodsAreAskedOfTheCri) {
  for (const char* below : {"", "/init", "/a/docker/"}) {
    const event::Workload told = Read(kPod + "/" + kId + below, Teller::kCri, kPod + "/" + kId);
    EXPECT_EQ(told.pod_uid, kUid);
    EXPECT_EQ(told.container_id, kId);
  }
  EXPECT_EQ(Read(kPod, Teller::kCri, kPod).container_id, "");
  Read(kPod + "/" + kId + "/docker/" + kOther, Teller::kCri, kPod + "/" + kId);
  const std::string colon =
      "/system.slice/containerd.service/kubepods-pod0f3b1c2d_4e5f_6071_8293_a4b5c6d7e8f9.slice:cri-containerd:" + kId;
  EXPECT_EQ(Read(colon, Teller::kCri, colon).unit, "containerd.service");
  Read("/k8s.io/" + kId, Teller::kCri, "/k8s.io/" + kId);
}

TEST(WorkloadPath, OthersAreAskedOfTheirs) {
  const std::string docker = "/system.slice/docker-" + kId + ".scope";
  EXPECT_EQ(Read(docker + "/x", Teller::kDocker, docker).container_id, kId);
  Read("/docker/" + kId, Teller::kDocker, "/docker/" + kId);
  const std::string podman = "/machine.slice/libpod-" + kId + ".scope";
  Read(podman + "/container", Teller::kNone, podman);
  const std::string job = "/system.slice/slurmstepd.scope/job_123";
  const event::Workload told = Read(job + "/step_0/user/task_0", Teller::kSlurm, job);
  EXPECT_EQ(told.slurm_job, "123");
  EXPECT_EQ(told.unit, "slurmstepd.scope");
  // A container that a job's owner runs in it is the job.
  EXPECT_EQ(Read("/slurm/uid_1000/job_5/step_0/docker/" + kId, Teller::kSlurm, "/slurm/uid_1000/job_5").container_id, "");
}

TEST(WorkloadPath, UnitsNeedNobody) {
  EXPECT_EQ(Read("/system.slice/vllm.service/worker", Teller::kNone, "").unit, "vllm.service");
  EXPECT_EQ(Read("/user.slice/user-1000.slice/session-3.scope", Teller::kNone, "").unit, "session-3.scope");
  EXPECT_EQ(Read("/", Teller::kNone, "").unit, "");
  EXPECT_EQ(Read("", Teller::kNone, "").unit, "");
}

// An unprivileged user's manager gives any name to the units and cgroups below it: none of them is root's unit, container, pod or job.
TEST(WorkloadPath, NamesThatAUserChoseAreNobodys) {
  for (const std::string& claim :
       {std::string("/app.slice/vllm.service"), "/user.slice/docker-" + kId + ".scope",
        "/user.slice/libpod-" + kId + ".scope/container", kPod + "/" + kId, "/docker/" + kId,
        std::string("/slurm/uid_0/job_1/step_0"),
        "/system.slice/containerd.service/kubepods-pod0f3b1c2d_4e5f_6071_8293_a4b5c6d7e8f9.slice:cri-containerd:" + kId}) {
    event::Workload want;
    want.cgroup = kUser + claim;
    want.unit = "user@1000.service";
    EXPECT_EQ(Read(kUser + claim, Teller::kNone, ""), want) << claim;
  }
  // So may a service whose cgroup systemd has delegated to it.
  for (const std::string& claim : {"/docker-" + kId + ".scope", "/docker/" + kId, kPod + "/" + kId,
                                   "/kubepods-pod" + kUid + ".slice:cri-containerd:" + kId}) {
    event::Workload want;
    want.cgroup = "/system.slice/evil.service" + claim;
    want.unit = "evil.service";
    EXPECT_EQ(Read(want.cgroup, Teller::kNone, ""), want) << claim;
  }
}

}  // namespace
}  // namespace moat::enrich
