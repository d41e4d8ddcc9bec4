// SPDX-License-Identifier: Apache-2.0
#include "agent/config/detect.h"

#include <algorithm>
#include <cctype>

#include "agent/config/finding_kinds.h"
#include "agent/config/section.h"

namespace moat::config {
namespace {

void ReadPatterns(Section& section, const char* key, bool pods, std::vector<std::string>& patterns) {
  section.Each(key, [&](const Node& node) {
    const bool text = node.type == Node::Type::kScalar && !node.value.empty() && node.value.size() <= 512;
    const bool letters =
        text && std::ranges::all_of(node.value, [](unsigned char c) {
          return std::isalnum(c) != 0 || std::string_view("-_.@:/*\\").find(static_cast<char>(c)) != std::string_view::npos;
        });
    if (!letters) {
      section.Complain(node, section.Path(key) + "[] must be a name, in which * is any text");
    } else if (const size_t slash = node.value.find('/');
               pods && (slash == std::string::npos || slash == 0 || node.value[0] == '*')) {
      section.Complain(node, section.Path(key) + "[] must be NAMESPACE/NAME, as kube-system/*, not " + Quoted(node.value));
    } else {
      patterns.push_back(node.value);
    }
  });
}

Expected ReadExpected(const Reading& reading, const Node& node) {
  Section section(reading, &node, "detect.expected[]");
  Expected expected;
  ReadFindingKinds(section, expected.kinds);
  if (const Node* kinds = section.Required("kinds"); kinds != nullptr && kinds->items.empty()) {
    section.Complain(node, "detect.expected[].kinds names no kind of finding");
  }
  for (const char* nobodys : {"agent-tampering", "agent-degraded", "events-lost"}) {
    if (std::ranges::find(expected.kinds, nobodys) != expected.kinds.end()) {
      section.Complain(node, std::string("detect.expected[].kinds: ") + nobodys + " is about moatd itself, and no workload's");
    }
  }
  ReadPatterns(section, "pods", true, expected.pods);
  ReadPatterns(section, "units", false, expected.units);
  ReadPatterns(section, "containers", false, expected.containers);
  if (section.Child("pods") == nullptr && section.Child("units") == nullptr && section.Child("containers") == nullptr) {
    section.Complain(node, "detect.expected[] needs pods, units or containers: whose it is");
  }
  section.Text("reason", expected.reason);
  if (section.Required("reason") != nullptr && expected.reason.empty()) {
    section.Complain(node, "detect.expected[].reason is empty: say why it is harmless, for whoever reads this file");
  }
  return expected;
}

}  // namespace

void ReadDetect(const Reading& reading, Section& top, Detect& detect) {
  Section section(reading, top.Child("detect"), "detect");
  section.Flag("enabled", detect.enabled);
  section.Number("fold_ms", detect.fold_ms, 100, 3'600'000);
  section.Number("fold_max_ms", detect.fold_max_ms, 100, 86'400'000);
  section.Number("max_open", detect.max_open, 16, 1u << 20);
  section.Number("exfiltration_percent", detect.exfiltration_percent, 1, 100);
  section.Number("exfiltration_mib", detect.exfiltration_mib, 1, 1u << 20);
  section.Number("exfiltration_served_percent", detect.exfiltration_served_percent, 1, 1000);
  section.Number("exfiltration_copied_percent", detect.exfiltration_copied_percent, 1, 1000);
  section.Number("collection_percent", detect.collection_percent, 1, 100);
  section.Number("collection_window_s", detect.collection_window_s, 1, 30 * 86'400);
  section.Number("collection_learn_s", detect.collection_learn_s, 0, 30 * 86'400);
  section.Number("load_s", detect.load_s, 1, 3600);
  section.Number("lateral_window_s", detect.lateral_window_s, 1, 86'400);
  section.Number("lateral_peers", detect.lateral_peers, 1, 65'536);
  section.Number("lateral_ports", detect.lateral_ports, 1, 65'536);
  section.Number("lateral_failures", detect.lateral_failures, 1, 65'536);
  section.Number("failed_logins", detect.failed_logins, 1, 65'536);
  section.Number("failed_logins_window_s", detect.failed_logins_window_s, 1, 86'400);
  section.Number("failed_logins_users", detect.failed_logins_users, 2, 64);
  section.Number("failed_logins_users_window_s", detect.failed_logins_users_window_s, 1, 7 * 86'400);
  section.Number("failed_logins_slow", detect.failed_logins_slow, 2, 65'536);
  section.Number("dns_window_s", detect.dns_window_s, 1, 86'400);
  section.Number("dns_names", detect.dns_names, 1, 65'536);
  section.Number("dns_length", detect.dns_length, 8, 250);
  section.Number("dns_entropy", detect.dns_entropy, 0, 800);
  section.Number("dns_kib", detect.dns_kib, 1, 1u << 20);
  section.Each("expected", [&](const Node& node) { detect.expected.push_back(ReadExpected(reading, node)); });
}

}  // namespace moat::config
