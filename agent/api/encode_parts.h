// SPDX-License-Identifier: Apache-2.0
// Between encode.cc and its parts.
#pragma once

#include <cstdint>

#include "agent/api/wire.h"
#include "agent/event/batch.h"
#include "agent/event/event.h"

namespace moat::api {

// An asset that the names do not have (yet) is shown by number: never nameless, never guessed. names: null, or valid during the call.
void PutAsset(Wire& wire, int field, uint32_t asset, const event::Names* names);
// Those of a mask.
void PutLabels(Wire& wire, int field, uint64_t labels, const event::Names* names);

// Bodies of an event.
void PutAccess(Wire& wire, const event::ProcessAccess& from, const event::Names* names);
void PutPrivilege(Wire& wire, const event::Privilege& from);
void PutLogin(Wire& wire, const event::Login& from);

}  // namespace moat::api
