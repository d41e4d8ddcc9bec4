// SPDX-License-Identifier: Apache-2.0
// Findings in words, and as JSON.
#pragma once

#include <string>

#include "agent/cli/json.h"
#include "agent/cli/text.h"
#include "moat/v1/finding.pb.h"

namespace moat::cli {

std::string SeverityWord(v1::Severity severity);  // "high"
Color SeverityColor(v1::Severity severity);
// False: there is no such severity.
bool SeverityFromWord(const std::string& word, v1::Severity* severity);
std::string FindingLine(
    const v1::Finding& finding);  // "high canary-touched, 3 times: /usr/bin/cat[42] in ... opened the canary x"
std::string FindingPage(const v1::Finding& finding, bool color);  // all of it, for a person
void JsonFinding(Json& json, const v1::Finding& finding);  // its fields, into an object that is open

}  // namespace moat::cli
