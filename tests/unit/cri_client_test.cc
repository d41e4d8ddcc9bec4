// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/cri_client.h"

#include <gmock/gmock.h>

#include <chrono>

#include "agent/enrich/bounds.h"
#include "tests/unit/fake_runtimes.h"
#include "tests/unit/sanitizer.h"

namespace moat::enrich {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Lt;
using testing::Not;
using Clock = std::chrono::steady_clock;

class CriClientTest : public testing::Test {
 protected:
  void SetUp() override {
    MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
    fake_ = std::make_unique<test::FakeCri>(socket_);
    client_ = CriClient::Create(socket_, limits_);
  }

  test::Folder folder_;
  const std::string socket_ = folder_ / "cri.sock";
  CriLimits limits_{.call_ms = 300, .message_bytes = 4 << 20, .items = 1000};
  std::unique_ptr<test::FakeCri> fake_;
  std::unique_ptr<CriClient> client_;
};

TEST_F(CriClientTest, ReadsPodsContainersAndImages) {
  fake_->AddPod("s1", "prod", "vllm-0", "u1", {{"app", "vllm"}, {"v", ""}});
  fake_->AddContainer("c1", "s1", "server");
  auto* label = fake_->containers.mutable_containers(0)->add_labels();
  label->set_key("k");
  label->set_value("\xc3\xa9");
  EXPECT_EQ(client_->Version().value_or("none"), "fake 1.0");
  const auto lists = client_->List();
  ASSERT_TRUE(lists) << lists.error().message;
  EXPECT_EQ(lists->refused, 0u);
  ASSERT_EQ(lists->pods.size(), 1u);
  EXPECT_EQ(lists->pods[0].sandbox_id, "s1");
  EXPECT_EQ(lists->pods[0].name_space, "prod");
  EXPECT_EQ(lists->pods[0].name, "vllm-0");
  EXPECT_EQ(lists->pods[0].uid, "u1");
  EXPECT_EQ(lists->pods[0].labels, (Labels{{"app", "vllm"}, {"v", ""}}));
  ASSERT_EQ(lists->containers.size(), 1u);
  EXPECT_EQ(lists->containers[0].id, "c1");
  EXPECT_EQ(lists->containers[0].sandbox_id, "s1");
  EXPECT_EQ(lists->containers[0].name, "server");
  EXPECT_EQ(lists->containers[0].labels, (Labels{{"k", "\xc3\xa9"}}));

  const std::string digest = "sha256:" + std::string(64, 'd');
  for (const auto& [ref, want] : std::map<std::string, std::string>{
           {"registry/x/y@" + digest, digest}, {digest, digest}, {"registry/x/y:latest", ""}, {"", ""}}) {
    fake_->status.mutable_image()->set_image("y:latest");
    fake_->status.set_image_ref(ref);
    const auto image = client_->Image("c1");
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->name, "y:latest");
    EXPECT_EQ(image->digest, want) << ref;
  }
}

// One that is bad is left out and counted; its neighbours are there all the same.
TEST_F(CriClientTest, HostileNamesAreRefusedAlone) {
  fake_->AddPod("good", "ns", "p", "u", {{"at", std::string(kMaxLabelBytes - 2, 'v')}});
  fake_->AddPod("bad-utf8", "ns", "p\xff", "u");
  fake_->AddPod("bad-space", "\xed\xa0\x80", "p", "u");
  fake_->AddPod("long", "ns", std::string(kMaxNameBytes + 1, 'x'), "u");
  fake_->AddPod("no-name", "ns", "", "u");
  fake_->AddPod("bad-label", "ns", "p", "u", {{"k\xc0", "v"}});
  fake_->AddPod("bad-value", "ns", "p", "u", {{"k", "\x80"}});
  fake_->AddPod("big-labels", "ns", "p", "u", {{"at", std::string(kMaxLabelBytes - 1, 'v')}});
  Labels many;
  for (size_t i = 0; i <= kMaxLabels; ++i) {
    many.emplace(std::to_string(i), "");
  }
  fake_->AddPod("many-labels", "ns", "p", "u", many);
  fake_->AddPod("", "ns", "p", "u");
  fake_->AddContainer("c", "good", std::string(kMaxNameBytes, 'n'));
  fake_->AddContainer("d", "good", "\xf5");
  fake_->AddContainer("e", "", "n");
  fake_->containers.add_containers();
  const auto lists = client_->List();
  ASSERT_TRUE(lists) << lists.error().message;
  ASSERT_EQ(lists->pods.size(), 1u);
  EXPECT_EQ(lists->pods[0].sandbox_id, "good");
  ASSERT_EQ(lists->containers.size(), 1u);
  EXPECT_EQ(lists->containers[0].id, "c");
  EXPECT_EQ(lists->refused, 9u + 3u);

  fake_->status.set_image_ref("\xff");
  const auto image = client_->Image("c");
  ASSERT_FALSE(image);
  EXPECT_EQ(image.error().code, Code::kDataLoss);
}

