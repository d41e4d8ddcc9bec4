// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <charconv>
#include <map>
#include <utility>

#include "agent/base/utf8.h"
#include "tests/unit/sink_tools.h"

namespace moat::sink {
namespace {

using event::FindingKind;
using ::testing::HasSubstr;

const Origin kOrigin = {.hostname = "gpu-node-1", .version = "0.1.0"};

struct Parsed {
  std::vector<std::string> head;
  std::map<std::string, std::string> values;
};

// As the CEF specification tells receivers to: fields of the head end at a bar, values at the next " key=", both without a backslash before.
Parsed Parse(const std::string& line) {
  Parsed parsed;
  size_t at = 0;
  std::string field;
  for (; parsed.head.size() < 7; ++at) {
    if (at >= line.size()) {
      ADD_FAILURE() << "too few fields: " << line;
      return parsed;
    }
    if (line[at] == '\\' && (line[at + 1] == '\\' || line[at + 1] == '|')) {
      field += line[++at];
    } else if (line[at] == '|') {
      parsed.head.push_back(std::exchange(field, ""));
    } else {
      field += line[at];
    }
  }
  std::vector<std::pair<size_t, size_t>> keys;  // where each begins, with the space before it, and where its value begins
  const std::string rest = line.substr(at);
  for (size_t equals = rest.find('='); equals != std::string::npos; equals = rest.find('=', equals + 1)) {
    size_t begin = equals;
    while (begin > 0 && std::isalnum(static_cast<unsigned char>(rest[begin - 1])) != 0) {
      --begin;
    }
    if (begin < equals && (begin == 0 || rest[begin - 1] == ' ')) {
      keys.emplace_back(begin == 0 ? 0 : begin - 1, equals + 1);
    }
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    const size_t end = i + 1 < keys.size() ? keys[i + 1].first : rest.size();
    const size_t space = rest[keys[i].first] == ' ' ? 1 : 0;
    const std::string key = rest.substr(keys[i].first + space, keys[i].second - keys[i].first - space - 1);
    std::string value;
    for (size_t k = keys[i].second; k < end; ++k) {
      if (rest[k] == '\\' && k + 1 < end) {
        const char next = rest[++k];
        value += next == 'n' ? '\n' : next == 'r' ? '\r' : next;
        EXPECT_THAT(std::string("nr\\="), HasSubstr(std::string(1, next))) << "an escape that CEF has not";
      } else {
        value += rest[k];
      }
    }
    EXPECT_EQ(parsed.values.count(key), 0u) << key;
    parsed.values[key] = value;
  }
  return parsed;
}

void AppendCode(std::string& to, uint32_t code) {
  if (code < 0x80) {
    to += static_cast<char>(code);
  } else if (code < 0x800) {
    to += {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
  } else if (code < 0x10000) {
    to +=
        {static_cast<char>(0xe0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
  } else {
    to += {static_cast<char>(0xf0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 63)),
           static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
  }
}

// The other way of what cef.cc says of \u{HEX}.
std::string Undo(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '\\') {
      out += text[at++];
      continue;
    }
    const size_t end = std::min(text.find_first_not_of('\\', at), text.size());
    const size_t run = end - at;
    at = end;
    uint32_t code = 0;
    const char* last = nullptr;
    if (text.compare(at, 2, "u{") == 0) {
      const auto [stop, error] = std::from_chars(text.data() + at + 2, text.data() + text.size(), code, 16);
      last = error == std::errc() && stop != text.data() + text.size() && *stop == '}' && IsUnprintable(code) ? stop : nullptr;
    }
    if (last == nullptr) {
      out.append(run, '\\');
      continue;
    }
    out.append(run / 2, '\\');
    if (run % 2 == 1) {
      AppendCode(out, code);
      at = static_cast<size_t>(last - text.data()) + 1;
    }
  }
  return out;
}

TEST(SinkCefTest, AFindingFieldByField) {
  const std::string line = MakeCef(kOrigin)->Encode(*test::MakeFinding());
  EXPECT_THAT(line, ::testing::StartsWith("CEF:0|moat|moatd|0.1.0|canary-touched|title plain|8|externalId=0123456789abcdef"));
  Parsed parsed = Parse(line);
  auto& values = parsed.values;
  EXPECT_EQ(values["externalId"], "0123456789abcdef0123456789abcdef");
  EXPECT_EQ(values["rt"], "1790000005000");
  EXPECT_EQ(values["start"], "1790000000000");
  EXPECT_EQ(values["cnt"], "7");
  EXPECT_EQ(values["cat"], "canary-touched");
  EXPECT_EQ(values["dvchost"], "gpu-node-1");
  EXPECT_EQ(values["msg"], "explanation plain");
  EXPECT_EQ(values["spid"], "42");
  EXPECT_EQ(values["suid"], "1000");
  EXPECT_EQ(values["sproc"], "/usr/bin/plain");
  EXPECT_EQ(values["cn1Label"], "confidence");
  EXPECT_EQ(values["cn1"], "95");
  EXPECT_EQ(values["cn2"], "3");
  EXPECT_EQ(values["cs1Label"], "techniques");
  EXPECT_EQ(values["cs1"], "AML.T0048.004,T1496,T1071.004,AML.T0007");
  EXPECT_EQ(values["cs2"], "pod prod/vllm-0plain container vllmplain");
  EXPECT_EQ(values["cs3"], "llama-70b\nplain");
  EXPECT_EQ(values["cs6"], "42 /usr/bin/plain python3 plain\n7 /bin/sh sh -c plain\n1 ? ");
  EXPECT_EQ(values["flexString1"], "opened /models/plain\nplain");
  EXPECT_EQ(values["flexString2"], "action plain");
}

TEST(SinkCefTest, SeveritiesAndEveryKind) {
  const std::map<event::Severity, std::string> want = {{event::Severity::kInfo, "1"},
                                                       {event::Severity::kLow, "3"},
                                                       {event::Severity::kMedium, "5"},
                                                       {event::Severity::kHigh, "8"},
                                                       {event::Severity::kCritical, "10"}};
  for (const auto& [severity, number] : want) {
    for (int kind = 0; kind < static_cast<int>(FindingKind::kCount); ++kind) {
      auto finding = test::MakeFinding(static_cast<FindingKind>(kind));
      finding->severity = severity;
      const Parsed parsed = Parse(MakeCef(kOrigin)->Encode(*finding));
      EXPECT_EQ(parsed.head[4], event::FindingKindName(finding->kind));
      EXPECT_EQ(parsed.head[6], number);
    }
  }
  EXPECT_EQ(Parse(MakeCef({})->Encode(event::Finding{})).head.size(), 7u);
}

TEST(SinkCefTest, HostileTextsComeBackAsTheyWere) {
  for (const std::string& text : test::HostileTexts()) {
    SCOPED_TRACE(Printable(text).substr(0, 80));
    const std::string line =
        MakeCef({.hostname = text, .version = text})->Encode(*test::MakeFinding(FindingKind::kDnsTunnel, text));
    ASSERT_TRUE(IsUtf8(line));
    for (std::string_view rest = line; !rest.empty(); rest.remove_prefix(FirstChar(rest).length)) {
      ASSERT_FALSE(IsUnprintable(FirstChar(rest).code));
    }
    const std::string want = ToUtf8(text);
    Parsed parsed = Parse(line);
    ASSERT_EQ(parsed.head.size(), 7u);
    EXPECT_EQ(parsed.head[0], "CEF:0");
    EXPECT_EQ(Undo(parsed.head[3]), want);
    EXPECT_EQ(Undo(parsed.head[5]), "title " + want);
    EXPECT_EQ(parsed.head[6], "8");
    auto& values = parsed.values;
    EXPECT_EQ(Undo(values["msg"]), "explanation " + want);
    EXPECT_EQ(Undo(values["sproc"]), "/usr/bin/" + want);
    EXPECT_EQ(Undo(values["cs3"]), "llama-70b\n" + want);
    EXPECT_EQ(Undo(values["flexString2"]), "action " + want);
    EXPECT_EQ(Undo(values["flexString1"]), "opened /models/" + want + "\n" + want);
    EXPECT_EQ(values["cs1"], "AML.T0048.004,T1496,T1071.004,AML.T0007");
    EXPECT_EQ(values["externalId"], "0123456789abcdef0123456789abcdef");
    // What has no such characters is itself, without undoing anything.
    if (text.find_first_of(std::string("\x1b\0\t", 3)) == std::string::npos && Printable(want) == want) {
      EXPECT_EQ(values["msg"], "explanation " + want);
    }
  }
}

}  // namespace
}  // namespace moat::sink
