// SPDX-License-Identifier: Apache-2.0
// Errors are values: Result<T> = std::expected<T, Error>. Codes are numbered as gRPC's status codes, so that the API maps them
// one to one. A message says what is wrong, where, and what to do.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace moat {

enum class Code : int {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
};

struct Error {
  Code code = Code::kUnknown;
  std::string message;
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = std::expected<void, Error>;

inline std::unexpected<Error> Fail(Code code, std::string message) {
  return std::unexpected<Error>(Error{code, std::move(message)});
}

// Fail() with ": <strerror(err)>" appended and the code that fits err.
std::unexpected<Error> FailErrno(int err, std::string message);

}  // namespace moat

// Returns the error of a Status or Result expression from the enclosing function.
#define MOAT_TRY(expr)                                                     \
  do {                                                                     \
    if (auto moat_try_ = (expr); !moat_try_) {                             \
      return std::unexpected<::moat::Error>(std::move(moat_try_).error()); \
    }                                                                      \
  } while (false)

// MOAT_ASSIGN(auto x, F()): x = *F(), or returns F()'s error.
// NOLINTBEGIN(bugprone-macro-parentheses): names and declarations cannot stand in parentheses.
#define MOAT_ASSIGN_CAT2(a, b) a##b
#define MOAT_ASSIGN_CAT(a, b) MOAT_ASSIGN_CAT2(a, b)
#define MOAT_ASSIGN_AS(tmp, lhs, expr)                             \
  auto tmp = (expr);                                               \
  if (!tmp) {                                                      \
    return std::unexpected<::moat::Error>(std::move(tmp).error()); \
  }                                                                \
  lhs = std::move(*tmp)
#define MOAT_ASSIGN(lhs, expr) MOAT_ASSIGN_AS(MOAT_ASSIGN_CAT(moat_assign_, __LINE__), lhs, expr)
// NOLINTEND(bugprone-macro-parentheses)
