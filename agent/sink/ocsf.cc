// SPDX-License-Identifier: Apache-2.0
// Findings as OCSF 1.8.0, class 2004 Detection Finding, with the profiles host, security_control and, for those of a container, container. What OCSF
// has no place for is below unmapped.
#include <algorithm>
#include <utility>

#include "agent/sink/ocsf.h"
#include "agent/sink/ocsf_parts.h"

namespace moat::sink {
namespace {

using event::Finding;
using event::FindingKind;
using ocsf::Json;
using ocsf::PutText;
using ocsf::Text;

constexpr ocsf::Class kDetection = {2004, "Detection Finding"};

struct Named {
  int id;
  const char* caption;
};

Named Confidence(uint8_t percent) {
  return percent < 40 ? Named{1, "Low"} : percent < 75 ? Named{2, "Medium"} : Named{3, "High"};
}

// A sub-technique's number is its technique's, ".", its own; ATLAS has a dot of its own before both.
Json Attack(const event::Technique& technique) {
  const bool atlas = technique.id.starts_with("AML.");
  const size_t dot = technique.id.find('.', atlas ? 4 : 0);
  Json attack = Json::object();
  if (atlas) {
    attack["version"] = "5.6";
  }
  Json named = {{"uid", Text(technique.id)}};
  PutText(named, "name", technique.name);
  if (dot == std::string_view::npos) {
    attack["technique"] = std::move(named);
  } else {
    attack["technique"] = {{"uid", Text(technique.id.substr(0, dot))}};
    attack["sub_technique"] = std::move(named);
  }
  return attack;
}

Json FindingInfo(const Finding& finding) {
  const char* kind = event::FindingKindName(finding.kind);
  Json info = {{"uid", Text(finding.id)},
               {"title", Text(finding.title)},
               {"desc", Text(finding.explanation)},
               {"types", {kind}},
               {"analytic", {{"uid", kind}, {"name", kind}, {"type_id", 1}, {"type", "Rule"}}},
               {"first_seen_time", ocsf::Ms(finding.first_unix_ns)},
               {"last_seen_time", ocsf::Ms(finding.last_unix_ns)},
               {"created_time", ocsf::Ms(finding.first_unix_ns)},
               {"modified_time", ocsf::Ms(finding.last_unix_ns)}};
  for (const event::Technique& technique : finding.techniques) {
    info["attacks"].push_back(Attack(technique));
  }
  return info;
}

// The first one, its parent in it, and so on.
Json Lineage(const std::vector<event::FindingProcess>& lineage) {
  Json chain;
  for (auto process = lineage.rbegin(); process != lineage.rend(); ++process) {
    Json json = ocsf::Process(*process);
    if (!chain.is_null()) {
      json["parent_process"] = std::move(chain);
    }
    chain = std::move(json);
  }
  return chain;
}

Json Evidences(const Finding& finding, const Json& container) {
  Json evidences = Json::array();
  if (Json chain = Lineage(finding.lineage); !chain.is_null()) {
    if (!container.is_null()) {
      chain["container"] = container;
    }
    evidences.push_back({{"name", "process"}, {"process", std::move(chain)}});
  }
  for (const std::string& peer : finding.peers) {
    evidences.push_back({{"name", "peer"}, {"dst_endpoint", ocsf::Endpoint(peer)}});
  }
  for (const std::string& line : finding.evidence) {
    evidences.push_back({{"name", "event"}, {"data", {{"text", Text(line)}}}});
  }
  return evidences;
}

Json Resource(std::string_view name, const char* type, Named role) {
  // An empty name is a name all the same: the resource is what it belongs to.
  return {{"name", Text(name)}, {"type", type}, {"role_id", role.id}, {"role", role.caption}};
}

Json Resources(const Finding& finding) {
  constexpr Named kTarget = {1, "Target"}, kActor = {2, "Actor"};
  Json resources = Json::array();
  for (const std::string& asset : finding.assets) {
    resources.push_back(Resource(asset, "asset", kTarget));
  }
  for (const std::string& device : finding.devices) {
    resources.push_back(Resource(device, "device", kTarget));
  }
  if (!finding.workload) {
    return resources;
  }
  const event::Workload& of = *finding.workload;
  if (!of.pod_uid.empty() || !of.pod_name.empty()) {
    Json pod = Resource(of.pod_name.empty() ? of.pod_uid : of.pod_name, "pod", kActor);
    PutText(pod, "uid", of.pod_uid);
    PutText(pod, "namespace", of.pod_namespace);
    for (const auto& [key, value] : of.pod_labels) {
      pod["tags"].push_back({{"name", Text(key)}, {"value", Text(value)}});
    }
    resources.push_back(std::move(pod));
  } else if (!of.slurm_job.empty()) {
    Json job = Resource(of.slurm_job, "slurm job", kActor);
    if (!of.slurm_user.empty()) {
      job["owner"] = {{"name", Text(of.slurm_user)}};
    }
    if (!of.slurm_account.empty()) {
      job["group"] = {{"name", Text(of.slurm_account)}};
    }
    resources.push_back(std::move(job));
  } else if (of.container_id.empty() && !of.unit.empty()) {
    resources.push_back(Resource(of.unit, "systemd unit", kActor));
  }
  return resources;
}

// What was done about it.
void Disposition(FindingKind kind, Json& json) {
  const auto [action, disposition] = kind == FindingKind::kPolicyDenial ? std::pair{Named{2, "Denied"}, Named{2, "Blocked"}}
                                                                        : std::pair{Named{3, "Observed"}, Named{15, "Detected"}};
  json["action_id"] = action.id;
  json["action"] = action.caption;
  json["disposition_id"] = disposition.id;
  json["disposition"] = disposition.caption;
}

class Ocsf final : public Encoding {
 public:
  explicit Ocsf(Origin origin) : origin_(std::move(origin)) {}
  const char* name() const override { return "ocsf"; }

