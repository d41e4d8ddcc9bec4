// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/container.h"

#include <gtest/gtest.h>

namespace moat::enrich {
namespace {

const std::string kId(64, 'a');
const std::string kOther(64, 'b');
const std::string kUid = "0f3b1c2d-4e5f-6071-8293-a4b5c6d7e8f9";
const std::string kUidSlice = "0f3b1c2d_4e5f_6071_8293_a4b5c6d7e8f9";

struct Case {
  std::string path;
  Container want;
};

void Check(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.path);
    Container got = ParseContainer(c.path);
    EXPECT_EQ(got.runtime, c.want.runtime);
    EXPECT_EQ(got.pod_uid, c.want.pod_uid);
    EXPECT_EQ(got.container_id, c.want.container_id);
    EXPECT_EQ(got.slurm_job, c.want.slurm_job);
    EXPECT_EQ(got.slurm_step, c.want.slurm_step);
    EXPECT_EQ(got.unit, c.want.unit);
    EXPECT_EQ(got.user, c.want.user);
  }
}

TEST(Container, Kubernetes) {
  const std::string slice = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + kUidSlice + ".slice";
  const std::string kubelet =
      "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" + kUidSlice +
      ".slice";
  Check({
      {slice, {.pod_uid = kUid}},
      {slice + "/cri-containerd-" + kId + ".scope", {.runtime = Runtime::kContainerd, .pod_uid = kUid, .container_id = kId}},
      {slice + "/crio-" + kId + ".scope", {.runtime = Runtime::kCrio, .pod_uid = kUid, .container_id = kId}},
      {slice + "/crio-" + kId + ".scope/container", {.runtime = Runtime::kCrio, .pod_uid = kUid, .container_id = kId}},
      {slice + "/docker-" + kId + ".scope", {.runtime = Runtime::kDocker, .pod_uid = kUid, .container_id = kId}},
      {"/kubepods.slice/kubepods-pod" + kUidSlice + ".slice/cri-containerd-" + kId + ".scope/init",
       {.runtime = Runtime::kContainerd, .pod_uid = kUid, .container_id = kId}},
      {"/kubepods/burstable/pod" + kUid + "/" + kId, {.runtime = Runtime::kOther, .pod_uid = kUid, .container_id = kId}},
      {"/kubepods/pod" + kUid + "/" + kId, {.runtime = Runtime::kOther, .pod_uid = kUid, .container_id = kId}},
      {"/kubepods/besteffort/pod" + kUid + "/crio-" + kId, {.runtime = Runtime::kCrio, .pod_uid = kUid, .container_id = kId}},
      {"/kubelet/kubepods/pod" + kUid + "/" + kId, {.runtime = Runtime::kOther, .pod_uid = kUid, .container_id = kId}},
      {kubelet + "/cri-containerd-" + kId + ".scope", {.runtime = Runtime::kContainerd, .pod_uid = kUid, .container_id = kId}},
      {"/system.slice/containerd.service/kubepods-burstable-pod" + kUidSlice + ".slice:cri-containerd:" + kId,
       {.runtime = Runtime::kContainerd, .pod_uid = kUid, .container_id = kId, .unit = "containerd.service"}},
      // A static pod's uid is a hash without dashes.
      {"/kubepods/pod" + std::string(32, '7') + "/" + kId,
       {.runtime = Runtime::kOther, .pod_uid = std::string(32, '7'), .container_id = kId}},
  });
}

TEST(Container, DockerContainerdPodman) {
  Check({
      {"/docker/" + kId, {.runtime = Runtime::kDocker, .container_id = kId}},
      {"/docker/" + kId + "/app", {.runtime = Runtime::kDocker, .container_id = kId}},
      {"/system.slice/docker-" + kId + ".scope", {.runtime = Runtime::kDocker, .container_id = kId}},
      {"/system.slice/nerdctl-" + kId + ".scope", {.runtime = Runtime::kContainerd, .container_id = kId}},
      {"/default/" + kId, {.runtime = Runtime::kContainerd, .container_id = kId}},
      {"/machine.slice/libpod-" + kId + ".scope/container", {.runtime = Runtime::kPodman, .container_id = kId}},
      {"/libpod_parent/libpod-" + kId, {.runtime = Runtime::kPodman, .container_id = kId}},
      // conmon is not the container.
      {"/machine.slice/libpod-conmon-" + kId + ".scope", {.unit = "libpod-conmon-" + kId + ".scope"}},
      {"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + kId + ".scope/container",
       {.runtime = Runtime::kPodman, .container_id = kId, .user = true}},
  });
}

