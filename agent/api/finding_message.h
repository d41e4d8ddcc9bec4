// SPDX-License-Identifier: Apache-2.0
// A finding as its message. Findings are few: by the generated classes, unlike events.
#pragma once

#include "agent/event/finding.h"

namespace moat::v1 {
class Finding;
}

namespace moat::api {

// Texts are made valid UTF-8 and changed in nothing else.
void SetFinding(v1::Finding* to, const event::Finding& from);

}  // namespace moat::api
