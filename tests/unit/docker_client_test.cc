// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/docker_client.h"

#include <gmock/gmock.h>

#include <chrono>

#include "agent/enrich/bounds.h"
#include "tests/unit/fake_runtimes.h"

namespace moat::enrich {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using Clock = std::chrono::steady_clock;

const std::string kId(64, 'a'), kOther(64, 'b');

class DockerClientTest : public testing::Test {
 protected:
  // Answers each request with that text.
  void Serve(std::string answer) {
    ServeBy([this, answer = std::move(answer)](int fd, const std::string& request) {
      request_ = request;
      test::FakeHttp::Say(fd, answer);
    });
  }
  void ServeBy(test::FakeHttp::Serve serve) {
    server_.reset();
    std::filesystem::remove(socket_);
    server_ = std::make_unique<test::FakeHttp>(socket_, std::move(serve));
  }
  static std::string Ok(const std::string& body) { return "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + body; }
  Result<DockerList> Find(const std::vector<std::string>& ids = {kId}) const { return DockerClient(socket_, limits_).Find(ids); }
  // What is said of an answer that is none.
  std::string ErrorOf(const std::string& answer) {
    Serve(answer);
    const auto list = Find();
    return list ? "no error" : list.error().message;
  }

  test::Folder folder_;
  const std::string socket_ = folder_ / "docker.sock";
  const HttpLimits limits_{.ms = 300, .bytes = 1 << 20};
  std::string request_;
  std::unique_ptr<test::FakeHttp> server_;
};

TEST_F(DockerClientTest, ReadsContainers) {
  Serve(Ok(R"([{"Id":")" + kId +
           R"(","Names":["/peer/alias","/web"],"Image":"nginx:1.25","ImageID":"sha256:1",)"
           R"("Labels":{"app":"x","":"y"},"State":"created","Ports":[{"PrivatePort":80}]},)"
           R"({"Id":")" +
           kOther + R"(","Names":["/other"],"Image":"i","ImageID":"","Labels":null}])"));
  const auto list = Find();
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_THAT(request_, StartsWith("GET /containers/json?all=1&filters=%7B%22id%22:%5B%22" + kId + "%22%5D%7D HTTP/1.1\r\n"));
  ASSERT_EQ(list->containers.size(), 1u) << "the other was not asked for";
  EXPECT_EQ(list->containers[0].id, kId);
  EXPECT_EQ(list->containers[0].name, "web");
  EXPECT_EQ(list->containers[0].image, "nginx:1.25");
  EXPECT_EQ(list->containers[0].image_id, "sha256:1");
  EXPECT_EQ(list->containers[0].labels, (Labels{{"app", "x"}, {"", "y"}}));
  EXPECT_EQ(list->refused, 0u);
  Serve(Ok("[]"));
  EXPECT_TRUE(Find({kId, kOther}));
  EXPECT_THAT(request_, HasSubstr("%22" + kId + "%22,%22" + kOther + "%22"));
  Serve(Ok(R"({"Version":"24.0.5"})"));
  EXPECT_EQ(DockerClient(socket_, limits_).Version().value_or("none"), "docker 24.0.5");
}

TEST_F(DockerClientTest, ReadsAnAnswerInPieces) {
  Serve(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[{\"\r\n12\r\nId\":\"x\",\"Names\":[]\r\n2\r\n}]\r\n0\r\n\r\n");
  const auto list = Find();
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->refused, 1u) << "a container without a name";
}

TEST_F(DockerClientTest, HostileContainersAreRefusedAlone) {
  const auto item = [](const std::string& name, const std::string& rest) {
    return R"({"Id":")" + kId + R"(","Names":[")" + name + R"("])" + rest + "}";
  };
  const std::string good = item("/good", R"(,"Image":7)");  // of a wrong type: as if it were not there
  for (const std::string& bad :
       {item("", ""), item("no-slash", ""), item("/" + std::string(kMaxNameBytes + 1, 'x'), ""), item("/a", R"(,"Labels":[])"),
        item("/a", R"(,"Labels":{"k":1})"), item("/a", R"(,"Labels":{"k":")" + std::string(kMaxLabelBytes, 'v') + R"("})"),
        std::string("7"), std::string("null"), R"({"Id":")" + kId + R"("})"}) {
    Serve(Ok("[" + bad + "," + good + "]"));
    const auto list = Find();
    ASSERT_TRUE(list) << list.error().message;
    ASSERT_EQ(list->containers.size(), 1u) << bad.substr(0, 100);
    EXPECT_EQ(list->containers[0].name, "good");
    EXPECT_EQ(list->refused, 1u);
  }
}

TEST_F(DockerClientTest, WhatIsNoAnswerIsAnError) {
  EXPECT_THAT(ErrorOf(Ok("{}")), HasSubstr("its list of containers is none"));
  EXPECT_THAT(ErrorOf(Ok("[{\"Id\":\"\xff\"}]")), HasSubstr("its list of containers is none"));  // no JSON: not UTF-8
  EXPECT_THAT(ErrorOf(Ok("[")), HasSubstr("its list of containers is none"));
  EXPECT_THAT(ErrorOf(Ok(std::string(500'000, '['))), HasSubstr("its list of containers is none"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("no HTTP answer"));
  EXPECT_THAT(ErrorOf("SSH-2.0-x\r\n\r\n[]"), HasSubstr("no HTTP answer"));
  EXPECT_THAT(ErrorOf("HTTP/1.0 200 OK\r\n"), HasSubstr("no HTTP answer"));
  EXPECT_THAT(ErrorOf("HTTP/1.1 403 \x1b[31mForbidden\r\n\r\n[]"), HasSubstr("answers 403 \\x1b[31mForbidden"));
  EXPECT_THAT(ErrorOf("HTTP/1.0 200 OK\r\n\r\n"), HasSubstr("its list of containers is none"));
  EXPECT_THAT(ErrorOf(Ok(std::string(2 << 20, ' '))), HasSubstr("answers more than 1048576 bytes"));
  server_.reset();
  EXPECT_THAT(Find().error().message, HasSubstr("cannot connect to "));
  EXPECT_EQ(Find().error().code, Code::kUnavailable);
  std::filesystem::remove(socket_);
  EXPECT_THAT(Find().error().message, HasSubstr("No such file or directory"));
}

TEST_F(DockerClientTest, SilenceAndDripsEndAtTheDeadline) {
  const auto took = [&] {
    const auto begin = Clock::now();
    const auto list = Find();
    EXPECT_FALSE(list);
    EXPECT_TRUE(list || list.error().code == Code::kDeadlineExceeded);
    return Clock::now() - begin;
  };
  std::atomic<bool> done{false};
  ServeBy([&](int, const std::string&) {
    while (!done) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  EXPECT_LT(took(), std::chrono::seconds(2));
  done = true;
  ServeBy([&](int fd, const std::string&) {
    while (test::FakeHttp::Say(fd, "H")) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  });
  EXPECT_LT(took(), std::chrono::seconds(2));
}

}  // namespace
}  // namespace moat::enrich
