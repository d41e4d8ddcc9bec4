// SPDX-License-Identifier: Apache-2.0
// Data leaves within the names of DNS questions: a workload asks for many names below one domain, each a new one, that look encoded, or that
// carry much in all. Whoever owns the domain reads them, wherever the question is put: resolvers hand it on.
//
// Benign: names of content networks and of file reputation (random, but few, and asked again and again: a name counts once); reverse lookups
// in their form, which look encoded only to whoever does not know it, and which are asked for pointers; names of a cluster and of a cloud's machines, which no server outside is asked for; a crawl of many hosts (words, and each
// domain by itself). A resolver that hands on what a workload of this host has asked it is not told: who asked first is whose name it is.
//
// Not seen: names directly below a public suffix, each a domain of its own; encodings as words, below dns_kib; a neighbour that is asked for
// names of the cluster.
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstring>

#include "agent/base/recent.h"
#include "agent/base/utf8.h"
#include "agent/detect/detectors.h"
#include "agent/detect/memory.h"
#include "agent/detect/peer.h"
#include "agent/detect/techniques.h"
#include "agent/detect/text.h"

namespace moat::detect {
namespace {

using event::Kind;
using event::Severity;

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint16_t kPointer = 12;  // PTR
constexpr size_t kDomains = 4096, kNames = 262'144;

// Of neighbours, the share that are a letter and a digit, in percent: 47 in random hexadecimal, 31 in base32, 26 in base64 without case;
// in names of hosts a few, also where they are numbered ("ip-10-0-1-17", "worker-0-17").
constexpr uint32_t kChangesPercent = 12;
// Letters alone (base26: 470): more than words have, which reach 410.
constexpr uint32_t kRichEntropy = 445;

// Resolvers may change the case of letters at will (draft-vixie-dnsext-dns0x20), and names mean the same.
std::string Lower(std::string_view name) {
  std::string lower(name);
  for (char& c : lower) {
    c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return lower;
}

// Where the last n labels begin.
size_t LastLabels(std::string_view name, int n) {
  size_t at = name.size();
  for (int i = 0; i < n && at != std::string_view::npos; ++i) {
    at = at == 0 ? std::string_view::npos : name.rfind('.', at - 1);
  }
  return at == std::string_view::npos ? 0 : at + 1;
}

// Where the domain that somebody may have registered begins: the last two labels, three below co.uk and its like. The list of public
// suffixes changes by the week, and what it would add is few names that are taken for one domain.
size_t DomainOf(std::string_view name) {
  const size_t two = LastLabels(name, 2), dot = name.find('.', two);
  if (two == 0 || dot == std::string_view::npos || name.size() - dot - 1 != 2) {
    return two;
  }
  const std::string_view second = name.substr(two, dot - two);
  constexpr std::array<std::string_view, 15> kSuffixes = {"co",  "ac",  "go",  "or",  "ne",  "ed", "gv", "gov",
                                                          "com", "net", "org", "edu", "mil", "ad", "in"};
  return std::ranges::find(kSuffixes, second) != kSuffixes.end() ? LastLabels(name, 3) : two;
}

// Reverse lookups in the form that they have: digits of an address. In any other form these zones are like all others.
bool IsReverse(std::string_view name) {
  const bool v4 = name.ends_with(".in-addr.arpa"), v6 = name.ends_with(".ip6.arpa");
  if (!v4 && !v6) {
    return false;
  }
  size_t length = 0, labels = 1;
  for (const char c : name.substr(0, name.size() - (v4 ? 13 : 9))) {
    const bool digit = (c >= '0' && c <= '9') || (v6 && c >= 'a' && c <= 'f');
    length = c == '.' ? 0 : length + 1;
    labels += c == '.' ? 1 : 0;
    if ((c != '.' && !digit) || length > (v4 ? 3 : 1)) {
      return false;
    }
  }
  return labels <= (v4 ? 4 : 32);
}

// Names that are delegated to nobody, put to a server inside: of a cluster's services (cluster.local) and of a cloud's machines
// (i-0123456789abcdef0.us-west-2.compute.internal). Each rank of a large job asks for all others, by all search paths.
bool StaysInside(std::string_view name, const event::Endpoints& server) {
  return (name.ends_with(".local") || name.ends_with(".internal")) && (IsHere(server) || IsInternal(server));
}

struct Look {
  uint32_t length = 0;  // without dots
  uint32_t entropy = 0;  // hundredths of a bit per character
  uint32_t changes = 0;  // percent of neighbours that are a letter and a digit
};
Look LookAt(std::string_view labels) {
  std::array<uint16_t, 256> counts{};
  Look look;
  uint32_t changes = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    const auto c = static_cast<unsigned char>(labels[i]);
    if (c == '.') {
      continue;
    }
    ++look.length;
    ++counts[c];
    const auto before = static_cast<unsigned char>(i == 0 ? '.' : labels[i - 1]);
    changes += (std::isalpha(c) && std::isdigit(before)) || (std::isdigit(c) && std::isalpha(before)) ? 1 : 0;
  }
  double bits = 0;
  for (const uint16_t count : counts) {
    const double share = static_cast<double>(count) / std::max(look.length, 1u);
    bits -= count != 0 ? share * std::log2(share) : 0;
  }
  look.entropy = static_cast<uint32_t>(std::lround(bits * 100));
  look.changes = look.length > 1 ? 100 * changes / (look.length - 1) : 0;
  return look;
}

std::string Bits(uint64_t hundredths) {
  const std::string fraction = std::to_string(hundredths % 100);
  return std::to_string(hundredths / 100) + (fraction.size() < 2 ? ".0" : ".") + fraction + " bits per character";
}

class DnsTunnel final : public Detector {
 public:
  explicit DnsTunnel(const config::Detect& config) : config_(config), window_(config.dns_window_s * kSecond) {}
  const char* name() const override { return "dns_tunnel"; }
  uint32_t kinds() const override { return Wants(Kind::kNetDns); }
  uint64_t forgotten() const override { return domains_.evicted(); }

