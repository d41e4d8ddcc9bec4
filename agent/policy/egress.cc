// SPDX-License-Identifier: Apache-2.0
// spec.egress: peers, and what holders of an asset may do.
#include <utility>

#include "agent/policy/reader.h"
#include "agent/policy/values.h"

namespace moat::policy {
namespace {

using config::Node;
using config::Reading;
using config::Section;

// "spec.egress.allow[].cidr "10.0.0.1" has no prefix length: ...": what a value is wrong in, told where it stands.
template <typename T>
bool Take(const Reading& reading, const Node& node, const std::string& what, Result<T> value, T& field) {
  if (!value) {
    reading.Complain(node, what + " " + config::Quoted(node.value) + " " + value.error().message);
    return false;
  }
  field = std::move(*value);
  return true;
}

bool IsText(const Reading& reading, const Node& node, const std::string& what) {
  if (node.type != Node::Type::kScalar) {
    reading.Complain(node, what + " must be a text");
  }
  return node.type == Node::Type::kScalar;
}

void ReadPeer(const Reading& reading, const Node& node, const std::string& name, std::vector<Peer>& peers) {
  Section section(reading, &node, name);
  Peer peer{.at = At(reading, node)};
  const Node *cidr = section.Child("cidr"), *fqdn = section.Child("fqdn");
  if (cidr != nullptr && IsText(reading, *cidr, name + ".cidr")) {
    Cidr value;
    if (Take(reading, *cidr, name + ".cidr", ParseCidr(cidr->value), value)) {
      peer.cidr = value;
    }
  }
  if (fqdn != nullptr && IsText(reading, *fqdn, name + ".fqdn")) {
    if (const Status good = CheckFqdn(fqdn->value); good) {
      peer.fqdn = fqdn->value;
    } else {
      reading.Complain(*fqdn, name + ".fqdn " + config::Quoted(fqdn->value) + " " + good.error().message);
    }
  }
  if (node.type == Node::Type::kMap && (cidr == nullptr) == (fqdn == nullptr)) {
    reading.Complain(node, "a peer is told by cidr or by fqdn, one of them");
  }
  const Node* ports = section.Child("ports");
  if (ports != nullptr && ports->type == Node::Type::kList && ports->items.empty()) {
    reading.Complain(*ports, name + ".ports is empty: without it all ports are meant");
  }
  section.Each("ports", [&](const Node& item) {
    Ports value;
    if (IsText(reading, item, name + ".ports[]") && Take(reading, item, name + ".ports[]", ParsePorts(item.value), value)) {
      peer.ports.push_back(value);
    }
  });
  peers.push_back(std::move(peer));
}

void ReadBudget(const Reading& reading, const Node& node, Holding& holding) {
  const std::string name = "spec.egress.holding[].budget";
  Section section(reading, &node, name);
  Budget budget;
  const Node *bytes = section.Child("bytes"), *percent = section.Child("percentOfAsset"), *per = section.Required("per");
  if (bytes != nullptr && IsText(reading, *bytes, name + ".bytes")) {
    Take(reading, *bytes, name + ".bytes", ParseBytes(bytes->value), budget.bytes);
  }
  if (percent != nullptr && IsText(reading, *percent, name + ".percentOfAsset")) {
    Take(reading, *percent, name + ".percentOfAsset", ParsePercent(percent->value), budget.millionths);
  }
  if (per != nullptr && IsText(reading, *per, name + ".per")) {
    Take(reading, *per, name + ".per", ParseDuration(per->value), budget.per_seconds);
  }
  if (node.type == Node::Type::kMap && (bytes == nullptr) == (percent == nullptr)) {
    reading.Complain(node, "a budget is told by bytes or by percentOfAsset, one of them");
  }
  holding.budget = budget;
}

void ReadHolding(const Reading& reading, const Node& node, Egress& egress) {
  const std::string name = "spec.egress.holding[]";
  Section section(reading, &node, name);
  Holding holding{.at = At(reading, node)};
  if (const Node* asset = section.Required("asset")) {
    holding.at = At(reading, *asset);
    section.Text("asset", holding.asset);
  }
  section.Each("allow", [&](const Node& item) { ReadPeer(reading, item, name + ".allow[]", holding.allow); });
  section.Each("deny", [&](const Node& item) { ReadPeer(reading, item, name + ".deny[]", holding.deny); });
  if (const Node* budget = section.Child("budget")) {
    ReadBudget(reading, *budget, holding);
  }
  if (section.Child("allow") == nullptr && section.Child("deny") == nullptr && section.Child("budget") == nullptr) {
    reading.Complain(node, "this rule says nothing of those who hold the asset: give allow, deny or budget");
  }
  if (!holding.asset.empty()) {
    egress.holding.push_back(std::move(holding));
  }
}

}  // namespace

void ReadEgress(const Reading& reading, const Node& node, Policy& policy) {
  Section section(reading, &node, "spec.egress");
  Egress egress;
  std::string fallback = "deny";
  section.Required("default");
  section.OneOf("default", fallback, {"allow", "deny"});
  egress.fallback = fallback == "allow" ? Action::kAllow : Action::kDeny;
  section.Each("allow", [&](const Node& item) { ReadPeer(reading, item, "spec.egress.allow[]", egress.allow); });
  section.Each("deny", [&](const Node& item) { ReadPeer(reading, item, "spec.egress.deny[]", egress.deny); });
  section.Each("holding", [&](const Node& item) { ReadHolding(reading, item, egress); });
  policy.egress = std::move(egress);
}

}  // namespace moat::policy