TEST(Container, Slurm) {
  Check({
      {"/system.slice/slurmstepd.scope/job_123/step_0/user/task_0",
       {.slurm_job = "123", .slurm_step = "0", .unit = "slurmstepd.scope"}},
      {"/system.slice/node7_slurmstepd.scope/job_9/step_batch/slurm",
       {.slurm_job = "9", .slurm_step = "batch", .unit = "node7_slurmstepd.scope"}},
      {"/slurm/uid_1000/job_5/step_extern/task_1", {.slurm_job = "5", .slurm_step = "extern"}},
      {"/slurm_node7/uid_0/job_6", {.slurm_job = "6"}},
      {"/slurm/uid_1000/job_x/step_0", {}},
      {"/system.slice/slurmstepd.scope/system", {.unit = "slurmstepd.scope"}},
  });
}

TEST(Container, Systemd) {
  Check({
      {"", {}},
      {"/", {}},
      {"/init.scope", {.unit = "init.scope"}},
      {"/system.slice/vllm.service", {.unit = "vllm.service"}},
      {"/system.slice/vllm.service/worker", {.unit = "vllm.service"}},
      {"/system.slice/system-getty.slice/getty@tty1.service", {.unit = "getty@tty1.service"}},
      {"/user.slice/user-1000.slice/session-3.scope", {.unit = "session-3.scope"}},
      {"/user.slice/user-1000.slice/user@1000.service/app.slice/jupyter.service", {.unit = "jupyter.service", .user = true}},
      {"/user.slice/user-1000.slice/user@1000.service/init.scope", {.unit = "init.scope", .user = true}},
      {"/moat-test", {}},
  });
}

// Names that a workload may give to cgroups below its own do not change what it is.
TEST(Container, LiesBelowOnesOwnCgroupChangeNothing) {
  const std::string pod = "/kubepods/pod" + kUid + "/" + kId;
  const std::string user = "/user.slice/user-1000.slice/user@1000.service";
  Check({
      {pod + "/docker-" + kOther + ".scope", {.runtime = Runtime::kOther, .pod_uid = kUid, .container_id = kId}},
      {pod + "/kubepods/pod11111111-1111-1111-1111-111111111111/" + kOther,
       {.runtime = Runtime::kOther, .pod_uid = kUid, .container_id = kId}},
      {user + "/kubepods.slice/kubepods-pod" + kUidSlice + ".slice", {.user = true}},
      {user + "/slurm/uid_0/job_1/step_0", {.user = true}},
      {"/system.slice/evil.service/kubepods/pod" + kUid, {.unit = "evil.service"}},
      {"/system.slice/evil.service/slurmstepd.scope/job_1/step_0", {.unit = "evil.service"}},
  });
}

TEST(Container, WhatIsNotQuiteAnIdIsNone) {
  Check({
      {"/docker/" + std::string(63, 'a'), {}},
      {"/docker/" + std::string(64, 'A'), {}},
      {"/docker/" + std::string(64, 'g'), {}},
      {"/docker/buildkit", {}},
      {"/" + kId, {}},
      {"/kubepods/pod1234/" + kId, {}},
      {"/kubepods/pod" + kUid.substr(0, 35) + "-/x", {}},
      {"/kubepods", {}},
      {"//docker//" + kId + "//", {.runtime = Runtime::kDocker, .container_id = kId}},
      {std::string(100'000, '/'), {}},
  });
}

TEST(Container, RootIsWhatTheRuntimeMade) {
  const std::string pod = "/kubepods/burstable/pod" + kUid, job = "/slurm/uid_1000/job_5";
  EXPECT_EQ(ParseContainer(pod).root, pod);
  EXPECT_EQ(ParseContainer(pod + "/system.slice").root, pod);
  EXPECT_EQ(ParseContainer(pod + "/" + kId + "/a/b").root, pod + "/" + kId);
  EXPECT_EQ(ParseContainer("//docker/" + kId + "/docker/" + kOther).root, "/docker/" + kId);
  EXPECT_EQ(ParseContainer(job + "/step_0/docker/" + kId).root, job);
  EXPECT_EQ(ParseContainer("/slurm/uid_1000/job_x").root, "");
  EXPECT_EQ(ParseContainer("/system.slice/vllm.service").root, "");
}

TEST(Container, RuntimeNames) {
  EXPECT_STREQ(RuntimeName(Runtime::kNone), "");
  EXPECT_STREQ(RuntimeName(Runtime::kDocker), "docker");
  EXPECT_STREQ(RuntimeName(Runtime::kContainerd), "containerd");
  EXPECT_STREQ(RuntimeName(Runtime::kCrio), "cri-o");
  EXPECT_STREQ(RuntimeName(Runtime::kPodman), "podman");
  EXPECT_STREQ(RuntimeName(Runtime::kOther), "other");
}

}  // namespace
}  // namespace moat::enrich