  void OnEvent(const event::Event& event, const Scene& scene, Raise& raise) override {
    const auto* dns = std::get_if<event::Dns>(&event.body);
    if (dns == nullptr) {
      return;
    }
    const std::string name = Lower(dns->name.view());
    const size_t at = DomainOf(name);
    const bool reverse = IsReverse(name);
    if (at == 0 || (reverse && dns->type == kPointer) || StaysInside(name, dns->ep) || !seen_.Add(Mix(name))) {
      return;
    }
    const std::string_view labels = std::string_view(name).substr(0, at - 1), domain = std::string_view(name).substr(at);
    const Look look = LookAt(labels);
    const event::Header& header = event.header;
    bool fresh = false;
    Row& row = domains_.Touch({.cgroup_id = header.cgroup_id, .domain = Mix(domain)}, &fresh);
    row.names.Add(1, header.time_ns, window_);
    row.bytes.Add(look.length, header.time_ns, window_);
    if (!reverse && LooksEncoded(look)) {
      row.encoded.Add(1, header.time_ns, window_);
      row.entropy.Add(look.entropy, header.time_ns, window_);
    }
    const Sums sums = {.names = row.names.Sum(header.time_ns, window_),
                       .bytes = row.bytes.Sum(header.time_ns, window_),
                       .encoded = row.encoded.Sum(header.time_ns, window_),
                       .entropy = row.entropy.Sum(header.time_ns, window_)};
    const bool many = sums.encoded >= config_.dns_names, much = sums.bytes >= uint64_t{config_.dns_kib} * 1024;
    // Each second in which it goes on is one time that it was seen.
    if ((!many && !much) || (row.told_ns != 0 && header.time_ns < row.told_ns + kSecond)) {
      return;
    }
    row.told_ns = header.time_ns;
    Tell(header, *dns, Printable(domain), sums, many, much, scene, raise);
  }

