// SPDX-License-Identifier: Apache-2.0
#include "agent/api/roles.h"

#include <algorithm>
#include <cctype>

namespace moat::api {
namespace {

constexpr MethodRole kMethods[] = {
    {"/grpc.health.v1.Health/Check", Role::kViewer},
    {"/grpc.health.v1.Health/Watch", Role::kViewer},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Role::kViewer},
    {"/moat.v1.Findings/List", Role::kViewer},
    {"/moat.v1.Inventory/ListAssets", Role::kViewer},
    {"/moat.v1.Inventory/ListDevices", Role::kViewer},
    {"/moat.v1.Inventory/ListFlows", Role::kViewer},
    {"/moat.v1.Inventory/ListGpus", Role::kViewer},
    {"/moat.v1.Inventory/ListWorkloads", Role::kViewer},
    {"/moat.v1.Monitor/Watch", Role::kViewer},
    {"/moat.v1.Policies/Apply", Role::kPolicyAdmin},
    {"/moat.v1.Policies/Check", Role::kViewer},
    {"/moat.v1.Policies/Clear", Role::kPolicyAdmin},
    {"/moat.v1.Policies/Delete", Role::kPolicyAdmin},
    {"/moat.v1.Policies/Explain", Role::kViewer},
    {"/moat.v1.Policies/Get", Role::kViewer},
    {"/moat.v1.Policies/List", Role::kViewer},
    {"/moat.v1.Policies/Rollback", Role::kPolicyAdmin},
    {"/moat.v1.Status/Get", Role::kViewer},
};

std::string Lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// A URI's rest behind the wildcard: a path that means what it says. With "..", escapes or a query it could be read as another.
bool IsPlainPath(std::string_view rest) {
  constexpr std::string_view kOdd = "%?#*\\";
  for (size_t begin = 0; begin <= rest.size();) {
    const size_t end = std::min(rest.find('/', begin), rest.size());
    const std::string_view part = rest.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") {
      return false;
    }
    begin = end + 1;
  }
  return rest.find_first_of(kOdd) == std::string_view::npos &&
         std::ranges::all_of(rest, [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace

const char* RoleName(Role role) {
  switch (role) {
    case Role::kViewer: return "viewer";
    case Role::kPolicyAdmin: return "policy-admin";
  }
  return "";
}

std::span<const MethodRole> MethodRoles() { return kMethods; }

const MethodRole* FindMethod(std::string_view path) {
  const auto* const found = std::ranges::find(kMethods, path, &MethodRole::path);
  return found == std::end(kMethods) ? nullptr : found;
}

Bindings::Bindings(const std::vector<config::RoleBinding>& bindings) {
  for (const config::RoleBinding& from : bindings) {
    Binding binding{.san = from.san, .role = from.role == "policy-admin" ? Role::kPolicyAdmin : Role::kViewer};
    if (from.san.find("://") != std::string::npos) {
      binding.below = from.san.ends_with("/*");
      if (binding.below) {
        binding.san.pop_back();
      }
      uris_.push_back(std::move(binding));
    } else if (from.san.find('@') != std::string::npos) {
      emails_.push_back(std::move(binding));
    } else {
      binding.san = Lower(binding.san);
      dns_.push_back(std::move(binding));
    }
  }
}

bool Bindings::Fits(const Binding& binding, const std::string& name) {
  if (!binding.below) {
    return name == binding.san;
  }
  return name.starts_with(binding.san) && IsPlainPath(std::string_view(name).substr(binding.san.size()));
}

std::optional<Identity> Bindings::Find(const Names& names) const {
  std::optional<Identity> best;
  const auto look = [&best](const std::vector<Binding>& bindings, const std::string& compared, const std::string& name) {
    for (const Binding& binding : bindings) {
      if (Fits(binding, compared) && (!best || best->role < binding.role)) {
        best = Identity{name, binding.role};
      }
    }
  };
  for (const std::string& name : names.uris) {
    look(uris_, name, name);
  }
  for (const std::string& name : names.dns) {
    look(dns_, Lower(name), name);
  }
  for (const std::string& name : names.emails) {
    look(emails_, name, name);
  }
  return best;
}

}  // namespace moat::api
