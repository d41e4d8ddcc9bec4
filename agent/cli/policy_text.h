// SPDX-License-Identifier: Apache-2.0
// Policies as text. Pure.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/repeated_ptr_field.h>

#include <map>
#include <string>
#include <vector>

#include "moat/v1/policy.pb.h"

namespace moat::cli {

// What was read here: name as the agent knows it -> path as it was given.
using Paths = std::map<std::string, std::string>;

std::string Problems(const google::protobuf::RepeatedPtrField<v1::PolicyProblem>& problems, uint32_t omitted, const Paths& paths,
                     bool color);
std::string PolicyTable(const v1::ListPoliciesResponse& list, bool color);
std::string RuleTable(const v1::GetPolicyResponse& policy, bool color);
// "3 policies, 17 rules, 2 assets", and what is only watched.
std::string Summary(const v1::PolicySet& set, bool color);
std::string Explanation(const v1::ExplainPolicyRequest& request, const v1::ExplainPolicyResponse& answer, bool color);
// proto3 JSON, in one line: 64-bit numbers are strings.
std::string MessageJson(const google::protobuf::Message& message);

// "10.0.0.1:443", "[fd00::1]:53/udp", "10.0.0.1/icmp"; false: it is none of these.
bool ParsePeer(const std::string& text, v1::PolicyPeer* peer);

}  // namespace moat::cli
