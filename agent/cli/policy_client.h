// SPDX-License-Identifier: Apache-2.0
// The Policies service, one call a function: kExitOk, or the exit code after having complained.
#pragma once

#include "agent/cli/options.h"
#include "moat/v1/policy.pb.h"

namespace moat::cli {

int Ask(const Options& options, const v1::CheckPoliciesRequest& request, v1::CheckPoliciesResponse* response);
int Ask(const Options& options, const v1::ApplyPoliciesRequest& request, v1::ApplyPoliciesResponse* response);
int Ask(const Options& options, const v1::ListPoliciesRequest& request, v1::ListPoliciesResponse* response);
int Ask(const Options& options, const v1::GetPolicyRequest& request, v1::GetPolicyResponse* response);
int Ask(const Options& options, const v1::DeletePolicyRequest& request, v1::DeletePolicyResponse* response);
int Ask(const Options& options, const v1::ExplainPolicyRequest& request, v1::ExplainPolicyResponse* response);
int Ask(const Options& options, const v1::RollbackPoliciesRequest& request, v1::RollbackPoliciesResponse* response);
int Ask(const Options& options, const v1::ClearPoliciesRequest& request, v1::ClearPoliciesResponse* response);

}  // namespace moat::cli
