// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace moat {

inline constexpr const char* kVersion = MOAT_VERSION;  // of the whole project, from CMakeLists.txt

}  // namespace moat
