// SPDX-License-Identifier: Apache-2.0
// The service Policies over a real socket, with a control that is made up.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "agent/api/policy_control.h"
#include "agent/api/server.h"
#include "moat/v1/services.grpc.pb.h"
#include "tests/unit/sanitizer.h"

namespace moat::api {
namespace {

class FakeControl final : public PolicyControl {
 public:
  Result<PolicyChange> Apply(const std::vector<policy::Source>&, uint32_t, bool dry_run) override {
    PolicyChange change{.applied = !dry_run};
    change.problems.resize(problems);
    return change;
  }
  Result<PolicyChange> Delete(const std::string&) override { return PolicyChange{}; }
  Result<PolicyChange> Rollback() override { return PolicyChange{}; }
  Status Clear() override { return {}; }
  Result<PolicySetReport> List() override { return PolicySetReport{.generation = 7}; }
  Result<PolicyAnswer> Explain(const PolicyQuestion&) override { return PolicyAnswer{.would_deny = true}; }
  size_t problems = 0;
};

TEST(ApiPolicies, BoundsRequestsAndAnswers) {
  MOAT_SKIP_WITH_GRPC_UNDER_TSAN();
  std::string directory = testing::TempDir() + "/moat-api-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  config::Config config;
  config.socket = directory + "/moat.sock";
  const auto hub = Hub::Create({});
  FakeControl control;
  auto server = Server::Start(config, *hub, [] { return StatusSnapshot(); }, &control);
  ASSERT_TRUE(server) << server.error().message;
  const auto stub = v1::Policies::NewStub(grpc::CreateChannel("unix:" + config.socket, grpc::InsecureChannelCredentials()));
  const auto check = [&](size_t bytes, v1::CheckPoliciesResponse* response) {
    v1::CheckPoliciesRequest request;
    auto* file = request.add_files();
    file->set_name("f");
    file->set_text(std::string(bytes, '#'));
    grpc::ClientContext context;
    return stub->Check(&context, request, response).error_code();
  };
  v1::CheckPoliciesResponse response;
  EXPECT_EQ(check(size_t{1} << 20, &response), grpc::StatusCode::OK);
  EXPECT_EQ(check((size_t{1} << 20) + 1, &response), grpc::StatusCode::INVALID_ARGUMENT);
  control.problems = 250;
  EXPECT_EQ(check(1, &response), grpc::StatusCode::OK);
  EXPECT_EQ(response.problems_size(), 200);
  EXPECT_EQ(response.problems_omitted(), 50u);
  const auto explain = [&](const std::string& address, uint32_t port, v1::ExplainPolicyResponse* answer) {
    v1::ExplainPolicyRequest request;
    request.mutable_peer()->set_address(address);
    request.mutable_peer()->set_protocol("tcp");
    request.mutable_peer()->set_port(port);
    grpc::ClientContext context;
    return stub->Explain(&context, request, answer).error_code();
  };
  v1::ExplainPolicyResponse answer;
  EXPECT_EQ(explain("10.0.0.1", 443, &answer), grpc::StatusCode::OK);
  EXPECT_EQ(answer.action(), v1::VERDICT_ACTION_WOULD_DENY);
  EXPECT_EQ(explain("10.0.0", 443, &answer), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(explain("10.0.0.1", 70000, &answer), grpc::StatusCode::INVALID_ARGUMENT);
  server->reset();
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace moat::api
