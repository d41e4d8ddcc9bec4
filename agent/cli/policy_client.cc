// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/policy_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>

#include "agent/cli/client.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::cli {
namespace {

using Stub = v1::Policies::Stub;

// Many rules take a while to be written; more than one caller waits for the other.
constexpr auto kAnswerWithin = std::chrono::seconds(30);

template <typename Request, typename Response>
int Call(const Options& options, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
         const Request& request, Response* response) {
  const auto stub = v1::Policies::NewStub(Connect(options));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kAnswerWithin);
  const grpc::Status status = (stub.get()->*method)(&context, request, response);
  return status.ok() ? static_cast<int>(kExitOk) : Complain(options, status);
}

}  // namespace

int Ask(const Options& options, const v1::CheckPoliciesRequest& request, v1::CheckPoliciesResponse* response) {
  return Call(options, &Stub::Check, request, response);
}
int Ask(const Options& options, const v1::ApplyPoliciesRequest& request, v1::ApplyPoliciesResponse* response) {
  return Call(options, &Stub::Apply, request, response);
}
int Ask(const Options& options, const v1::ListPoliciesRequest& request, v1::ListPoliciesResponse* response) {
  return Call(options, &Stub::List, request, response);
}
int Ask(const Options& options, const v1::GetPolicyRequest& request, v1::GetPolicyResponse* response) {
  return Call(options, &Stub::Get, request, response);
}
int Ask(const Options& options, const v1::DeletePolicyRequest& request, v1::DeletePolicyResponse* response) {
  return Call(options, &Stub::Delete, request, response);
}
int Ask(const Options& options, const v1::ExplainPolicyRequest& request, v1::ExplainPolicyResponse* response) {
  return Call(options, &Stub::Explain, request, response);
}
int Ask(const Options& options, const v1::RollbackPoliciesRequest& request, v1::RollbackPoliciesResponse* response) {
  return Call(options, &Stub::Rollback, request, response);
}
int Ask(const Options& options, const v1::ClearPoliciesRequest& request, v1::ClearPoliciesResponse* response) {
  return Call(options, &Stub::Clear, request, response);
}

}  // namespace moat::cli
