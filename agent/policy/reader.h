// SPDX-License-Identifier: Apache-2.0
// Between the files of this folder: the spec of one policy, read from its YAML.
#pragma once

#include "agent/config/section.h"
#include "agent/policy/model.h"

namespace moat::policy {

Where At(const config::Reading& reading, const config::Node& node);

// Fills all but name and place. Every problem is told to reading; what has one stays as it was.
void ReadSpec(const config::Reading& reading, const config::Node& node, Policy& policy);

void ReadSubjects(const config::Reading& reading, config::Section& spec, Policy& policy);
void ReadEgress(const config::Reading& reading, const config::Node& node, Policy& policy);

}  // namespace moat::policy
