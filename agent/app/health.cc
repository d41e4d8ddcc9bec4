// SPDX-License-Identifier: Apache-2.0
#include "agent/app/health.h"

#include <utility>

#include "agent/detect/techniques.h"

namespace moat::app {
namespace {

constexpr uint64_t kLagNs = uint64_t{300} * 1'000'000'000;  // a receiver that is restarted is back within minutes

detect::Draft Of(std::string cause, event::Severity severity, std::string title, std::string explanation, std::string action) {
  return {.kind = event::FindingKind::kAgentDegraded,
          .severity = severity,
          .confidence = 100,
          .cause = std::move(cause),
          .title = title,
          .explanation = std::move(explanation),
          .action = std::move(action),
          .evidence = {std::move(title)},
          .techniques = {detect::technique::kImpairDefenses}};
}

}  // namespace

std::vector<detect::Draft> Tampered(const std::vector<std::string>& tampering) {
  std::vector<detect::Draft> drafts;
  drafts.reserve(tampering.size());
  for (const std::string& what : tampering) {
    drafts.push_back(
        {.kind = event::FindingKind::kAgentTampering,
         .severity = event::Severity::kCritical,
         .confidence = 95,
         .cause = what,
         .title = "somebody has laid hands on moat in the kernel: " + what,
         .explanation =
             "moatd looks every few seconds whether what it keeps in the kernel is as it left it, and it was not: " + what +
             ". Until then policies may not have been in force as they are written. Whoever does that is root on this "
             "host, outside of any container or in a privileged one, and knows moat. It is harmless only if an "
             "administrator tries moat's own repair.",
         .action =
             "Take the host for an intruder's: drain it, and look who was root on it in these seconds (moatctl watch --since "
             "oldest). A kernel with BPF LSM or fmod_ret refuses this to every container (moatctl doctor).",
         .evidence = {what},
         .techniques = {detect::technique::kImpairTools}});
  }
  return drafts;
}

std::vector<detect::Draft> Degraded(const api::StatusSnapshot& status, const std::vector<std::string>& problems,
                                    const std::vector<sink::SinkStats>& sinks, const api::ApiCounters& api) {
  std::vector<detect::Draft> drafts;
  for (const DomainStatus& domain : status.domains) {
    if (!domain.loaded && domain.error != "switched off by configuration") {
      drafts.push_back(
          Of("domain " + domain.name, event::Severity::kHigh, "moatd sees nothing of " + domain.name + ": " + domain.error,
             "The kernel does not run moatd's programs for " + domain.name + ", so nothing of that kind is seen on this host.",
             "Run \"moatctl doctor\" on this host: it says what is missing and what to do about it."));
      continue;
    }
    for (const HookStatus& hook : domain.hooks) {
      if (domain.loaded && !hook.attached && !hook.exposure) {
        drafts.push_back(Of("hook " + hook.event, event::Severity::kMedium, "moatd does not see " + hook.event + ": " + hook.why,
                            "No program of moatd's for " + hook.event + " is attached, so this is not seen on this host.",
                            "Run \"moatctl doctor\" on this host."));
      }
    }
  }
  for (const std::string& problem : problems) {
    drafts.push_back(
        Of("policies", event::Severity::kMedium, "policies have mistakes, and older ones are in force: " + problem,
           "The files of policies were changed to something that is not a policy. What was in force before stays in force.",
           "Check the files with \"moatctl policy check\" and mend them."));
  }
  for (const sink::SinkStats& sink : sinks) {
    if (sink.failing && sink.lag_ns > kLagNs) {
      drafts.push_back(Of(
          "sink " + sink.name, event::Severity::kMedium,
          "what is for " + sink.name + " has waited for more than five minutes, and the last attempt failed: " + sink.last_error,
          "What is found, or the events that it asks for, lies on this host's disk until the receiver takes it again; when the spool is full the oldest is "
          "dropped.",
          "Look at the receiver and at the way to it. The spool is delivered when it is back."));
    }
    if (sink::LostBy(sink) > 0) {
      drafts.push_back(Of(
          "sink " + sink.name + " loses", event::Severity::kMedium, "messages on their way to " + sink.name + " were lost",
          "Since this moatd has started, findings, or events that it asks for, did not reach the sink " + sink.name +
              ": its queue or its spool was full, or its spool was damaged. Other sinks and moatctl findings have the findings.",
          "moat_sink_dropped_total says how many. Look at the receiver and at the disk, and give spool.max or queue more "
          "room."));
    }
  }
  if (api.audit.dropped + api.audit.failed > 0) {
    drafts.push_back(
        Of("audit", event::Severity::kMedium, "lines of the API's audit were lost",
           "Since this moatd has started, not every call and connection of the API has its line in the audit: the file "
           "could not be written, or more came than can be written.",
           "Look at the disk of api.audit.file; moat_api_audit_lost_total says how many lines and why."));
  }
  if (api.stale) {
    drafts.push_back(Of(
        "api.tcp", event::Severity::kMedium, "certificates or revocations of the API cannot be read, and older ones are in force",
        "The files of api.tcp were changed to something that is not good. Who was revoked since then still comes in, and "
        "a certificate that ends is not replaced.",
        "The log of moatd names the file. When it is mended it is read within a second."));
  }
  return drafts;
}

}  // namespace moat::app
