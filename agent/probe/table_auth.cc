// SPDX-License-Identifier: Apache-2.0
// The rows of domain auth.
#include "agent/probe/table.h"

namespace moat::probe {
namespace {

constexpr Unseen kLogins = {"login", "who logs in, or tries to: PAM's answers"};
constexpr Unseen kOwnPam = {"own_pam",
                            "logins inside containers that bring a libpam of their own, and of programs that use none"};

Row PamRow(const char* event, const char* program, std::string_view function, moat_kind missed) {
  return {event,
          "auth",
          {{.backend = Backend::kUprobe, .program = program, .attach = {function}, .missed = missed, .unseen = {kOwnPam}}},
          {kLogins}};
}

}  // namespace

std::vector<Row> AuthRows() {
  return {
      PamRow("auth.authenticate", "moat_auth_authenticate", "pam_authenticate", MOAT_KIND_NONE),
      PamRow("auth.authenticate_ended", "moat_auth_authenticate_ended", "pam_authenticate", MOAT_KIND_LOGIN),
      PamRow("auth.account", "moat_auth_account", "pam_acct_mgmt", MOAT_KIND_NONE),
      PamRow("auth.account_ended", "moat_auth_account_ended", "pam_acct_mgmt", MOAT_KIND_LOGIN),
      PamRow("auth.session", "moat_auth_session", "pam_open_session", MOAT_KIND_NONE),
      PamRow("auth.session_ended", "moat_auth_session_ended", "pam_open_session", MOAT_KIND_LOGIN),
  };
}

}  // namespace moat::probe
