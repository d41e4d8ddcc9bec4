// SPDX-License-Identifier: Apache-2.0
#include "agent/api/finding_message.h"

#include <string>

#include "agent/base/utf8.h"
#include "moat/v1/finding.pb.h"

namespace moat::api {
namespace {

static_assert(int{v1::SEVERITY_INFO} == int(event::Severity::kInfo) &&
              int{v1::SEVERITY_CRITICAL} == int(event::Severity::kCritical));

void SetWorkload(v1::FindingWorkload* to, const event::Workload& from) {
  to->set_cgroup(ToUtf8(from.cgroup));
  to->set_unit(ToUtf8(from.unit));
  to->set_pod_namespace(ToUtf8(from.pod_namespace));
  to->set_pod_name(ToUtf8(from.pod_name));
  to->set_pod_uid(ToUtf8(from.pod_uid));
  to->set_pod_container(ToUtf8(from.pod_container));
  to->set_container_id(ToUtf8(from.container_id));
  to->set_container_name(ToUtf8(from.container_name));
  to->set_container_image(ToUtf8(from.container_image));
  to->set_image_digest(ToUtf8(from.image_digest));
  to->set_slurm_job(ToUtf8(from.slurm_job));
  to->set_slurm_account(ToUtf8(from.slurm_account));
  to->set_slurm_user(ToUtf8(from.slurm_user));
  to->set_slurm_partition(ToUtf8(from.slurm_partition));
}

template <typename Field>
void SetTexts(Field* to, const std::vector<std::string>& from) {
  for (const std::string& text : from) {
    to->Add(ToUtf8(text));
  }
}

}  // namespace

void SetFinding(v1::Finding* to, const event::Finding& from) {
  to->set_id(from.id);
  to->set_revision(from.revision);
  to->set_kind(event::FindingKindName(from.kind));
  to->set_severity(static_cast<v1::Severity>(from.severity));
  to->set_confidence(from.confidence);
  to->set_first_unix_ns(from.first_unix_ns);
  to->set_last_unix_ns(from.last_unix_ns);
  to->set_count(from.count);
  to->set_title(ToUtf8(from.title));
  to->set_explanation(ToUtf8(from.explanation));
  to->set_action(ToUtf8(from.action));
  if (from.workload) {
    SetWorkload(to->mutable_workload(), *from.workload);
  }
  for (const event::FindingProcess& process : from.lineage) {
    v1::FindingProcess* one = to->add_lineage();
    one->set_pid(process.key.pid);
    one->set_start_ns(process.key.start_ns);
    one->set_uid(process.uid);
    one->set_exe(ToUtf8(process.exe));
    SetTexts(one->mutable_args(), process.args);
  }
  SetTexts(to->mutable_assets(), from.assets);
  SetTexts(to->mutable_devices(), from.devices);
  SetTexts(to->mutable_peers(), from.peers);
  SetTexts(to->mutable_evidence(), from.evidence);
  to->set_omitted(from.omitted);
  for (const event::Technique& technique : from.techniques) {
    v1::Technique* one = to->add_techniques();
    one->set_id(std::string(technique.id));
    one->set_name(std::string(technique.name));
  }
}

}  // namespace moat::api
