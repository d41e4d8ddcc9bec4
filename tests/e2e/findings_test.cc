// SPDX-License-Identifier: Apache-2.0
// From what a process does to what moatctl findings says of it.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/e2e/agent.h"

namespace moat::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class FindingsTest : public ::testing::Test {
 protected:
  std::string Moatctl(std::vector<std::string> args, int status = 0) { return place_.Moatctl(std::move(args), status); }
  std::string Assets() {
    canary_ = place_.Write("canary", std::string(10'000, 'c'));
    weights_ = place_.Write("weights", std::string(10'000, 'w'));
    return "assets: {inline: [{name: bird, class: canary, paths: [" + canary_ + "]}, {name: model, paths: [" + weights_ +
           "]}]}\n";
  }
  void Open(const std::string& path, int times = 1) {
    EXPECT_EQ(WaitFor(place_.Spawn([&] {
                for (int i = 0; i < times; ++i) {
                  ::close(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
                }
              })),
              0);
  }

  Place place_;
  std::string canary_, weights_;
};

TEST_F(FindingsTest, WhoTouchesACanaryIsFound) {
  Agent agent(place_, Assets());
  ASSERT_TRUE(agent.WaitReady());
  Open(weights_);
  EXPECT_EQ(Moatctl({"findings"}), "nothing was found\n") << "weights are there to be read";
  Open(canary_, 23);
  ASSERT_TRUE(Eventually([&] { return Moatctl({"findings"}).find(" 23 ") != std::string::npos; })) << "all of them, in one";
  const std::string list = Moatctl({"findings"});
  EXPECT_THAT(list, AllOf(HasSubstr("high"), HasSubstr("canary-touched"), HasSubstr("opened the canary bird"),
                          HasSubstr(place_.scope())));
  const std::string id = Moatctl({"findings", "-o", "json"}).substr(sizeof("{\"id\":\"") - 1, 32);
  EXPECT_THAT(Moatctl({"findings", id.substr(0, 10)}),
              AllOf(HasSubstr(id), HasSubstr("23 times"), HasSubstr("AML.T0007"), HasSubstr("what to do")));
  EXPECT_THAT(Moatctl({"findings", "ffff00"}, 1), HasSubstr("is remembered"));
  EXPECT_THAT(Moatctl({"findings", "--min-severity", "critical"}), HasSubstr("0 of 1 that are remembered"));
  EXPECT_THAT(Moatctl({"findings", "--kind", "canary-touchd"}, 2), HasSubstr("canary-touchd"));
  EXPECT_THAT(Moatctl({"findings", "-f", "--count", "1"}), HasSubstr("canary-touched: "));
  EXPECT_THAT(Moatctl({"findings", "-f", "--for", "500ms", "--min-severity", "critical"}), Not(HasSubstr("canary-touched")));
  EXPECT_EQ(Unaccounted(agent.Line(v1::KIND_FINDING)), 0);
  EXPECT_GE(agent.Line(v1::KIND_FINDING).delivered(), 2u) << "the first, and an update";
}

// What a sink writes is what Watch tells: each event once, by its cursor, and nothing that was not asked for.
TEST_F(FindingsTest, ASinkGetsTheEventsThatItAsksFor) {
  const std::string out = place_.File("events.json");
  const auto sink = [&](const std::string& name, const std::string& path) {
    return "  - {name: " + name + ", type: file, path: " + path + ", spool: {path: " + place_.File("spool-" + name) + "}";
  };
  const std::string assets = Assets();
  Agent agent(place_, assets + "sinks:\n" + sink("lake", out) + ", events: [file, exit]}\n" +
                          sink("siem", place_.File("findings.json")) + "}\n" + sink("nowhere", weights_ + "/x") + "}\n");
  ASSERT_TRUE(agent.WaitReady());
  v1::Filter filter;
  filter.add_kinds("file");
  filter.add_kinds("exit");
  Watcher watcher(agent, filter);
  ASSERT_TRUE(watcher.WaitConnected());
  Open(weights_, 700);  // more than one batch
  Open(canary_, 23);
  ASSERT_TRUE(Eventually([&] { return watcher.Count(v1::KIND_FILE_OPEN) >= 723 && watcher.Count(v1::KIND_EXIT) >= 2; }));
  std::map<std::string, int> told, written;
  for (const Watcher::Seen& seen : watcher.seen()) {
    ++told["-" + std::to_string(seen.event.seq())];
  }
  const auto read = [&] {
    written.clear();
    std::ifstream file(out);
    for (std::string line; std::getline(file, line);) {
      const auto json = nlohmann::json::parse(line);
      const std::string uid = json["metadata"]["uid"];
      ++written[uid.substr(uid.find('-'))];
      EXPECT_EQ(json["class_uid"], json["metadata"]["event_code"] == "exit" ? 1007 : 1001) << line;
      EXPECT_EQ(json["actor"]["process"]["pid"].is_number(), true) << line;
    }
    return written.size() >= told.size();
  };
  ASSERT_TRUE(Eventually(read)) << written.size() << " of " << told.size();
  EXPECT_EQ(written, told);
  const auto findings = [&] { return ReadText(place_.File("findings.json")); };
  ASSERT_TRUE(Eventually([&] { return findings().find("opened the canary bird") != std::string::npos; }));
  EXPECT_THAT(findings(), Not(HasSubstr(R"("class_uid":1001)")));
  EXPECT_THAT(Moatctl({"status"}), AllOf(HasSubstr("lake     file  ocsf      " + std::to_string(written.size()) + " "),
                                         HasSubstr("nowhere: " + weights_ + "/x cannot be opened: Not a directory")));
}

TEST_F(FindingsTest, NobodyLooksWhereThatIsSwitchedOff) {
  Agent agent(place_, Assets() + "detect: {enabled: false}\n");
  ASSERT_TRUE(agent.WaitReady());
  Open(canary_);
  EXPECT_THAT(Moatctl({"findings"}, 1), HasSubstr("detect.enabled is false"));
  EXPECT_EQ(agent.Line(v1::KIND_FINDING).attempted(), 0u);
}

}  // namespace
}  // namespace moat::e2e
