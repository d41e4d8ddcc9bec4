// SPDX-License-Identifier: Apache-2.0
// Calls over the network: each role may what it may, everything else is refused, and each call is audited once.
#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>

#include <map>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/e2e/door/kit.h"

namespace moat::e2e {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;

class DoorCallsTest : public DoorTest {
 protected:
  template <typename Call>
  void Expect(StatusCode code, const std::string& decision, const std::string& reason, const std::string& method,
              const Call& call) {
    SCOPED_TRACE(method + " " + reason);
    const size_t before = Audit().size();
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 20s);
    const grpc::Status status = call(&context);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    message_ = status.error_message();
    const std::vector<Line> lines = NewLines(before, 1);
    ASSERT_EQ(lines.size(), 1u) << nlohmann::json(lines);
    EXPECT_EQ(lines[0]["event"], "call");
    EXPECT_EQ(lines[0]["decision"], decision) << lines[0];
    EXPECT_EQ(lines[0].value("reason", ""), reason) << lines[0];
    EXPECT_EQ(lines[0]["method"], method);
    EXPECT_TRUE(lines[0].contains("duration_us"));
    last_ = lines[0];
  }
  // What changes policies, by any of them.
  void ExpectChanges(const std::shared_ptr<grpc::Channel>& channel, bool allowed) {
    const auto stub = v1::Policies::NewStub(channel);
    v1::ApplyPoliciesRequest apply;
    apply.set_dry_run(true);
    apply.add_files()->set_name("given.yaml");
    apply.mutable_files(0)->set_text(
        "apiVersion: moat/v1\nkind: Policy\nmetadata: {name: one}\nspec:\n  mode: observe\n  subjects: [{cgroup: " +
        place_.scope() + "}]\n  egress: {default: deny}\n");
    v1::ApplyPoliciesResponse applied;
    v1::DeletePolicyRequest one;
    one.set_name("nothing");
    v1::DeletePolicyResponse deleted;
    v1::RollbackPoliciesResponse rolled;
    v1::ClearPoliciesResponse cleared;
    const std::string decision = allowed ? "allowed" : "denied", reason = allowed ? "" : "role";
    const auto code = [allowed](StatusCode right) { return allowed ? right : StatusCode::PERMISSION_DENIED; };
    Expect(code(StatusCode::OK), decision, reason, "/moat.v1.Policies/Apply",
           [&](grpc::ClientContext* context) { return stub->Apply(context, apply, &applied); });
    Expect(code(StatusCode::NOT_FOUND), decision, reason, "/moat.v1.Policies/Delete",
           [&](grpc::ClientContext* context) { return stub->Delete(context, one, &deleted); });
    Expect(code(StatusCode::FAILED_PRECONDITION), decision, reason, "/moat.v1.Policies/Rollback",
           [&](grpc::ClientContext* context) { return stub->Rollback(context, {}, &rolled); });
    Expect(code(StatusCode::OK), decision, reason, "/moat.v1.Policies/Clear",
           [&](grpc::ClientContext* context) { return stub->Clear(context, {}, &cleared); });
  }
  grpc::Status Generic(grpc::ClientContext* context, const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       size_t bytes = 0) {
    grpc::GenericStub stub(channel);
    grpc::CompletionQueue queue;
    const grpc::Slice slice(std::string(bytes, 'x'));
    const auto call = stub.PrepareUnaryCall(context, method, grpc::ByteBuffer(&slice, 1), &queue);
    call->StartCall();
    grpc::ByteBuffer answer;
    grpc::Status status;
    call->Finish(&answer, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return status;
  }
  // Connected; its one line is in the audit.
  std::shared_ptr<grpc::Channel> Connected(const test::Pem& client) {
    const size_t before = Audit().size();
    auto channel = Channel(client);
    EXPECT_TRUE(channel->WaitForConnected(std::chrono::system_clock::now() + 10s));
    EXPECT_EQ(NewLines(before, 1).size(), 1u);
    return channel;
  }
  std::string message_;
  Line last_;
};

TEST_F(DoorCallsTest, ViewersChangeNothingAndAdminsMay) {
  StartAgent();
  const auto viewer = Connected(viewer_), admin = Connected(admin_);
  for (const auto& channel : {viewer, admin}) {
    v1::GetResponse status;
    Expect(StatusCode::OK, "allowed", "", "/moat.v1.Status/Get",
           [&](grpc::ClientContext* context) { return v1::Status::NewStub(channel)->Get(context, {}, &status); });
    EXPECT_EQ(last_["identity"], channel == viewer ? kViewer : kAdmin);
    EXPECT_EQ(last_["code"], "OK");
    EXPECT_THAT(last_["peer"].get<std::string>(), ::testing::StartsWith("127.0.0.1:"));
    EXPECT_EQ(status.agent().scope(), place_.scope());
    v1::ListPoliciesResponse policies;
    Expect(StatusCode::OK, "allowed", "", "/moat.v1.Policies/List",
           [&](grpc::ClientContext* context) { return v1::Policies::NewStub(channel)->List(context, {}, &policies); });
  }
  ExpectChanges(viewer, false);
  EXPECT_THAT(message_, HasSubstr("moat.v1.Policies/Clear needs the role policy-admin"));
  EXPECT_THAT(message_, HasSubstr(kViewer));
  ExpectChanges(admin, true);
}

TEST_F(DoorCallsTest, WhatIsNoCallOfOursIsRefused) {
  StartAgent();
  const auto viewer = Connected(viewer_);
  for (const char* method : {"/moat.v1.Policies/Nothing", "/moat.v2.Policies/Apply", "/Apply", "/moat.v1.policies/apply",
                             "/moat.v1.Policies/Apply/", "//moat.v1.Policies/Apply", "/moat.v1.Policies/%41pply"}) {
    Expect(StatusCode::UNIMPLEMENTED, "denied", "unknown_method", method,
           [&](grpc::ClientContext* context) { return Generic(context, viewer, method); });
  }
  Expect(StatusCode::RESOURCE_EXHAUSTED, "denied", "too_long", "/moat.v1.Policies/Check", [&](grpc::ClientContext* context) {
    return Generic(context, viewer, "/moat.v1.Policies/Check", (1 << 20) + (96 << 10));
  });
  EXPECT_THAT(message_, HasSubstr("longer than"));
  // Longer than gRPC itself reads: the call is cut off before the gate sees a message.
  const size_t before = Audit().size();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + 20s);
  EXPECT_EQ(Generic(&context, viewer, "/moat.v1.Policies/Check", 8 << 20).error_code(), StatusCode::RESOURCE_EXHAUSTED);
  const std::vector<Line> lines = NewLines(before, 1);
  ASSERT_EQ(lines.size(), 1u) << nlohmann::json(lines);
  EXPECT_NE(lines[0]["code"], "OK");
  Expect(StatusCode::INVALID_ARGUMENT, "allowed", "", "/moat.v1.Policies/Check",
         [&](grpc::ClientContext* c) { return Generic(c, viewer, "/moat.v1.Policies/Check", 1000); });
  EXPECT_TRUE(GetStatus(viewer).ok()) << "the connection lives on";
}

