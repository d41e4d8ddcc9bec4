// SPDX-License-Identifier: Apache-2.0
// Files of policies, read to be sent.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <string>
#include <vector>

#include "agent/cli/policy_text.h"

namespace moat::cli {

// given: files, or directories of *.yaml and *.yml files. False, after having said why on standard error: one cannot be read or is too
// large, or two have the same name.
bool ReadPolicyFiles(const std::vector<std::string>& given, google::protobuf::RepeatedPtrField<v1::PolicyFile>* files,
                     Paths* paths);

}  // namespace moat::cli