 private:
  struct Key {
    uint64_t cgroup_id = 0, domain = 0;
  };
  struct Row {
    Window names, bytes, encoded, entropy;  // entropy: of the encoded ones, added up
    uint64_t told_ns = 0;
  };
  struct Sums {
    uint64_t names, bytes, encoded, entropy;
  };

  bool LooksEncoded(const Look& look) const {
    return look.length >= config_.dns_length && look.entropy >= config_.dns_entropy &&
           (look.changes >= kChangesPercent || look.entropy >= kRichEntropy);
  }

  void Tell(const event::Header& header, const event::Dns& dns, const std::string& domain, const Sums& sums, bool many, bool much,
            const Scene& scene, Raise& raise) const {
    const bool owned = header.process.pid != 0;
    const std::string who = owned ? Who(scene, header) : "a process that is not known", peer = PeerName(dns.ep);
    const std::string span = " within " + std::to_string(config_.dns_window_s) + " s";
    const std::string names = std::to_string(sums.names) + " names below " + domain;
    const std::string bits = sums.encoded != 0 ? Bits(sums.entropy / sums.encoded) : "";
    const bool holds = header.labels != 0;
    std::vector<std::string> assets;
    for (uint64_t labels = header.labels; labels != 0; labels &= labels - 1) {
      assets.push_back(AssetName(scene, static_cast<uint32_t>(std::countr_zero(labels))));
    }
    std::vector<std::string> evidence = {"asked " + peer + " for " + Printable(dns.name.view()) + ", " +
                                         event::DnsTypeName(dns.type)};
    evidence.push_back(names + " that were not asked for before, with " + Bytes(sums.bytes) + " in them," + span);
    if (sums.encoded != 0) {
      evidence.push_back(std::to_string(sums.encoded) + " of them look encoded, " + bits);
    }
    raise(
        {.kind = event::FindingKind::kDnsTunnel,
         .severity = holds  ? Severity::kCritical
                     : many ? Severity::kHigh
                            : Severity::kMedium,
         .confidence = static_cast<uint8_t>(many && much ? 90
                                            : many       ? 75
                                                         : 50),
         .cause = domain,
         .process = header.process,
         .title = who + " asked DNS for " + names + (many ? " that look encoded" : "") + ": " + Bytes(sums.bytes) + span,
         .explanation =
             who + " and others of its workload asked for " + names + " that nobody had asked for before, " +
             std::to_string(sums.encoded) + " of them long and as random as encoded data" +
             (bits.empty() ? "" : " (" + bits + ")") + ". In all they carry " + Bytes(sums.bytes) + span + ", the last put to " +
             peer +
             ". Resolvers hand such questions on to whoever owns the domain, so data leaves by them from where no connection "
             "does, and commands come back in the answers." +
             (holds ? " The process has read protected assets." : "") +
             " It is harmless if the domain is that of a service that is asked so: block lists, reputation of files, telemetry. "
             "If the process is a resolver for other hosts, it is one of them that asks.",
         .action = "Find out whose " + domain + " is and what started this program. If nobody can say, block the domain at the " +
                   "resolver, cut the workload off (a policy with egress.default: deny that allows only the resolver it needs)" +
                   " and look at what it asked (moatctl watch --since oldest --kind net_dns" +
                   (owned ? " --pid " + std::to_string(header.process.pid) : std::string()) + ").",
         .assets = std::move(assets),
         .peers = {peer},
         .evidence = std::move(evidence),
         .techniques = {technique::kDns, technique::kProtocolExfiltration, technique::kExfiltration}});
  }

  const config::Detect config_;
  const uint64_t window_;
  Recent<Key, Row> domains_{kDomains};
  Seen seen_{kNames};
};

}  // namespace

std::unique_ptr<Detector> MakeDnsTunnel(const config::Detect& config) { return std::make_unique<DnsTunnel>(config); }

}  // namespace moat::detect
