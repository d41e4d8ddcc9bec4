// SPDX-License-Identifier: Apache-2.0
#include "agent/api/filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/api_events.h"

namespace moat::api {
namespace {

using event::Kind;
using test::MakeEvent;
using test::MakeProcess;
using testing::HasSubstr;

const Known kKnown{{"llama", "mistral"}, {"/dev/nvidia0"}};

Filter Make(const FilterSpec& spec) {
  auto filter = Filter::Make(spec, kKnown);
  EXPECT_TRUE(filter.has_value()) << filter.error().message;
  filter->Bind(test::MakeNames());
  return *filter;
}

std::string MakeError(const FilterSpec& spec) {
  auto filter = Filter::Make(spec, kKnown);
  EXPECT_FALSE(filter.has_value());
  if (filter) {
    return "";
  }
  EXPECT_EQ(filter.error().code, Code::kInvalidArgument);
  return filter.error().message;
}

event::Event Connect(std::array<uint8_t, 16> address, uint16_t port, bool ipv6 = false) {
  event::Net net;
  net.ep.remote = {address, port};
  net.ep.ipv6 = ipv6;
  return MakeEvent(Kind::kNetConnect, net, MakeProcess(7));
}

TEST(ApiFilter, EmptyTakesAll) {
  Filter filter = Make({});
  EXPECT_TRUE(filter.empty());
  EXPECT_TRUE(filter.Matches(MakeEvent(Kind::kExit, event::Exit{}, nullptr)));
}

TEST(ApiFilter, KindsAndDomains) {
  auto exit = MakeEvent(Kind::kExit, event::Exit{}, MakeProcess(7));
  auto open = MakeEvent(Kind::kFileOpen, event::FileOpen{}, MakeProcess(7));
  EXPECT_TRUE(Make({.kinds = {"exit"}}).Matches(exit));
  EXPECT_FALSE(Make({.kinds = {"exit"}}).Matches(open));
  EXPECT_TRUE(Make({.kinds = {"file"}}).Matches(open));
  EXPECT_TRUE(Make({.kinds = {"exit", "file_open"}}).Matches(open));
  EXPECT_FALSE(Make({.kinds = {"net", "gpu"}}).Matches(open));
}

TEST(ApiFilter, UnknownKindIsNamedWithASuggestion) {
  std::string error = MakeError({.kinds = {"exec", "file_opne"}});
  EXPECT_THAT(error, HasSubstr("no such kind: \"file_opne\""));
  EXPECT_THAT(error, HasSubstr("did you mean 'file_open'?"));
  EXPECT_THAT(error, HasSubstr("net_connect"));
  EXPECT_THAT(MakeError({.kinds = {""}}), HasSubstr("kinds has a value that is empty"));
  EXPECT_THAT(MakeError({.kinds = {"\x1b[31m"}}), HasSubstr("\\x1b[31m"));
}

TEST(ApiFilter, GapsPassUnlessOfAnotherKind) {
  auto gap = [](Kind lost) { return MakeEvent(Kind::kGap, event::Gap{lost, 0, 5}, nullptr); };
  EXPECT_TRUE(Make({.pids = {1}}).Matches(gap(Kind::kExit)));
  EXPECT_TRUE(Make({.kinds = {"file"}}).Matches(gap(Kind::kNone)));
  EXPECT_TRUE(Make({.kinds = {"file"}}).Matches(gap(Kind::kFileOpen)));
  EXPECT_FALSE(Make({.kinds = {"file"}}).Matches(gap(Kind::kExit)));
  EXPECT_TRUE(Make({.kinds = {"gap"}}).Matches(gap(Kind::kExit)));
}

TEST(ApiFilter, Pids) {
  Filter filter = Make({.pids = {9, 7}});
  EXPECT_TRUE(filter.Matches(MakeEvent(Kind::kExit, event::Exit{}, MakeProcess(7))));
  EXPECT_FALSE(filter.Matches(MakeEvent(Kind::kExit, event::Exit{}, MakeProcess(8))));
  EXPECT_TRUE(filter.Matches(MakeEvent(Kind::kFork, event::Fork{{9, 1}}, MakeProcess(8)))) << "the birth of a wanted process";
}

TEST(ApiFilter, CgroupsEndAtAComponent) {
  auto in = [](const char* cgroup) { return MakeEvent(Kind::kExit, event::Exit{}, MakeProcess(7, cgroup)); };
  Filter filter = Make({.cgroups = {"/jobs/job1/"}});
  EXPECT_TRUE(filter.Matches(in("/jobs/job1")));
  EXPECT_TRUE(filter.Matches(in("/jobs/job1/task")));
  EXPECT_FALSE(filter.Matches(in("/jobs/job10")));
  EXPECT_FALSE(filter.Matches(in("/jobs")));
  EXPECT_FALSE(filter.Matches(in(""))) << "not resolved is not a match";
  EXPECT_TRUE(Make({.cgroups = {"/"}}).Matches(in("/jobs")));
  EXPECT_THAT(MakeError({.cgroups = {"jobs"}}), HasSubstr("did you mean \"/jobs\"?"));
}

TEST(ApiFilter, AssetsByBodyAndByLabel) {
  Filter filter = Make({.assets = {"mistral"}});
  event::FileOpen open;
  open.asset = 1;
  EXPECT_TRUE(filter.Matches(MakeEvent(Kind::kFileOpen, open, MakeProcess(7))));
  open.asset = 0;
  EXPECT_FALSE(filter.Matches(MakeEvent(Kind::kFileOpen, open, MakeProcess(7))));
  open.asset = event::kNoAsset;
  EXPECT_FALSE(filter.Matches(MakeEvent(Kind::kFileOpen, open, MakeProcess(7))));
  auto connect = Connect({10, 0, 0, 1}, 443);
  EXPECT_FALSE(filter.Matches(connect));
  connect.header.labels = 2;
  EXPECT_TRUE(filter.Matches(connect));
  EXPECT_THAT(MakeError({.assets = {"lama"}}), HasSubstr("did you mean 'llama'?"));
}

TEST(ApiFilter, AssetNumbersFollowTheNames) {
  Filter filter = Make({.assets = {"mistral"}});
  auto renumbered = std::make_shared<event::Names>();
  renumbered->assets = {{"mistral", "weights", 1}};
  filter.Bind(renumbered);
  event::FileOpen open;
  open.asset = 0;
  EXPECT_TRUE(filter.Matches(MakeEvent(Kind::kFileOpen, open, MakeProcess(7))));
}

TEST(ApiFilter, DevicesByPathAndClass) {
  event::GpuOpen open;
  open.rdev = test::kGpuRdev;
  open.device_class = event::GpuClass::kNvidia;
  auto event = MakeEvent(Kind::kGpuOpen, open, MakeProcess(7));
  EXPECT_TRUE(Make({.devices = {"/dev/nvidia0"}}).Matches(event));
  EXPECT_TRUE(Make({.devices = {"nvidia"}}).Matches(event));
  EXPECT_FALSE(Make({.devices = {"drm"}}).Matches(event));
  EXPECT_FALSE(Make({.devices = {"drm"}}).Matches(Connect({}, 1)));
  EXPECT_THAT(MakeError({.devices = {"/dev/nvidia1"}}), HasSubstr("did you mean '/dev/nvidia0'?"));
}

TEST(ApiFilter, Destinations) {
  EXPECT_TRUE(Make({.destinations = {"10.0.0.0/8"}}).Matches(Connect({10, 200, 3, 4}, 443)));
  EXPECT_FALSE(Make({.destinations = {"10.0.0.0/8"}}).Matches(Connect({11, 0, 0, 0}, 443)));
  EXPECT_TRUE(Make({.destinations = {"10.128.0.0/9"}}).Matches(Connect({10, 128, 0, 0}, 443)));
  EXPECT_FALSE(Make({.destinations = {"10.128.0.0/9"}}).Matches(Connect({10, 127, 0, 0}, 443)));
  EXPECT_TRUE(Make({.destinations = {"10.1.2.3:443"}}).Matches(Connect({10, 1, 2, 3}, 443)));
  EXPECT_FALSE(Make({.destinations = {"10.1.2.3:443"}}).Matches(Connect({10, 1, 2, 3}, 80)));
  EXPECT_TRUE(Make({.destinations = {"*:53"}}).Matches(Connect({1, 1, 1, 1}, 53)));
  EXPECT_TRUE(Make({.destinations = {"*:53"}}).Matches(Connect({0xfd}, 53, true)));
  EXPECT_TRUE(Make({.destinations = {"[fd00::/8]:443"}}).Matches(Connect({0xfd, 1}, 443, true)));
  EXPECT_TRUE(Make({.destinations = {"fd00::/8"}}).Matches(Connect({0xfd, 1}, 1, true)));
  EXPECT_FALSE(Make({.destinations = {"::/0"}}).Matches(Connect({10}, 1))) << "IPv6 does not cover IPv4";
  EXPECT_FALSE(Make({.destinations = {"*"}}).Matches(MakeEvent(Kind::kExit, event::Exit{}, nullptr)));
}

TEST(ApiFilter, ListenersMatchByLocalSide) {
  event::Net net;
  net.ep.local = {{0, 0, 0, 0}, 8000};
  auto listen = MakeEvent(Kind::kNetListen, net, MakeProcess(7));
  EXPECT_TRUE(Make({.destinations = {"*:8000"}}).Matches(listen));
  EXPECT_FALSE(Make({.destinations = {"*:8001"}}).Matches(listen));
}

TEST(ApiFilter, BadDestinationsSayWhatIsWrong) {
  EXPECT_THAT(MakeError({.destinations = {"10.0.0.0/33"}}), HasSubstr("0 to 32"));
  EXPECT_THAT(MakeError({.destinations = {"10.0.0.1/8"}}), HasSubstr("did you mean 10.0.0.0/8?"));
  EXPECT_THAT(MakeError({.destinations = {"10.0.0.0/"}}), HasSubstr("prefix length"));
  EXPECT_THAT(MakeError({.destinations = {"example.org:443"}}), HasSubstr("names are not looked up"));
  EXPECT_THAT(MakeError({.destinations = {"1.2.3.4:0"}}), HasSubstr("1 to 65535"));
  EXPECT_THAT(MakeError({.destinations = {"1.2.3.4:70000"}}), HasSubstr("1 to 65535"));
  EXPECT_THAT(MakeError({.destinations = {"[::1"}}), HasSubstr("not closed"));
  EXPECT_THAT(MakeError({.destinations = {"[::1]x"}}), HasSubstr("only :PORT"));
  EXPECT_THAT(MakeError({.destinations = {std::string("1.2.3.4\0x", 9)}}), HasSubstr("no IP address"));
}

TEST(ApiFilter, FieldsAreAnded) {
  Filter filter = Make({.kinds = {"exit"}, .pids = {7}});
  EXPECT_TRUE(filter.Matches(MakeEvent(Kind::kExit, event::Exit{}, MakeProcess(7))));
  EXPECT_FALSE(filter.Matches(MakeEvent(Kind::kExit, event::Exit{}, MakeProcess(8))));
  EXPECT_FALSE(filter.Matches(MakeEvent(Kind::kExec, event::Exec{}, MakeProcess(7))));
}

TEST(ApiFilter, IsBounded) {
  FilterSpec spec;
  spec.pids.assign(Filter::kMaxValues, 1);
  EXPECT_TRUE(Filter::Make(spec, kKnown).has_value());
  spec.pids.push_back(1);
  EXPECT_THAT(MakeError(spec), HasSubstr("the limit is 64"));
  EXPECT_THAT(MakeError({.cgroups = {"/" + std::string(5000, 'x')}}), HasSubstr("longer than"));
}

}  // namespace
}  // namespace moat::api
