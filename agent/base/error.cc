// SPDX-License-Identifier: Apache-2.0
#include "agent/base/error.h"

#include <cerrno>
#include <cstring>

namespace moat {

std::unexpected<Error> FailErrno(int err, std::string message) {
  Code code = Code::kInternal;
  switch (err) {
    case EPERM:
    case EACCES: code = Code::kPermissionDenied; break;
    case ENOENT:
    case ESRCH: code = Code::kNotFound; break;
    case EEXIST: code = Code::kAlreadyExists; break;
    case EINVAL: code = Code::kInvalidArgument; break;
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE: code = Code::kResourceExhausted; break;
    case EOPNOTSUPP:
    case ENOSYS: code = Code::kUnimplemented; break;
    case EAGAIN: code = Code::kUnavailable; break;
    default: break;
  }
  return Fail(code, std::move(message) + ": " + std::strerror(err));
}

}  // namespace moat
