// SPDX-License-Identifier: Apache-2.0
// What changes while the agent runs: certificates, the CA, revoked ones, roles. And moatctl on the network.
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>

#include "tests/e2e/door/kit.h"

namespace moat::e2e {
namespace {

using ::testing::HasSubstr;

class DoorReloadTest : public DoorTest {
 protected:
  // As Kubernetes and careful people do: a new file in the old one's place.
  void Replace(const std::string& name, const std::string& text) const {
    std::filesystem::rename(place_.Write(name + ".new", text), place_.File(name));
  }
  bool LogSays(const std::string& text) const {
    return Eventually([&] { return agent_->Log().find(text) != std::string::npos; }, 10s);
  }
  std::string ServerName() const { return Tls({.client = &viewer_, .ca = ""}).server_name; }
  // The one connection of the viewer is closed with this reason, and its identity is told.
  void ExpectClosed(const std::string& reason) const {
    EXPECT_TRUE(Eventually([this] { return !Audit("connection", "closed").empty(); }, 10s));
    const std::vector<Line> closed = Audit("connection", "closed");
    ASSERT_EQ(closed.size(), 1u) << nlohmann::json(closed);
    EXPECT_EQ(closed[0]["reason"], reason) << closed[0];
    EXPECT_EQ(closed[0]["identity"], kViewer);
  }
  std::shared_ptr<grpc::Channel> Connected(const test::Pem& client) const {
    auto channel = Channel(client);
    EXPECT_TRUE(GetStatus(channel).ok());
    return channel;
  }
};

TEST_F(DoorReloadTest, ANewCertificateIsServedAndOldConnectionsGoOn) {
  StartAgent();
  EXPECT_EQ(ServerName(), "first");
  const auto old = Connected(viewer_);
  const test::Pem second = server_ca_.Issue({.name = "second", .san = "DNS:localhost,IP:127.0.0.1", .purpose = "serverAuth"});
  // Between the two renames the pair does not fit: what was in force stays.
  Replace("server.key", second.key);
  ASSERT_TRUE(LogSays("what was in force stays"));
  EXPECT_EQ(ServerName(), "first");
  EXPECT_TRUE(GetStatus(old).ok());
  Replace("server.pem", second.certificate);
  EXPECT_TRUE(Eventually([this] { return ServerName() == "second"; }, 10s));
  EXPECT_TRUE(GetStatus(old).ok());
  Replace("server.pem", "no certificate at all\n");
  std::this_thread::sleep_for(1500ms);
  EXPECT_EQ(ServerName(), "second");
  EXPECT_TRUE(GetStatus(old).ok());
  EXPECT_TRUE(Audit("connection", "closed").empty());
  const std::vector<Line> lines = Audit("call", "allowed");
  EXPECT_EQ(lines.front()["peer"], lines.back()["peer"]) << "one connection all the time";
}

TEST_F(DoorReloadTest, WhoIsRevokedIsSentAway) {
  StartAgent();
  const auto viewer = Connected(viewer_), admin = Connected(admin_);
  EXPECT_FALSE(Tls({.client = &viewer_, .ca = ""}).refused);
  // viewer_ and admin_ are the last that were issued, in this order.
  Replace("crl.pem", ca_.Revoke(2));
  ASSERT_TRUE(Eventually([this] { return Audit("connection", "closed").size() == 2; }, 10s));
  for (const Line& line : Audit("connection", "closed")) {
    EXPECT_EQ(line["reason"], "revoked");
  }
  EXPECT_TRUE(Tls({.client = &viewer_, .ca = ""}).refused);
  EXPECT_TRUE(Tls({.client = &admin_, .ca = ""}).refused);
  Replace("crl.pem", ca_.Revoke(1));
  EXPECT_TRUE(Eventually([&] { return !Tls({.client = &viewer_, .ca = ""}).refused; }, 10s)) << "and let in again";
  EXPECT_TRUE(Tls({.client = &admin_, .ca = ""}).refused);
  Replace("crl.pem", ca_.Revoke(0, -60));
  EXPECT_TRUE(Eventually([&] { return Tls({.client = &viewer_, .ca = ""}).refused; }, 10s))
      << "a list that is too old trusts nobody";
  EXPECT_TRUE(Eventually([this] { return Audit("connection", "denied").back()["reason"] == "crl"; }, 5s));
}

TEST_F(DoorReloadTest, ANewCaHoldsForOldConnectionsToo) {
  StartAgent();
  const auto viewer = Connected(viewer_);
  test::Authority other("another");
  const test::Pem client = other.Issue({.san = std::string("URI:") + kViewer});
  EXPECT_TRUE(Tls({.client = &client, .ca = ""}).refused);
  Replace("crl.pem", ca_.Revoke(0) + other.Revoke(0));
  Replace("ca.pem", other.certificate() + ca_.certificate());
  EXPECT_TRUE(Eventually([&] { return !Tls({.client = &client, .ca = ""}).refused; }, 10s));
  EXPECT_TRUE(GetStatus(viewer).ok());
  Replace("ca.pem", other.certificate());
  ExpectClosed("untrusted");
  EXPECT_FALSE(Tls({.client = &client, .ca = ""}).refused);
}

TEST_F(DoorReloadTest, RolesChangeWithSighup) {
  StartAgent();
  const auto viewer = Connected(viewer_), admin = Connected(admin_);
  const auto reload = [this](const std::string& roles) {
    place_.Write("moatd.yaml", "scope: " + place_.scope() + "\napi: {socket: " + place_.File("moat.sock") + ", " +
                                   Api({.roles = roles}) +
                                   "}\ndomains: {process: true, file: false, gpu: false, net: false}\npolicies: {files: [" +
                                   place_.File("policies") + "], pins: \"\"}\n");
    agent_->Signal(SIGHUP);
  };
  reload(std::string("{san: ") + kAdmin + ", role: viewer}");
  ExpectClosed("no_role");
  v1::ClearPoliciesResponse cleared;
  grpc::ClientContext context;
  EXPECT_EQ(v1::Policies::NewStub(admin)->Clear(&context, {}, &cleared).error_code(), grpc::StatusCode::PERMISSION_DENIED)
      << "a connection that stays has the new role";
  EXPECT_TRUE(GetStatus(admin).ok());
  EXPECT_TRUE(Tls({.client = &viewer_, .ca = ""}).refused);
  reload(Settings().roles);
  EXPECT_TRUE(Eventually([&] { return !Tls({.client = &viewer_, .ca = ""}).refused; }, 10s));
  EXPECT_THAT(agent_->Log(), ::testing::Not(HasSubstr("need a restart")));
}

TEST_F(DoorReloadTest, AConnectionEndsWithItsCertificate) {
  StartAgent();
  viewer_ = ca_.Issue({.san = std::string("URI:") + kViewer, .ends_s = 5});
  const auto viewer = Connected(viewer_);
  ExpectClosed("expired");
  EXPECT_TRUE(Tls({.client = &viewer_, .ca = ""}).refused);
  EXPECT_TRUE(Eventually([this] { return Audit("connection", "denied").back()["reason"] == "expired"; }, 5s));
}

TEST_F(DoorReloadTest, AWrongDoorIsAnErrorAtTheStart) {
  place_.Write("server.key", "nothing");
  Agent agent(place_, "", {}, {}, Api(Settings()));
  EXPECT_FALSE(agent.WaitReady());
  EXPECT_THAT(agent.Log(), HasSubstr("api.tcp.key " + place_.File("server.key")));
  EXPECT_EQ(agent.End(SIGTERM), 1);
}

class DoorCtlTest : public DoorTest {
 protected:
  // moatctl, its exit code; what it printed, errors too, is in out_.
  int Ctl(std::vector<std::string> words, const std::vector<std::pair<std::string, std::string>>& environment = {}) {
    words.insert(words.begin(), {"moatctl", "--address", "127.0.0.1:" + std::to_string(port_)});
    const std::string out = place_.File("out");
    const int code = WaitFor(place_.Spawn(
        [&] {
          std::vector<char*> argv;
          for (std::string& word : words) {
            argv.push_back(word.data());
          }
          argv.push_back(nullptr);
          for (const auto& [name, value] : environment) {
            ::setenv(name.c_str(), value.c_str(), 1);
          }
          (void)std::freopen(out.c_str(), "w", stdout);
          ::dup2(STDOUT_FILENO, STDERR_FILENO);
          ::execv(MOAT_BINARY_DIR "/bin/moatctl", argv.data());
          ::_exit(99);
        },
        false));
    out_ = ReadText(out);
    return code;
  }
  int CtlAs(const test::Pem& client, std::vector<std::string> words, const std::string& ca = "server-ca.pem") {
    place_.Write("client.pem", client.certificate);
    place_.Write("client.key", client.key);
    words.insert(words.end(),
                 {"--tls-ca", place_.File(ca), "--tls-cert", place_.File("client.pem"), "--tls-key", place_.File("client.key")});
    return Ctl(std::move(words));
  }
  std::string out_;
};

TEST_F(DoorCtlTest, SpeaksTlsAndSaysWhatIsWrong) {
  const test::Pem revoked = Client("spiffe://cluster/ns/moat/sa/revoked");
  place_.Write("crl.pem", ca_.Revoke(1));
  StartAgent();
  EXPECT_EQ(CtlAs(viewer_, {"status"}), 0) << out_;
  EXPECT_THAT(out_, HasSubstr(place_.scope()));
  EXPECT_EQ(Ctl({"status"}, {{"MOAT_TLS_CA", place_.File("server-ca.pem")},
                             {"MOAT_TLS_CERT", place_.File("client.pem")},
                             {"MOAT_TLS_KEY", place_.File("client.key")}}),
            0)
      << out_;
  EXPECT_EQ(CtlAs(admin_, {"policy", "clear", "--yes"}), 0) << out_;
  EXPECT_EQ(CtlAs(viewer_, {"policy", "clear", "--yes"}), 1);
  EXPECT_THAT(out_, HasSubstr("needs the role policy-admin"));
  EXPECT_EQ(CtlAs(viewer_, {"--tls-server-name", "localhost", "status"}), 0) << out_;

  EXPECT_EQ(Ctl({"status"}), 2);
  EXPECT_THAT(out_, HasSubstr("--tls-ca, --tls-cert and --tls-key"));
  EXPECT_EQ(CtlAs(viewer_, {"status"}, "no-such-file"), 2);
  EXPECT_THAT(out_, HasSubstr("No such file"));
  EXPECT_EQ(CtlAs(viewer_, {"status"}, "server.key.txt"), 2);
  struct {
    test::Pem client;
    const char* says;
  } const kWrong[] = {
      {ca_.Issue({.san = std::string("URI:") + kViewer, .ends_s = -60}), "it has expired"},
      {ca_.Issue({.san = std::string("URI:") + kViewer, .begins_s = 60}), "not yet valid"},
      {ca_.Issue({.san = "URI:spiffe://cluster/ns/other/x"}), "bound to no role"},
      {ca_.Issue({.san = std::string("URI:") + kViewer, .purpose = "serverAuth"}), "not for clients"},
      {test::Authority("other").Issue({.san = std::string("URI:") + kViewer}), "no CA that it trusts"},
      {revoked, "it is revoked"},
  };
  for (const auto& wrong : kWrong) {
    EXPECT_EQ(CtlAs(wrong.client, {"status"}), 3) << wrong.says;
    EXPECT_THAT(out_, HasSubstr(wrong.says));
  }
  EXPECT_EQ(CtlAs(viewer_, {"status"}, "ca.pem"), 3);
  EXPECT_THAT(out_, HasSubstr("--tls-ca must be the CA that signed it"));
  EXPECT_EQ(CtlAs(viewer_, {"--tls-server-name", "elsewhere", "status"}), 3);
  EXPECT_THAT(out_, HasSubstr("--tls-server-name says which name it has"));
  agent_.reset();
  EXPECT_EQ(CtlAs(viewer_, {"status"}), 3);
  EXPECT_THAT(out_, HasSubstr("nobody listens there"));
}

}  // namespace
}  // namespace moat::e2e