TEST_F(DoorCallsTest, AnIdentityThatAsksTooOftenWaitsAndNobodyElseDoes) {
  StartAgent({.tcp = "rate: {per_second: 1, burst: 20}"});
  const auto viewer = Connected(viewer_), second = Connected(viewer_), admin = Connected(admin_);
  const size_t before = Audit().size();
  std::map<StatusCode, int> codes;
  constexpr int kCalls = 60;
  for (int i = 0; i < kCalls; ++i) {
    const grpc::Status status = GetStatus(i % 2 == 0 ? viewer : second);  // two connections, one identity
    ++codes[status.error_code()];
    if (!status.ok()) {
      EXPECT_THAT(status.error_message(), HasSubstr("api.tcp.rate"));
    }
  }
  EXPECT_NEAR(codes[StatusCode::OK], 20, 5);
  EXPECT_EQ(codes[StatusCode::OK] + codes[StatusCode::RESOURCE_EXHAUSTED], kCalls);
  const std::vector<Line> lines = NewLines(before, kCalls);
  ASSERT_EQ(lines.size(), static_cast<size_t>(kCalls));
  EXPECT_EQ(
      std::ranges::count_if(lines, [](const Line& line) { return line["decision"] == "denied" && line["reason"] == "rate"; }),
      codes[StatusCode::RESOURCE_EXHAUSTED]);
  EXPECT_TRUE(GetStatus(admin).ok());
  std::this_thread::sleep_for(1100ms);
  EXPECT_TRUE(GetStatus(viewer).ok());
}

