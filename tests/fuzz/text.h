// SPDX-License-Identifier: Apache-2.0
// Events as subscribers see them: through the API's encoding into the lines and the JSON of moatctl watch.
#pragma once

#include "agent/event/event.h"

namespace moat::fuzz {

// The message parses, and is one line that a terminal takes, or one JSON object. Ends the program otherwise.
void CheckText(const event::Event& event);

}  // namespace moat::fuzz
