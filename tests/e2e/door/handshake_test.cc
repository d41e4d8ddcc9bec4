// SPDX-License-Identifier: Apache-2.0
// Clients that must not get past the handshake: each is refused, and audited once with the reason.
#include <gmock/gmock.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <functional>
#include <iostream>
#include <map>

#include "tests/e2e/door/kit.h"

namespace moat::e2e {
namespace {

using ::testing::HasSubstr;

struct WrongClient {
  std::string name, reason;
  std::function<void()> run;
};

class DoorHandshakeTest : public DoorTest {
 protected:
  // Refused and audited once, one after the other.
  void Check(const std::vector<WrongClient>& clients) {
    for (const WrongClient& client : clients) {
      SCOPED_TRACE(client.name);
      const size_t before = Audit().size();
      client.run();
      const std::vector<Line> lines = NewLines(before, 1);
      ASSERT_EQ(lines.size(), 1u) << nlohmann::json(lines);
      EXPECT_EQ(lines[0]["event"], "connection");
      EXPECT_EQ(lines[0]["decision"], "denied");
      EXPECT_EQ(lines[0]["reason"], client.reason) << lines[0];
      EXPECT_THAT(lines[0]["peer"].get<std::string>(), ::testing::StartsWith("127.0.0.1:"));
      EXPECT_FALSE(lines[0].contains("identity")) << "nobody is who could not show it";
    }
    std::cout << clients.size() << " wrong clients, each refused and audited once" << std::endl;
  }
  WrongClient Refused(std::string name, std::string reason, TlsWish wish) {
    return {std::move(name), std::move(reason), [this, wish] { EXPECT_TRUE(Tls(wish).refused); }};
  }
  WrongClient With(std::string name, std::string reason, test::Pem client) {
    const test::Pem& kept = kept_.emplace_back(std::make_unique<test::Pem>(std::move(client))).operator*();
    return Refused(std::move(name), std::move(reason), {.client = &kept});
  }
  WrongClient Says(std::string name, std::string reason, std::string bytes) {
    return {std::move(name), std::move(reason), [this, bytes] { Raw(bytes, 5s); }};
  }
  void RightClientsComeIn() {
    for (const test::Pem* client : {&viewer_, &admin_}) {
      const size_t before = Audit().size();
      const TlsAnswer answer = Tls({.client = client, .ca = server_ca_.certificate()});
      EXPECT_TRUE(answer.handshake && !answer.refused);
      const std::vector<Line> lines = NewLines(before, 1);
      ASSERT_EQ(lines.size(), 1u);
      EXPECT_EQ(lines[0]["decision"], "allowed");
      EXPECT_EQ(lines[0]["identity"], client == &viewer_ ? kViewer : kAdmin);
      EXPECT_EQ(lines[0]["role"], client == &viewer_ ? "viewer" : "policy-admin");
    }
  }
  std::vector<std::unique_ptr<test::Pem>> kept_;
};

TEST_F(DoorHandshakeTest, WrongCertificatesAreRefusedAndAuditedOnce) {
  const test::Pem revoked = Client("spiffe://cluster/ns/moat/sa/revoked");
  place_.Write("crl.pem", ca_.Revoke(1));
  StartAgent();
  RightClientsComeIn();
  test::Authority foreign("somebody else"), twin("moat clients");
  const std::string san = std::string("URI:") + kViewer;
  Check({
      Refused("no certificate", "no_certificate", {}),
      With("expired", "expired", ca_.Issue({.san = san, .begins_s = -7200, .ends_s = -3600})),
      With("not yet valid", "not_yet_valid", ca_.Issue({.san = san, .begins_s = 3600, .ends_s = 7200})),
      With("of a foreign CA", "untrusted", foreign.Issue({.san = san})),
      With("of a CA with our CA's name", "untrusted", twin.Issue({.san = san})),
      With("of the server's CA", "untrusted", server_ca_.Issue({.san = san})),
      With("signed by itself", "untrusted", test::Authority::SelfSigned({.san = san})),
      With("signed by itself, with our CA's name", "untrusted",
           test::Authority::SelfSigned({.name = "moat clients", .san = san})),
      With("wrong name", "no_role", Client("spiffe://cluster/ns/other/sa/console")),
      With("wrong trust domain", "no_role", Client("spiffe://evil/ns/moat/sa/console")),
      With("a name that climbs out", "no_role", Client("spiffe://cluster/ns/moat/../other/sa/console")),
      With("a name that is cut off", "no_role", Client("spiffe://cluster/ns/moat/")),
      With("no name", "no_role", ca_.Issue({.san = ""})),
      With("its name as common name only", "no_role", ca_.Issue({.name = kViewer, .san = ""})),
      With("its name as e-mail", "no_role", ca_.Issue({.san = "email:console@cluster"})),
      With("an address alone", "no_role", ca_.Issue({.san = "IP:127.0.0.1"})),
      With("for servers only", "wrong_purpose", ca_.Issue({.san = san, .purpose = "serverAuth"})),
      With("for code only", "wrong_purpose", ca_.Issue({.san = san, .purpose = "codeSigning"})),
      With("revoked", "revoked", revoked),
  });
  RightClientsComeIn();
}

TEST_F(DoorHandshakeTest, WhatIsNoTls13IsRefusedAndAuditedOnce) {
  StartAgent();
  RightClientsComeIn();
  const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\4\0\0\0\0\0", 9);
  const std::string half_hello("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
  Check({
      Refused("TLS 1.2 at most", "tls_version", {.client = &viewer_, .most = TLS1_2_VERSION}),
      Refused("TLS 1.1 at most", "tls_version", {.client = &viewer_, .least = TLS1_VERSION, .most = TLS1_1_VERSION}),
      Refused("TLS 1.0", "tls_version", {.client = &viewer_, .least = TLS1_VERSION, .most = TLS1_VERSION}),
      Refused("no ALPN", "no_http2", {.client = &viewer_, .alpn = ""}),
      Refused("HTTP/1.1 by ALPN", "no_http2", {.client = &viewer_, .alpn = "\x08http/1.1"}),
      Refused("does not trust us", "aborted", {.client = &viewer_, .ca = ca_.certificate()}),
      Says("plaintext gRPC", "not_tls", preface),
      Says("plaintext HTTP", "not_tls", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
      Says("SSH", "not_tls", "SSH-2.0-OpenSSH_9.2\r\n"),
      Says("garbage", "not_tls", std::string("\xde\xad\xbe\xef\0\0\0\0\xff\xff\xff\xff", 12)),
      Says("SSL 2", "not_tls", std::string("\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10", 11)),
      Says("a TLS record of garbage", "bad_tls", std::string("\x16\x03\x01\x00\x05hello", 10)),
      Says("a TLS record too long", "bad_tls", std::string("\x16\x03\x01\xff\xff", 5) + std::string(64, 'x')),
      Says("half a hello, and then nothing", "timeout", half_hello),
      Says("nothing at all", "timeout", ""),
      {"half a hello, and gone", "aborted",
       [&] {
         const Fd fd = Dial();
         EXPECT_EQ(::send(fd.get(), half_hello.data(), half_hello.size(), 0), static_cast<ssize_t>(half_hello.size()));
       }},
      {"gone at once", "aborted", [this] { Dial(); }},
      {"a byte a while", "timeout",
       [&] {
         const Fd fd = Dial();
         for (const char byte : half_hello) {
           if (::send(fd.get(), &byte, 1, MSG_NOSIGNAL) != 1) {
             break;
           }
           std::this_thread::sleep_for(200ms);
         }
       }},
  });
  RightClientsComeIn();
  EXPECT_THAT(agent_->Log(), ::testing::Not(HasSubstr("[error]")));
}

TEST_F(DoorHandshakeTest, FloodOfConnectionsIsCutByNumberAndBySource) {
  StartAgent({.tcp = "max_connections: 4, handshake_ms: 1500, accept: {per_second: 1, burst: 12}"});
  std::vector<Fd> silent;
  constexpr int kFlood = 30;
  for (int i = 0; i < kFlood; ++i) {
    silent.push_back(Dial());
  }
  std::map<std::string, int> reasons;
  const auto count = [&] {
    reasons.clear();
    int all = 0;
    for (const Line& line : Audit()) {
      EXPECT_EQ(line["decision"], "denied");
      reasons[line["reason"]] += line.value("times", 1);
      all += line.value("times", 1);
    }
    return all;
  };
  ASSERT_TRUE(Eventually([&] { return count() >= kFlood; }, 10s)) << count();
  std::this_thread::sleep_for(1100ms);  // another that counts one twice would come now
  count();
  EXPECT_LT(Audit().size(), 4u + 2 * 4) << "those that are too many are told together";
  EXPECT_EQ(reasons["timeout"], 4) << "as many as may be open";
  EXPECT_GE(reasons["too_many"], 8);
  EXPECT_GE(reasons["rate"], kFlood - 12 - 4);
  EXPECT_EQ(reasons["timeout"] + reasons["too_many"] + reasons["rate"], kFlood) << "each is counted once";
  std::this_thread::sleep_for(1200ms);  // a token
  EXPECT_FALSE(Tls({.client = &viewer_}).refused) << "the flood is over";
}

TEST_F(DoorHandshakeTest, OneSourceAloneDoesNotShutOutOthers) {
  StartAgent({.tcp = "max_connections: 16, handshake_ms: 30000, accept: {per_second: 1000, burst: 1000}"});
  std::vector<Fd> silent;
  for (int i = 0; i < 40; ++i) {
    silent.push_back(Dial());
  }
  ASSERT_TRUE(Eventually([this] { return !Audit("connection", "denied").empty(); }, 10s));
  EXPECT_EQ(Audit("connection", "denied")[0]["reason"], "too_many");
  EXPECT_TRUE(Tls({.client = &viewer_}).refused) << "of that source no more";
  for (int i = 0; i < 8; ++i) {
    EXPECT_FALSE(Tls({.client = &viewer_, .from = INADDR_LOOPBACK + 1}).refused) << "while the flood lasts";
  }
  silent.clear();
  ASSERT_TRUE(Eventually([this] { return !Tls({.client = &viewer_}).refused; }, 10s)) << "who has gone does not count";
}

TEST_F(DoorHandshakeTest, OneIdentityAloneDoesNotShutOutOthers) {
  StartAgent({.tcp = "max_connections: 16, handshake_ms: 1500, rate: {per_second: 1000, burst: 1000}, accept: {per_second: 1000, "
                     "burst: 1000}"});
  std::vector<std::shared_ptr<grpc::Channel>> held;
  for (int i = 0; i < 8; ++i) {
    held.push_back(Channel(viewer_));
    ASSERT_TRUE(GetStatus(held.back()).ok()) << i;
  }
  EXPECT_EQ(GetStatus(Channel(viewer_)).error_code(), grpc::StatusCode::UNAVAILABLE);
  ASSERT_TRUE(Eventually([this] { return !Audit("connection", "denied").empty(); }, 10s));
  const Line line = Audit("connection", "denied")[0];
  EXPECT_EQ(line["reason"], "too_many");
  EXPECT_THAT(line.dump(), HasSubstr(std::string(kViewer) + " has as many as one may"));
  EXPECT_TRUE(GetStatus(Channel(admin_)).ok()) << "there is room for others";
  EXPECT_TRUE(GetStatus(held.back()).ok()) << "who is in stays in";
  held.pop_back();
  ASSERT_TRUE(Eventually([this] { return GetStatus(Channel(viewer_)).ok(); }, 10s)) << "who has gone does not count";
}

}  // namespace
}  // namespace moat::e2e