  std::string Encode(const Finding& finding) const override {
    const Json container = finding.workload ? ocsf::Container(*finding.workload) : Json();
    std::vector<const char*> profiles = {"security_control"};
    if (!container.is_null()) {
      profiles.push_back("container");
    }
    const bool fresh = finding.revision <= 1;
    Json json = ocsf::Base(kDetection, fresh ? 1 : 2, fresh ? "Create" : "Update", finding.severity, finding.last_unix_ns,
                           origin_, profiles);
    const std::string revision = std::to_string(finding.revision);
    json["metadata"]["uid"] = Text(finding.id + "-" + revision);  // of this message; the finding's own is finding_info.uid
    json["metadata"]["correlation_uid"] = Text(finding.id);
    json["metadata"]["event_code"] = event::FindingKindName(finding.kind);
    json["metadata"]["log_name"] = "findings";
    json["message"] = Text(finding.title);
    json["start_time"] = ocsf::Ms(finding.first_unix_ns);
    json["end_time"] = ocsf::Ms(finding.last_unix_ns);
    json["count"] = std::min<uint64_t>(finding.count, ocsf::kLargestInteger);  // exact in unmapped
    const Named confidence = Confidence(finding.confidence);
    json["confidence_id"] = confidence.id;
    json["confidence"] = confidence.caption;
    json["confidence_score"] = finding.confidence;
    json["is_alert"] = true;
    json["status_id"] = fresh ? 1 : 2;
    json["status"] = fresh ? "New" : "In Progress";
    Disposition(finding.kind, json);
    json["finding_info"] = FindingInfo(finding);
    if (!container.is_null()) {
      json["device"]["container"] = container;
    }
    if (Json evidences = Evidences(finding, container); !evidences.empty()) {
      json["evidences"] = std::move(evidences);
    }
    if (Json resources = Resources(finding); !resources.empty()) {
      json["resources"] = std::move(resources);
    }
    if (!finding.action.empty()) {
      json["remediation"] = {{"desc", Text(finding.action)}};
    }
    json["unmapped"] = Unmapped(finding);
    return ocsf::OneLine(json);
  }

  std::string EncodeEvent(const event::Event& event, const event::Names& names, uint64_t time_unix_ns) const override {
    return OcsfEvent(event, names, origin_, time_unix_ns);
  }
  std::string EncodeLifecycle(Lifecycle what, std::string_view message, uint64_t time_unix_ns) const override {
    return OcsfLifecycle(what, message, origin_, time_unix_ns);
  }

 private:
  static Json Unmapped(const Finding& finding) {
    Json own = {{"kind", event::FindingKindName(finding.kind)}, {"revision", finding.revision}, {"count", finding.count}};
    if (finding.omitted > 0) {
      own["omitted"] = finding.omitted;
    }
    if (finding.workload) {
      const event::Workload& of = *finding.workload;
      PutText(own, "cgroup", of.cgroup);
      PutText(own, "unit", of.unit);
      PutText(own, "slurm_partition", of.slurm_partition);
      if (!of.known) {
        own["workload_known"] = false;
      }
    }
    return {{"moat", std::move(own)}};
  }

  const Origin origin_;
};

}  // namespace

std::unique_ptr<Encoding> MakeOcsf(Origin origin) { return std::make_unique<Ocsf>(std::move(origin)); }

}  // namespace moat::sink