TEST_F(DoorCallsTest, StreamsComeThroughAndEndWithTheirCaller) {
  StartAgent();
  const auto viewer = Connected(viewer_);
  const auto stub = v1::Monitor::NewStub(viewer);
  const size_t before = Audit().size();
  size_t events = 0;
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 30s);
    v1::WatchRequest request;
    request.mutable_filter()->add_kinds("exec");
    const auto reader = stub->Watch(&context, request);
    v1::WatchResponse response;
    ASSERT_TRUE(reader->Read(&response));
    constexpr int kRuns = 50;
    for (int i = 0; i < kRuns; ++i) {
      EXPECT_EQ(WaitFor(place_.Spawn([] { ::execl("/bin/true", "true", nullptr), ::_exit(1); })), 0);
    }
    while (events < kRuns && reader->Read(&response)) {
      events += static_cast<size_t>(response.events_size());
    }
    EXPECT_EQ(events, static_cast<size_t>(kRuns));
    EXPECT_EQ(Audit().size(), before) << "it has not ended";
    context.TryCancel();
    EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
  }
  const std::vector<Line> lines = NewLines(before, 1);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["method"], "/moat.v1.Monitor/Watch");
  EXPECT_EQ(lines[0]["code"], "CANCELLED");
  EXPECT_TRUE(Eventually([this] { return agent_->Status().subscribers() == 0; }));
}

TEST_F(DoorCallsTest, StopsInTimeWithStreamsOpen) {
  StartAgent();
  const auto viewer = Connected(viewer_);
  grpc::ClientContext context;
  const auto reader = v1::Monitor::NewStub(viewer)->Watch(&context, {});
  v1::WatchResponse response;
  ASSERT_TRUE(reader->Read(&response));
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(agent_->End(SIGTERM), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(DoorCallsTest, TheUnixSocketIsAuditedToo) {
  StartAgent();
  const size_t before = Audit().size();
  agent_->Status();
  v1::GetPolicyResponse policy;
  grpc::ClientContext context;
  EXPECT_EQ(v1::Policies::NewStub(agent_->Channel())->Get(&context, {}, &policy).error_code(), StatusCode::NOT_FOUND);
  const std::vector<Line> lines = NewLines(before, 2);
  ASSERT_EQ(lines.size(), 2u) << nlohmann::json(lines);
  EXPECT_EQ(lines[0]["method"], "/moat.v1.Status/Get");
  EXPECT_EQ(lines[0]["peer"], "unix");
  EXPECT_EQ(lines[0]["code"], "OK");
  EXPECT_EQ(lines[1]["code"], "NOT_FOUND");
}

TEST_F(DoorCallsTest, HealthIsServedAloneAndInPlaintext) {
  StartAgent();
  using grpc::health::v1::Health;
  using grpc::health::v1::HealthCheckResponse;
  const auto channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(health_port_), grpc::InsecureChannelCredentials());
  const auto check = [&](const std::string& service, HealthCheckResponse* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 10s);
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    return Health::NewStub(channel)->Check(&context, request, response).error_code();
  };
  HealthCheckResponse response;
  EXPECT_EQ(check("liveness", &response), StatusCode::OK);
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  const bool healthy = agent_->Status().healthy();
  for (const char* service : {"", "readiness"}) {
    EXPECT_EQ(check(service, &response), StatusCode::OK);
    EXPECT_EQ(response.status(), healthy ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
  }
  EXPECT_EQ(check("moat.v1.Monitor", &response), StatusCode::NOT_FOUND);
  for (const char* method :
       {"/moat.v1.Status/Get", "/moat.v1.Policies/Clear", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"}) {
    grpc::ClientContext context;
    EXPECT_EQ(Generic(&context, channel, method).error_code(), StatusCode::UNIMPLEMENTED) << method;
  }
  // Over TLS the agent's own health and reflection are for who has a role.
  grpc::ClientContext context;
  EXPECT_TRUE(Health::NewStub(Channel(viewer_))->Check(&context, {}, &response).ok());
}

}  // namespace
}  // namespace moat::e2e
