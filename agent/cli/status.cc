// SPDX-License-Identifier: Apache-2.0
// moatctl status: what the agent says of itself.
#include <cstdio>
#include <string>
#include <vector>

#include "agent/cli/agent_text.h"
#include "agent/cli/client.h"
#include "agent/cli/text.h"
#include "moat/v1/status.pb.h"

namespace moat::cli {

namespace {

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

std::string Heading(const std::string& text, bool color) { return "\n" + Paint(color, Color::kBold, text) + "\n"; }

std::string AssetTable(const v1::AgentStatus& agent, bool color) {
  std::vector<std::vector<std::string>> rows;
  std::string problems;
  for (const auto& asset : agent.assets()) {
    rows.push_back({Safe(asset.name()), Safe(asset.asset_class()), Number(asset.files()), Bytes(asset.bytes())});
    for (const auto& problem : asset.problems()) {
      problems += Paint(color, Color::kYellow, "  " + Safe(asset.name()) + ": " + Safe(problem)) + "\n";
    }
  }
  return Table({"ASSET", "CLASS", "FILES", "SIZE"}, rows, color) + problems;
}

std::string SinkTable(const v1::AgentStatus& agent, bool color) {
  std::vector<std::vector<std::string>> rows;
  std::string problems;
  for (const auto& sink : agent.sinks()) {
    rows.push_back({Safe(sink.name()), Safe(sink.transport()), Safe(sink.encoding()), Number(sink.delivered()),
                    Number(sink.waiting()) + (sink.waiting() > 0 ? ", " + Span(sink.lag_ns()) : ""), Number(sink.lost()),
                    Number(sink.refused())});
    if (sink.failing()) {
      problems += Paint(color, Color::kYellow, "  " + Safe(sink.name()) + ": " + Safe(sink.last_error())) + "\n";
    }
  }
  return Table({"SINK", "TYPE", "ENCODING", "DELIVERED", "WAITING", "LOST", "REFUSED"}, rows, color) + problems;
}

}  // namespace

int RunStatus(const Options& options) {
  v1::AgentStatus agent;
  if (int code = GetStatus(options, false, &agent); code != kExitOk) {
    return code;
  }
  if (options.json) {
    Print(ToJson(agent));
    return kExitOk;
  }
  bool color = options.color;
  Print(Paint(color, Color::kBold, "moatd " + Safe(agent.version())) + " on " + Safe(agent.hostname()) + " (kernel " +
        Safe(agent.kernel()) + "), " +
        (agent.healthy() ? Paint(color, Color::kGreen, "healthy")
                         : Paint(color, Color::kRed, "not healthy: a hook or domain is missing")) +
        "\n");
  Print("up " + Span(agent.uptime_ns()) + ", scope " + Safe(agent.scope()) + ", attached within " +
        std::to_string(agent.attach_ms()) + " ms, CPU " + Span(agent.cpu_ns()) + ", memory " + Bytes(agent.rss_bytes()) + "\n");
  Print(std::to_string(agent.subscribers()) + " subscribers, which lost " + Number(agent.subscriber_losses()) +
        " events by being slow; last event " + Number(agent.last_seq()) + "\n");
  if (agent.has_findings()) {
    const v1::FindingStatus& findings = agent.findings();
    Print(Number(findings.open()) + " findings, seen " + Number(findings.seen()) + " times, told " + Number(findings.told()) +
          " times; " + Number(findings.crowded()) + " times told together, " + Number(findings.closed()) + " findings and " +
          Number(findings.forgotten()) + " things that detectors remember gave way for want of room; " +
          Number(findings.expected()) + " times detect.expected\n");
  }
  Print(Heading("Hooks", color) + HookTable(agent, color));
  if (std::string unseen = UnseenList(agent); !unseen.empty()) {
    Print(Heading("Not seen by these", color) + unseen);
  }
  Print(Heading("Ledger", color) + LedgerTable(agent, color));
  std::vector<std::vector<std::string>> rings;
  for (const auto& ring : agent.rings()) {
    rings.push_back({Safe(ring.name()), Bytes(ring.size_bytes()), Bytes(ring.used_bytes())});
  }
  Print("\n" + Table({"RING", "SIZE", "USED"}, rings, color));
  if (agent.sinks_size() > 0) {
    Print("\n" + SinkTable(agent, color));
  }
  Print("\n" + (agent.assets_size() ? AssetTable(agent, color) : "No assets are configured: nothing is labelled.\n"));
  std::vector<std::vector<std::string>> devices;
  for (const auto& device : agent.devices()) {
    devices.push_back({Safe(device.path()), Safe(device.device_class()), Device(device.rdev())});
  }
  Print("\n" +
        (devices.empty() ? "No accelerator devices are present.\n" : Table({"DEVICE", "CLASS", "NUMBER"}, devices, color)));
  return kExitOk;
}

}  // namespace moat::cli
