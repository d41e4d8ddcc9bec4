// SPDX-License-Identifier: Apache-2.0
// Findings as CEF:0. What a parser gets back is the text as it was, with one exception that CEF leaves no other way for: control characters
// but line feed and carriage return, and others that move a cursor or turn the reading direction, come back as \u{HEX}, as do line ends in
// the seven fields of the head (CEF has line ends in values only). A backslash run that stands before such a \u{HEX}, or before a text
// that already reads so, is doubled: to undo it, of n backslashes before u{HEX} take n/2, and if n is odd the character. All other
// backslashes are themselves. Bytes that are not UTF-8 become U+FFFD.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "agent/base/utf8.h"
#include "agent/sink/sink.h"

namespace moat::sink {
namespace {

using event::Finding;

enum class Place : uint8_t { kHead, kValue };

bool Passes(char32_t code, Place place) {
  return !IsUnprintable(code) || (place == Place::kValue && (code == '\n' || code == '\r'));
}

// Whether it begins with a "u{HEX}" that stands for a character which does not pass.
bool ReadsEscaped(std::string_view text) {
  if (!text.starts_with("u{")) {
    return false;
  }
  uint32_t code = 0;
  const auto [end, error] = std::from_chars(text.data() + 2, text.data() + text.size(), code, 16);
  return error == std::errc() && end != text.data() + text.size() && *end == '}' && IsUnprintable(code);
}

void AppendCef(std::string& to, std::string_view bytes, Place place) {
  std::string valid = ToUtf8(bytes);
  std::string_view text = valid;
  while (!text.empty()) {
    if (text[0] == '\\') {
      const size_t run = std::min(text.find_first_not_of('\\'), text.size());
      text.remove_prefix(run);
      const bool doubled = !text.empty() && (!Passes(FirstChar(text).code, place) || ReadsEscaped(text));
      to.append(run * (doubled ? 4 : 2), '\\');  // CEF's own doubling comes on top
      continue;
    }
    const Utf8Char first = FirstChar(text);
    if (!Passes(first.code, place)) {
      char escaped[16];
      std::snprintf(escaped, sizeof(escaped), "\\\\u{%x}", static_cast<unsigned>(first.code));
      to += escaped;
    } else if (first.code == '\n' || first.code == '\r') {
      to += first.code == '\n' ? "\\n" : "\\r";
    } else {
      if (text[0] == (place == Place::kHead ? '|' : '=')) {
        to += '\\';
      }
      to += text.substr(0, first.length);
    }
    text.remove_prefix(first.length);
  }
}

class Line {
 public:
  void Head(std::string_view field) {
    AppendCef(text_, field, Place::kHead);
    text_ += '|';
  }
  void Value(const char* key, std::string_view value) {
    if (value.empty()) {
      return;
    }
    text_ += first_ ? "" : " ";
    first_ = false;
    text_ += key;
    text_ += '=';
    AppendCef(text_, value, Place::kValue);
  }
  void Number(const char* key, uint64_t value) { Value(key, std::to_string(value)); }
  void Labelled(const char* key, const char* label, std::string_view value) {
    if (!value.empty()) {
      Value((std::string(key) + "Label").c_str(), label);
      Value(key, value);
    }
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_ = "CEF:0|";
  bool first_ = true;
};

// One a line.
std::string Lines(const std::vector<std::string>& parts) {
  std::string lines;
  for (const std::string& part : parts) {
    lines += (lines.empty() ? "" : "\n") + part;
  }
  return lines;
}

std::string Techniques(const Finding& finding) {
  std::string ids;
  for (const event::Technique& technique : finding.techniques) {
    ids += (ids.empty() ? "" : ",") + std::string(technique.id);
  }
  return ids;
}

std::string CommandLine(const event::FindingProcess& process) {
  std::string line;
  for (const std::string& arg : process.args) {
    line += (line.empty() ? "" : " ") + arg;
  }
  return line;
}

std::string Lineage(const Finding& finding) {
  std::vector<std::string> lines;
  lines.reserve(finding.lineage.size());
  for (const event::FindingProcess& process : finding.lineage) {
    lines.push_back(std::to_string(process.key.pid) + " " + (process.exe.empty() ? "?" : process.exe) + " " +
                    CommandLine(process));
  }
  return Lines(lines);
}

std::string Whose(const event::Workload& of) {
  switch (event::KindOf(of)) {
    case event::WorkloadKind::kJob: return "slurm job " + of.slurm_job + " of " + of.slurm_user;
    case event::WorkloadKind::kPod: return "pod " + of.pod_namespace + "/" + of.pod_name;
    case event::WorkloadKind::kContainer:
      return of.pod_uid.empty() ? "container " + (of.container_name.empty() ? of.container_id : of.container_name)
                                : "pod " + of.pod_namespace + "/" + of.pod_name + " container " + of.pod_container;
    case event::WorkloadKind::kUnit: return "unit " + of.unit;
    default: return of.cgroup.empty() ? "" : "cgroup " + of.cgroup;
  }
}

// 0 to 10, as ArcSight's own words have them: 0-3 low, 4-6 medium, 7-8 high, 9-10 very high.
const char* Severity(event::Severity severity) {
  switch (severity) {
    case event::Severity::kLow: return "3";
    case event::Severity::kMedium: return "5";
    case event::Severity::kHigh: return "8";
    case event::Severity::kCritical: return "10";
    default: return "1";
  }
}

class Cef final : public Encoding {
 public:
  explicit Cef(Origin origin) : origin_(std::move(origin)) {}
  const char* name() const override { return "cef"; }

  std::string Encode(const Finding& finding) const override {
    constexpr uint64_t kMs = 1'000'000;
    const char* kind = event::FindingKindName(finding.kind);
    Line line;
    for (const std::string_view field :
         {std::string_view("moat"), std::string_view("moatd"), std::string_view(origin_.version), std::string_view(kind),
          std::string_view(finding.title), std::string_view(Severity(finding.severity))}) {
      line.Head(field);
    }
    line.Value("externalId", finding.id);
    line.Number("rt", finding.last_unix_ns / kMs);
    line.Number("start", finding.first_unix_ns / kMs);
    line.Number("end", finding.last_unix_ns / kMs);
    line.Number("cnt", finding.count);
    line.Value("cat", kind);
    line.Value("dvchost", origin_.hostname);
    line.Value("msg", finding.explanation);
    if (!finding.lineage.empty()) {
      const event::FindingProcess& process = finding.lineage.front();
      line.Number("spid", process.key.pid);
      line.Value("sproc", process.exe);
      line.Number("suid", process.uid);
    }
    line.Labelled("cn1", "confidence", std::to_string(finding.confidence));
    line.Labelled("cn2", "revision", std::to_string(finding.revision));
    line.Labelled("cn3", "omitted", finding.omitted == 0 ? "" : std::to_string(finding.omitted));
    line.Labelled("cs1", "techniques", Techniques(finding));
    line.Labelled("cs2", "workload", finding.workload ? Whose(*finding.workload) : "");
    line.Labelled("cs3", "assets", Lines(finding.assets));
    line.Labelled("cs4", "devices", Lines(finding.devices));
    line.Labelled("cs5", "peers", Lines(finding.peers));
    line.Labelled("cs6", "lineage", Lineage(finding));
    line.Labelled("flexString1", "evidence", Lines(finding.evidence));
    line.Labelled("flexString2", "recommended action", finding.action);
    return line.Take();
  }

 private:
  const Origin origin_;
};

}  // namespace

std::unique_ptr<Encoding> MakeCef(Origin origin) { return std::make_unique<Cef>(std::move(origin)); }

}  // namespace moat::sink
