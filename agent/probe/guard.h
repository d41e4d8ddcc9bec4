// SPDX-License-Identifier: Apache-2.0
// Tells the kernel which maps, links and pins are moat's, so that nobody in a container touches them (bpf/enforce/guard.bpf.c).
#pragma once

#include "agent/base/error.h"
#include "agent/probe/domain.h"
#include "agent/probe/pins.h"
#include "agent/probe/shared_maps.h"

namespace moat::probe {

// All that is pinned now, instead of what was told before. Fails, and guards nothing, when this process is not in the pid namespace of the
// host itself: the agent after it would be a stranger, too.
Status Guard(const Pins& pins, const Domain& enforce, const SharedMaps& maps);

}  // namespace moat::probe
