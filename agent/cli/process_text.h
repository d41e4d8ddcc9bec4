// SPDX-License-Identifier: Apache-2.0
// What processes do to each other and to the world they live in, and who comes in: as text and as JSON. Any thread.
#pragma once

#include <string>

#include "agent/cli/json.h"
#include "moat/v1/event.pb.h"

namespace moat::cli {

std::string AccessText(const v1::ProcessAccess& access);
std::string PrivilegeText(const v1::Privilege& privilege);
std::string LoginText(const v1::Login& login);

// The fields, into an object that is open.
void JsonAccess(Json& json, const v1::ProcessAccess& access);
void JsonPrivilege(Json& json, const v1::Privilege& privilege);
void JsonLogin(Json& json, const v1::Login& login);

}  // namespace moat::cli
