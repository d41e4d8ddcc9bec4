// SPDX-License-Identifier: Apache-2.0
// How rows that look alike are written.
#pragma once

#include "agent/probe/table.h"

// A check of the security modules by each way to it, as MOAT_SECURITY (bpf/lib/hook.bpf.h) defines the programs.
// NOLINTBEGIN(cppcoreguidelines-macro-usage): literals are pasted together
#define MOAT_SECURITY(program, hook, kind, ...)                                         \
  {Backend::kLsm, program "_lsm", {hook}, kind, {__VA_ARGS__}},                         \
      {Backend::kFmodRet, program "_fmod", {"security_" hook}, kind, {__VA_ARGS__}},    \
      {Backend::kFentry, program "_fentry", {"security_" hook}, kind, {__VA_ARGS__}}, { \
    Backend::kKprobe, program "_kprobe", {"security_" hook}, kind, { __VA_ARGS__ }      \
  }
// The same, by the two ways that can deny.
#define MOAT_DENIES(program, hook)                           \
  {Backend::kLsm, program "_lsm", {hook}}, {                 \
    Backend::kFmodRet, program "_fmod", { "security_" hook } \
  }
// NOLINTEND(cppcoreguidelines-macro-usage)
