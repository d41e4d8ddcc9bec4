// SPDX-License-Identifier: Apache-2.0
// Who comes in: what PAM answered.
#include "agent/decode/domain.h"
#include "bpf/abi/login.h"

namespace moat::decode {

static_assert(static_cast<int>(event::LoginStep::kAuthenticate) == MOAT_LOGIN_AUTHENTICATE);
static_assert(static_cast<int>(event::LoginStep::kAccount) == MOAT_LOGIN_ACCOUNT);
static_assert(static_cast<int>(event::LoginStep::kSession) == MOAT_LOGIN_SESSION);
static_assert(static_cast<int>(event::LoginStep::kCount) == MOAT_LOGIN_COUNT);
static_assert(sizeof(event::Login::service.bytes) == MOAT_LOGIN_SERVICE_LEN);
static_assert(sizeof(event::Login::user.bytes) == MOAT_LOGIN_USER_LEN && sizeof(event::Login::by.bytes) == MOAT_LOGIN_USER_LEN);
static_assert(sizeof(event::Login::remote.bytes) == MOAT_LOGIN_REMOTE_LEN);
static_assert(sizeof(event::Login::terminal.bytes) == MOAT_LOGIN_TERMINAL_LEN);

Outcome DecodeLogin(const std::byte* record, event::Event& out) {
  auto step = MOAT_FIELD(record, moat_login, step);
  if (step < MOAT_LOGIN_AUTHENTICATE || step >= MOAT_LOGIN_COUNT) {
    return Outcome::kValue;
  }
  auto& body = Body<event::Login>(out);
  body.step = static_cast<event::LoginStep>(step);
  body.result = MOAT_FIELD(record, moat_login, result);
  LoadString(record + offsetof(moat_login, service), body.service, out.header.flags);
  LoadString(record + offsetof(moat_login, user), body.user, out.header.flags);
  LoadString(record + offsetof(moat_login, remote), body.remote, out.header.flags);
  LoadString(record + offsetof(moat_login, by), body.by, out.header.flags);
  LoadString(record + offsetof(moat_login, terminal), body.terminal, out.header.flags);
  return Outcome::kOk;
}

}  // namespace moat::decode