TEST_F(CriClientTest, AnswersAreBounded) {
  for (size_t i = 0; i < limits_.items; ++i) {
    fake_->AddPod("s" + std::to_string(i), "ns", "p", "u");
  }
  const auto at_most = client_->List();
  ASSERT_TRUE(at_most) << at_most.error().message;
  EXPECT_EQ(at_most->pods.size(), limits_.items);
  fake_->AddPod("more", "ns", "p", "u");
  const auto more = client_->List();
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, Code::kResourceExhausted);
  EXPECT_THAT(more.error().message, HasSubstr("lists 1001 pods or containers; at most 1000 are read"));

  fake_->pods.Clear();
  fake_->AddPod("s", "ns", std::string(5 << 20, 'x'), "u");
  const auto large = client_->List();
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, Code::kResourceExhausted);
}

TEST_F(CriClientTest, SilenceEndsAtTheDeadline) {
  fake_->delay_ms = 10'000;
  const auto begin = Clock::now();
  const auto lists = client_->List();
  EXPECT_THAT(Clock::now() - begin, AllOf(testing::Ge(std::chrono::milliseconds(250)), Lt(std::chrono::seconds(3))));
  ASSERT_FALSE(lists);
  EXPECT_EQ(lists.error().code, Code::kDeadlineExceeded);
  fake_->delay_ms = 0;
  EXPECT_TRUE(client_->List());
}

TEST_F(CriClientTest, ErrorsAreToldInWordsAndNothingHostileInThem) {
  fake_->fails = static_cast<int>(grpc::StatusCode::UNIMPLEMENTED);
  const auto failed = client_->Version();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kUnimplemented);
  EXPECT_THAT(failed.error().message, AllOf(HasSubstr(socket_), HasSubstr("to fail"), Not(HasSubstr("\x1b"))));
}

TEST_F(CriClientTest, ComesBackWithTheRuntime) {
  EXPECT_TRUE(client_->Version());
  fake_.reset();
  const auto begin = Clock::now();
  const auto gone = client_->Version();
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(3));
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Code::kUnavailable);
  std::filesystem::remove(socket_);
  fake_ = std::make_unique<test::FakeCri>(socket_);
  bool back = false;
  for (int i = 0; i < 100 && !back; ++i) {
    back = client_->Version().has_value();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_TRUE(back);
}

TEST_F(CriClientTest, WhatIsNoRuntimeIsAnErrorInTime) {
  const auto fails_in_time = [&](const std::string& socket) {
    const auto begin = Clock::now();
    EXPECT_FALSE(CriClient::Create(socket, limits_)->List()) << socket;
    EXPECT_LT(Clock::now() - begin, std::chrono::seconds(3)) << socket;
  };
  fails_in_time(folder_ / "none.sock");
  std::filesystem::create_directory(folder_ / "folder.sock");
  fails_in_time(folder_ / "folder.sock");
  fails_in_time("/" + std::string(300, 's'));
  const std::string raw = folder_ / "raw.sock";
  for (const std::string& says : {std::string("HTTP/1.1 400 Bad Request\r\n\r\n"), std::string(100'000, '\xff'), std::string()}) {
    const test::FakeHttp server(raw, [&](int fd, const std::string&) { test::FakeHttp::Say(fd, says); });
    fails_in_time(raw);
    std::filesystem::remove(raw);
  }
}

}  // namespace
}  // namespace moat::enrich
