// SPDX-License-Identifier: Apache-2.0
// Each file of tests/policy/bad has all of its mistakes told, and nothing else: "# expect: LINE:COLUMN: MESSAGE" at its end, one for each.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/policy/parse.h"

namespace moat::test {
namespace {

std::vector<std::string> BadFiles() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(MOAT_SOURCE_DIR "/tests/policy/bad")) {
    names.push_back(entry.path().stem());
  }
  std::ranges::sort(names);
  return names;
}

class BadPolicy : public testing::TestWithParam<std::string> {};

TEST_P(BadPolicy, HasEachMistakeTold) {
  const std::string file = GetParam() + ".yaml";
  std::ifstream stream(MOAT_SOURCE_DIR "/tests/policy/bad/" + file);
  std::ostringstream text;
  text << stream.rdbuf();
  std::vector<std::string> expected, told;
  std::istringstream lines(text.str());
  for (std::string line; std::getline(lines, line);) {
    constexpr std::string_view kMark = "# expect: ";
    if (line.starts_with(kMark)) {
      expected.push_back(file + ":" + line.substr(kMark.size()));
    }
  }
  ASSERT_FALSE(expected.empty()) << "no \"# expect: \" in " << file;
  for (const config::Problem& problem : policy::ParseText(text.str(), file).problems) {
    told.push_back(config::ToString(problem));
  }
  EXPECT_EQ(told, expected);
}

std::string NameOf(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Files, BadPolicy, testing::ValuesIn(BadFiles()), NameOf);

TEST(BadPolicies, AreSixtyAndMore) { EXPECT_GE(BadFiles().size(), 60u); }

// Of all files at once, in their order.
TEST(BadPolicies, OfManyFilesAreToldTogether) {
  const std::string folder = MOAT_SOURCE_DIR "/tests/policy/bad";
  const auto problems = policy::ParseAndCheck({folder}).problems;
  size_t files = 0;
  std::string last;
  for (const config::Problem& problem : problems) {
    files += problem.file != last ? 1 : 0;
    last = problem.file;
  }
  EXPECT_EQ(files, BadFiles().size()) << "each file once, so its problems stand together";
}

TEST(BadPolicies, WhatCannotBeReadIsTold) {
  const auto problems = policy::ParseAndCheck({"/nonexistent/policies", MOAT_SOURCE_DIR "/tests/policy/good"}).problems;
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_THAT(config::ToString(problems[0]), testing::HasSubstr("/nonexistent/policies"));
}

std::string Subjects(int count) {
  std::string text = "apiVersion: moat/v1\nkind: Policy\nmetadata: {name: p}\nspec:\n  gpu: {use: allow}\n  subjects:\n";
  for (int i = 0; i < count; ++i) {
    text += "    - unit: u" + std::to_string(i) + ".service\n";
  }
  return text;
}

std::string Rules(int count) {
  std::string text =
      "apiVersion: moat/v1\nkind: Policy\nmetadata: {name: p}\nspec:\n  subjects: [{cgroup: /}]\n  egress:\n    default: deny\n"
      "    allow:\n";
  for (int i = 0; i < count; ++i) {
    text += "      - cidr: 10." + std::to_string(i >> 8) + "." + std::to_string(i & 255) + ".0/24\n";
  }
  return text;
}

std::string Assets(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    text += "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: a" + std::to_string(i) + "}\nspec: {paths: [/a]}\n---\n";
  }
  return text;
}

std::vector<std::string> Told(const std::string& text) {
  std::vector<std::string> told;
  for (const config::Problem& problem : policy::ParseText(text, "p.yaml").problems) {
    told.push_back(config::ToString(problem));
  }
  return told;
}

TEST(Limits, AsManyAsAreStatedAreGoodAndOneMoreIsRefused) {
  using testing::ElementsAre;
  EXPECT_THAT(Told(Subjects(256)), ElementsAre());
  EXPECT_THAT(Told(Subjects(257)),
              ElementsAre("p.yaml:1:1: with this policy there are 257 subjects, and at most 256 are possible"));
  EXPECT_THAT(Told(Rules(10'000)), ElementsAre());
  EXPECT_THAT(Told(Rules(10'001)),
              ElementsAre("p.yaml:1:1: with this policy there are 10001 rules, and at most 10000 are possible"));
  EXPECT_THAT(Told(Assets(64)), ElementsAre());
  EXPECT_THAT(Told(Assets(65)), ElementsAre(testing::HasSubstr("asset \"a64\" is one too many: at most 64 assets")));
}

}  // namespace
}  // namespace moat::test
