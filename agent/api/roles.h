// SPDX-License-Identifier: Apache-2.0
// Who may call what on the network: from the names in a client's certificate to a role, and from a method to the role it asks for.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/config/api.h"

namespace moat::api {

// Each includes the ones before it.
enum class Role : uint8_t { kViewer = 1, kPolicyAdmin = 2 };
const char* RoleName(Role role);  // "viewer", "policy-admin", as in moatd.yaml

struct MethodRole {
  std::string_view path;  // "/moat.v1.Status/Get"
  Role role;
};

// The one table of methods. What is not in it is served to nobody on the network.
std::span<const MethodRole> MethodRoles();
// Its row; null: there is none.
const MethodRole* FindMethod(std::string_view path);

// The names of a certificate, as SAN has them.
struct Names {
  std::vector<std::string> uris, dns, emails;
  bool empty() const { return uris.empty() && dns.empty() && emails.empty(); }
};

struct Identity {
  std::string name;  // the name of the certificate that a binding fits
  Role role = Role::kViewer;
  bool operator==(const Identity&) const = default;
};

// Immutable: any thread.
class Bindings {
 public:
  Bindings() = default;
  explicit Bindings(const std::vector<config::RoleBinding>& bindings);

  // The most that any of the names gives; of equals the first name. A binding is compared with names of its own kind only: one with
  // "://" with URIs, one with "@" with e-mail names, another with DNS names.
  std::optional<Identity> Find(const Names& names) const;

 private:
  struct Binding {
    std::string san;  // without the '*'
    bool below = false;
    Role role;
  };
  static bool Fits(const Binding& binding, const std::string& name);
  std::vector<Binding> uris_, dns_, emails_;
};

}  // namespace moat::api
