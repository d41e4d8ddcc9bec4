// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/finding_text.h"

#include <vector>

namespace moat::cli {
namespace {

std::string WorkloadText(const v1::FindingWorkload& workload) {
  std::string text;
  const auto add = [&](const char* what, const std::string& value) {
    if (!value.empty()) {
      text += (text.empty() ? "" : ", ") + std::string(what) + Safe(value);
    }
  };
  if (!workload.pod_name().empty()) {
    add("pod ", workload.pod_namespace() + "/" + workload.pod_name());
  }
  add("container ", workload.pod_container().empty() ? workload.container_name() : workload.pod_container());
  add("image ", workload.container_image());
  add("Slurm job ", workload.slurm_job());
  add("user ", workload.slurm_user());
  if (text.empty()) {
    add("unit ", workload.unit());
  }
  add("cgroup ", workload.cgroup());
  return text;
}

std::string ProcessText(const v1::FindingProcess& process) {
  std::string text = (process.exe().empty() ? "an unknown program" : Safe(process.exe())) + "[" + std::to_string(process.pid()) +
                     "] uid " + std::to_string(process.uid());
  for (int i = 0; i < process.args_size(); ++i) {
    text += (i == 0 ? ": " : " ") + Safe(process.args(i));
  }
  return text;
}

template <typename List>
std::string Joined(const List& list) {
  std::string text;
  for (const std::string& one : list) {
    text += (text.empty() ? "" : ", ") + Safe(one);
  }
  return text;
}

}  // namespace

std::string SeverityWord(v1::Severity severity) { return EnumWord(v1::Severity_Name(severity), "SEVERITY_", severity); }

Color SeverityColor(v1::Severity severity) {
  return severity >= v1::SEVERITY_HIGH ? Color::kRed : severity == v1::SEVERITY_MEDIUM ? Color::kYellow : Color::kDim;
}

bool SeverityFromWord(const std::string& word, v1::Severity* severity) {
  for (const v1::Severity one :
       {v1::SEVERITY_INFO, v1::SEVERITY_LOW, v1::SEVERITY_MEDIUM, v1::SEVERITY_HIGH, v1::SEVERITY_CRITICAL}) {
    if (SeverityWord(one) == word) {
      *severity = one;
      return true;
    }
  }
  return false;
}

std::string FindingLine(const v1::Finding& finding) {
  return SeverityWord(finding.severity()) + " " + Safe(finding.kind()) +
         (finding.count() > 1 ? ", " + Number(finding.count()) + " times" : "") + ": " + Safe(finding.title());
}

std::string FindingPage(const v1::Finding& finding, bool color) {
  std::string text =
      Paint(color, SeverityColor(finding.severity()), SeverityWord(finding.severity()) + "  " + Safe(finding.title())) + "\n";
  const auto line = [&](const std::string& name, const std::string& value) {
    if (!value.empty()) {
      text += "  " + name + std::string(name.size() < 12 ? 12 - name.size() : 1, ' ') + value + "\n";
    }
  };
  line("id", Safe(finding.id()));
  line("kind", Safe(finding.kind()));
  line("seen", Number(finding.count()) + (finding.count() == 1 ? " time, " : " times, ") + Rfc3339(finding.first_unix_ns()) +
                   (finding.count() == 1 ? "" : " to " + Rfc3339(finding.last_unix_ns())));
  line("confidence", std::to_string(finding.confidence()) + " %");
  line("workload", WorkloadText(finding.workload()));
  for (int i = 0; i < finding.lineage_size(); ++i) {
    line(i == 0 ? "process" : "started by", ProcessText(finding.lineage(i)));
  }
  line("assets", Joined(finding.assets()));
  line("devices", Joined(finding.devices()));
  line("peers", Joined(finding.peers()));
  for (int i = 0; i < finding.evidence_size(); ++i) {
    line(i == 0 ? "evidence" : "", Safe(finding.evidence(i)));
  }
  if (finding.omitted() > 0) {
    line("", "and " + Number(finding.omitted()) + " more that are not named");
  }
  for (int i = 0; i < finding.techniques_size(); ++i) {
    line(i == 0 ? "techniques" : "", Safe(finding.techniques(i).id()) + " " + Safe(finding.techniques(i).name()));
  }
  line("what", Safe(finding.explanation()));
  line("what to do", Safe(finding.action()));
  return text;
}

void JsonFinding(Json& json, const v1::Finding& finding) {
  json.Field("id", finding.id()).Field("revision", finding.revision()).Field("finding_kind", finding.kind());
  json.Field("severity", SeverityWord(finding.severity()))
      .Field("confidence", finding.confidence())
      .Field("count", finding.count());
  json.Field("first_unix_ns", finding.first_unix_ns()).Field("last_unix_ns", finding.last_unix_ns());
  json.Field("title", finding.title()).Field("explanation", finding.explanation()).Field("action", finding.action());
  if (finding.has_workload()) {
    const v1::FindingWorkload& from = finding.workload();
    json.Key("workload").Open('{').Field("cgroup", from.cgroup()).Field("unit", from.unit());
    json.Field("pod_namespace", from.pod_namespace()).Field("pod_name", from.pod_name()).Field("pod_uid", from.pod_uid());
    json.Field("pod_container", from.pod_container()).Field("container_id", from.container_id());
    json.Field("container_name", from.container_name()).Field("container_image", from.container_image());
    json.Field("image_digest", from.image_digest())
        .Field("slurm_job", from.slurm_job())
        .Field("slurm_account", from.slurm_account());
    json.Field("slurm_user", from.slurm_user()).Field("slurm_partition", from.slurm_partition()).Close('}');
  }
  json.Key("lineage").Open('[');
  for (const v1::FindingProcess& process : finding.lineage()) {
    json.Open('{').Field("pid", process.pid()).Field("start_ns", process.start_ns()).Field("uid", process.uid());
    json.Field("exe", process.exe()).Strings("args", process.args()).Close('}');
  }
  json.Close(']');
  json.Strings("assets", finding.assets()).Strings("devices", finding.devices()).Strings("peers", finding.peers());
  json.Strings("evidence", finding.evidence()).Field("omitted", finding.omitted());
  json.Key("techniques").Open('[');
  for (const v1::Technique& technique : finding.techniques()) {
    json.Open('{').Field("id", technique.id()).Field("name", technique.name()).Close('}');
  }
  json.Close(']');
}

}  // namespace moat::cli
