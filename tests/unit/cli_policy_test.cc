// SPDX-License-Identifier: Apache-2.0
// Policies as moatctl shows them, and how files of them are changed. Pure.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "agent/app/policy_documents.h"
#include "agent/cli/policy_text.h"
#include "agent/cli/text_diff.h"
#include "moat/v1/policy.pb.h"

namespace moat {
namespace {

using ::testing::HasSubstr;

TEST(TextDiff, ShowsWhatChangedWithThreeLinesAround) {
  EXPECT_EQ(cli::UnifiedDiff("a\nb\n", "a\nb\n", false), "");
  EXPECT_EQ(cli::UnifiedDiff("", "a\n", false), "@@ -0,0 +1,1 @@\n+a\n");
  EXPECT_EQ(cli::UnifiedDiff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n", false),
            "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n");
  EXPECT_THAT(cli::UnifiedDiff("", "\x1b[2J\n", false), HasSubstr("+\\x1b[2J")) << "no control sequence reaches the terminal";
}

TEST(PolicyText, ShowsWhatIsLeftOfBudgets) {
  v1::ListPoliciesResponse list;
  EXPECT_EQ(cli::PolicyTable(list, false).find("MAY SEND"), std::string::npos);
  v1::PolicyBudget* budget = list.mutable_set()->add_budgets();
  budget->set_policy("sealed");
  budget->set_asset("w\x1b[2J");
  budget->set_workload("job 42");
  budget->set_limit_bytes(10 << 10);
  budget->set_per_seconds(3600);
  budget->set_used_bytes(4 << 10);
  budget->set_remaining_bytes(6 << 10);
  budget->set_dry_run(true);
  EXPECT_THAT(cli::PolicyTable(list, false),
              ::testing::AllOf(HasSubstr("job 42"), HasSubstr("10.0 KiB"), HasSubstr("4.0 KiB"), HasSubstr("6.0 KiB"),
                               HasSubstr("sealed (dry-run)"), HasSubstr("w\\x1b[2J")));
  budget->set_limit_bytes(0);  // of a workload that is gone
  EXPECT_THAT(cli::PolicyTable(list, false), ::testing::AllOf(HasSubstr("4.0 KiB"), ::testing::Not(HasSubstr("6.0 KiB"))));
}

TEST(PolicyText, ReadsPeers) {
  v1::PolicyPeer peer;
  EXPECT_TRUE(cli::ParsePeer("10.0.0.1:443", &peer));
  EXPECT_EQ(peer.address() + " " + peer.protocol() + " " + std::to_string(peer.port()), "10.0.0.1 tcp 443");
  EXPECT_TRUE(cli::ParsePeer("[fd00::1]:53/udp", &peer));
  EXPECT_EQ(peer.address() + " " + peer.protocol() + " " + std::to_string(peer.port()), "fd00::1 udp 53");
  EXPECT_TRUE(cli::ParsePeer("10.0.0.1/icmp", &peer));
  EXPECT_FALSE(cli::ParsePeer("10.0.0.1", &peer));
  EXPECT_FALSE(cli::ParsePeer("fd00::1:53", &peer));
  EXPECT_FALSE(cli::ParsePeer(":", &peer));
}

std::string Doc(const std::string& name, const std::string& more = "") {
  return "apiVersion: moat/v1\nkind: Policy\nmetadata: {name: " + name + "}\n" + more;
}

TEST(PolicyDocuments, ReplacesInPlaceAndAddsWhatIsNew) {
  const std::vector<policy::Source> now = {{.file = "/p/x.yaml", .text = "# head\n---\n" + Doc("a") + "--- # two\n" + Doc("b")}};
  const auto edit = app::PutDocuments(now, {{.file = "g", .text = Doc("a", "spec: 1\n") + "---\n" + Doc("new")}}, "/p");
  ASSERT_TRUE(edit.problems.empty()) << edit.problems[0].message;
  ASSERT_EQ(edit.sources.size(), 2u);
  EXPECT_EQ(edit.sources[0].text, "# head\n---\n" + Doc("a", "spec: 1\n") + "--- # two\n" + Doc("b"));
  EXPECT_EQ(edit.sources[1].file, "/p/new.yaml");
  const config::Problem told = app::InGiven({.file = "/p/x.yaml", .line = 6, .column = 7, .message = "m"}, edit);
  EXPECT_EQ(config::ToString(told), "g:4:7: m");
  EXPECT_EQ(app::InGiven({.file = "/p/x.yaml", .line = 8, .column = 1, .message = "m"}, edit).file, "/p/x.yaml");
}

TEST(PolicyDocuments, RefusesWhatHasNoPlace) {
  for (const char* name : {"../x", "a/b", ".x", "-x", "\"\""}) {
    EXPECT_EQ(app::PutDocuments({}, {{.file = "g", .text = Doc(name)}}, "/p").problems.size(), 1u) << name;
  }
  EXPECT_TRUE(app::PutDocuments({}, {{.file = "g", .text = Doc("x.y-1")}}, "/p").problems.empty());
  EXPECT_FALSE(app::PutDocuments({}, {{.file = "g", .text = Doc("x")}}, "").problems.empty()) << "no directory";
  EXPECT_FALSE(app::PutDocuments({}, {{.file = "g", .text = Doc("x") + "---\n" + Doc("x")}}, "/p").problems.empty()) << "twice";
  EXPECT_FALSE(app::PutDocuments({}, {{.file = "g", .text = Doc("x") + "...\n" + Doc("y")}}, "/p").problems.empty())
      << "parted by ...";
  EXPECT_FALSE(app::PutDocuments({}, {{.file = "g", .text = "# nothing\n"}}, "/p").problems.empty());
}

TEST(PolicyDocuments, WritesAllFilesOrNone) {
  std::string directory = testing::TempDir() + "/moat-policy-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  std::vector<std::string> written;
  const std::vector<policy::Source> first = {{.file = directory + "/a.yaml", .text = "1\n"}};
  ASSERT_TRUE(app::WriteSources({}, first, written));
  EXPECT_EQ(written, std::vector<std::string>{directory + "/a.yaml"});
  const auto read = [&] {
    std::vector<config::Problem> problems;
    return policy::ReadSources({directory}, problems);
  };
  EXPECT_EQ(read(), first);
  std::filesystem::create_symlink("a.yaml", directory + "/z.yaml");
  const std::vector<policy::Source> next = {{.file = directory + "/a.yaml", .text = "2\n"},
                                            {.file = directory + "/z.yaml", .text = "2\n"}};
  const std::vector<policy::Source> linked = {first[0], {.file = directory + "/z.yaml", .text = "1\n"}};
  EXPECT_FALSE(app::WriteSources(linked, next, written)) << "a link is not replaced";
  EXPECT_EQ(read(), linked);
  std::filesystem::remove(directory + "/z.yaml");
  ASSERT_TRUE(app::WriteSources(first, {}, written));
  EXPECT_TRUE(std::filesystem::is_empty(directory)) << "no temporary file is left";
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace moat
