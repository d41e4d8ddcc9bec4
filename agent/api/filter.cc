// SPDX-License-Identifier: Apache-2.0
#include "agent/api/filter.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>

#include "agent/base/strings.h"
#include "agent/base/utf8.h"
#include "agent/event/finding.h"

namespace moat::api {

namespace {

using event::Kind;

static_assert(static_cast<size_t>(event::FindingKind::kCount) <= 64, "finding_kinds_ is a 64-bit mask");

// A value of the request in a message: short, and nothing in it that a terminal would act on.
std::string Quoted(const std::string& value) {
  return '"' + Printable(std::string_view(value).substr(0, 80)) + (value.size() > 80 ? "...\"" : "\"");
}

std::string Join(const std::vector<std::string_view>& words) {
  std::string text;
  for (size_t i = 0; i < words.size() && i < 24; ++i) {
    text += (i ? ", " : "") + Printable(words[i]);
  }
  return text.empty() ? "none" : words.size() > 24 ? text + ", ..." : text;
}

// what: "kind". Names the value, the nearest right one, and all right ones.
std::unexpected<Error> NotOne(const char* what, const std::string& value, const std::vector<std::string_view>& right) {
  return Fail(Code::kInvalidArgument, std::string("filter: no such ") + what + ": " + Quoted(value) + DidYouMean(value, right) +
                                          "; there are: " + Join(right));
}

template <typename T>
Status CheckSize(const char* field, const std::vector<T>& values) {
  if (values.size() > Filter::kMaxValues) {
    return Fail(Code::kInvalidArgument, std::string("filter: ") + field + " has " + std::to_string(values.size()) +
                                            " values, the limit is " + std::to_string(Filter::kMaxValues));
  }
  if constexpr (std::is_same_v<T, std::string>) {
    for (const T& value : values) {
      if (value.empty() || value.size() > Filter::kMaxText) {
        return Fail(Code::kInvalidArgument, std::string("filter: ") + field + " has a value that is " +
                                                (value.empty() ? "empty" : "longer than 4096 bytes"));
      }
    }
  }
  return {};
}

Result<uint32_t> ParseKind(const std::string& name) {
  const uint32_t kinds = event::KindsFromName(name);
  return kinds != 0 ? Result<uint32_t>(kinds) : NotOne("kind", name, event::KindWords());
}

template <typename T>
bool ParseNumber(std::string_view text, T* value) {
  auto parsed = std::from_chars(text.data(), text.data() + text.size(), *value);
  return !text.empty() && parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

bool SamePrefix(const std::array<uint8_t, 16>& a, const std::array<uint8_t, 16>& b, uint8_t bits) {
  size_t whole = bits / 8, rest = bits % 8;
  if (std::memcmp(a.data(), b.data(), whole) != 0) {
    return false;
  }
  return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

}  // namespace

Result<Filter::Destination> Filter::ParseDestination(const std::string& text) {
  auto bad = [&](const std::string& why) {
    return Fail(
        Code::kInvalidArgument,
        "filter: destination " + Quoted(text) + ": " + why +
            "; write ADDRESS, ADDRESS/BITS, ADDRESS:PORT, [IPV6/BITS]:PORT or *:PORT, for instance 10.0.0.0/8 or [::1]:443");
  };
  std::string_view address = text, port;
  if (address.starts_with('[')) {
    size_t close = address.find(']');
    if (close == std::string_view::npos) {
      return bad("the bracket is not closed");
    }
    port = address.substr(close + 1);
    address = address.substr(1, close - 1);
    if (!port.empty() && port[0] != ':') {
      return bad("after the bracket only :PORT may follow");
    }
  } else if (std::ranges::count(address, ':') == 1) {
    port = address.substr(address.find(':'));
    address = address.substr(0, address.find(':'));
  }
  Destination result;
  if (!port.empty() && (!ParseNumber(port.substr(1), &result.port) || result.port == 0)) {
    return bad("the port is not a number from 1 to 65535");
  }
  if (address == "*") {
    result.any_address = true;
    return result;
  }
  size_t slash = address.find('/');
  std::string ip(address.substr(0, slash));
  result.ipv6 = ip.find(':') != std::string::npos;
  uint8_t width = result.ipv6 ? 128 : 32;
  if (inet_pton(result.ipv6 ? AF_INET6 : AF_INET, ip.c_str(), result.prefix.data()) != 1 || ip.find('\0') != std::string::npos) {
    return bad("the address is no IP address (names are not looked up)");
  }
  result.bits = width;
  if (slash != std::string_view::npos && (!ParseNumber(address.substr(slash + 1), &result.bits) || result.bits > width)) {
    return bad("the prefix length is not a number from 0 to " + std::to_string(width));
  }
  // Bits below the prefix are a slip of the writer more often than not: said, not masked away.
  auto network = result.prefix;
  for (size_t bit = result.bits; bit < width; ++bit) {
    network[bit / 8] &= static_cast<uint8_t>(~(0x80u >> bit % 8));
  }
  if (network != result.prefix) {
    char name[INET6_ADDRSTRLEN] = "";
    inet_ntop(result.ipv6 ? AF_INET6 : AF_INET, network.data(), name, sizeof(name));
    return bad("the address has bits below its prefix (did you mean " + std::string(name) + "/" + std::to_string(result.bits) +
               "?)");
  }
  return result;
}

Result<Filter> Filter::Make(const FilterSpec& spec, const Known& known) {
  MOAT_TRY(CheckSize("kinds", spec.kinds));
  MOAT_TRY(CheckSize("pids", spec.pids));
  MOAT_TRY(CheckSize("cgroups", spec.cgroups));
  MOAT_TRY(CheckSize("assets", spec.assets));
  MOAT_TRY(CheckSize("devices", spec.devices));
  MOAT_TRY(CheckSize("destinations", spec.destinations));
  MOAT_TRY(CheckSize("finding_kinds", spec.finding_kinds));
  Filter filter;
  for (const auto& name : spec.kinds) {
    MOAT_ASSIGN(uint32_t bits, ParseKind(name));
    filter.kinds_ |= bits;
  }
  filter.pids_ = spec.pids;
  std::ranges::sort(filter.pids_);
  for (std::string path : spec.cgroups) {
    if (path[0] != '/') {
      return Fail(
          Code::kInvalidArgument,
          "filter: cgroup " + Quoted(path) + " is not a path below the cgroup2 mount (did you mean " + Quoted("/" + path) + "?)");
    }
    while (path.ends_with('/')) {
      path.pop_back();  // "/" becomes "": every known cgroup
    }
    filter.cgroups_.push_back(std::move(path));
  }
  for (const auto& name : spec.assets) {
    if (std::ranges::find(known.assets, name) == known.assets.end()) {
      return NotOne("asset", name, {known.assets.begin(), known.assets.end()});
    }
  }
  filter.assets_ = spec.assets;
  for (const auto& name : spec.devices) {
    if (auto known_class = event::GpuClassFromName(name); known_class != event::GpuClass::kNone) {
      filter.device_classes_ |= 1u << static_cast<uint32_t>(known_class);
      continue;
    }
    if (std::ranges::find(known.device_paths, name) == known.device_paths.end()) {
      std::vector<std::string_view> right(known.device_paths.begin(), known.device_paths.end());
      for (uint32_t i = 1; i < static_cast<uint32_t>(event::GpuClass::kCount); ++i) {
        right.emplace_back(event::GpuClassName(static_cast<event::GpuClass>(i)));
      }
      return NotOne("device path or class", name, right);
    }
    filter.device_paths_.push_back(name);
  }
  for (const auto& text : spec.destinations) {
    MOAT_ASSIGN(Destination destination, ParseDestination(text));
    filter.destinations_.push_back(destination);
  }
  for (const std::string& name : spec.finding_kinds) {
    const event::FindingKind kind = event::FindingKindFromName(name);
    if (kind == event::FindingKind::kNone) {
      std::vector<std::string_view> right;
      for (size_t i = 1; i < static_cast<size_t>(event::FindingKind::kCount); ++i) {
        right.emplace_back(event::FindingKindName(static_cast<event::FindingKind>(i)));
      }
      return NotOne("kind of finding", name, right);
    }
    filter.finding_kinds_ |= uint64_t{1} << static_cast<uint8_t>(kind);
  }
  filter.min_severity_ = spec.min_severity;
  filter.empty_ = filter.finding_kinds_ == 0 && filter.min_severity_ == 0 && spec.kinds.empty() && spec.pids.empty() &&
                  spec.cgroups.empty() && spec.assets.empty() && spec.devices.empty() && spec.destinations.empty();
  return filter;
}

void Filter::Bind(const std::shared_ptr<const event::Names>& names) {
  if (names_ == names) {
    return;
  }
  names_ = names;
  asset_bits_ = 0;
  rdevs_.clear();
  if (!names) {
    return;
  }
  for (size_t id = 0; id < names->assets.size() && id < event::kMaxAssets; ++id) {
    if (std::ranges::find(assets_, names->assets[id].name) != assets_.end()) {
      asset_bits_ |= uint64_t{1} << id;
    }
  }
  for (const auto& [rdev, path] : names->devices) {
    if (std::ranges::find(device_paths_, path) != device_paths_.end()) {
      rdevs_.push_back(rdev);
    }
  }
}

bool Filter::Matches(const event::Event& event) const {
  if (empty_) {
    return true;
  }
  const event::Header& header = event.header;
  if (const auto* gap = std::get_if<event::Gap>(&event.body)) {
    return kinds_ == 0 || gap->lost_kind == Kind::kNone ||
           (kinds_ & (event::KindBit(gap->lost_kind) | event::KindBit(Kind::kGap)));
  }
  if (const auto* finding = std::get_if<event::FindingPtr>(&event.body); finding != nullptr && *finding != nullptr) {
    if (static_cast<uint32_t>((*finding)->severity) < min_severity_ ||
        (finding_kinds_ != 0 && (finding_kinds_ >> static_cast<uint8_t>((*finding)->kind) & 1) == 0)) {
      return false;
    }
  }
  if (kinds_ && !(kinds_ & event::KindBit(header.kind))) {
    return false;
  }
  if (!pids_.empty() && !std::ranges::binary_search(pids_, header.process.pid)) {
    const auto* fork = std::get_if<event::Fork>(&event.body);
    if (!fork || !std::ranges::binary_search(pids_, fork->child.pid)) {
      return false;
    }
  }
  return (cgroups_.empty() || MatchesCgroup(header)) && (assets_.empty() || MatchesAsset(event)) &&
         ((device_paths_.empty() && !device_classes_) || MatchesDevice(event)) &&
         (destinations_.empty() || MatchesDestination(event));
}

bool Filter::MatchesCgroup(const event::Header& header) const {
  if (!header.info || header.info->cgroup.empty()) {
    return false;
  }
  std::string_view path = header.info->cgroup;
  return std::ranges::any_of(cgroups_, [&](const std::string& prefix) {
    return path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/');
  });
}

bool Filter::MatchesAsset(const event::Event& event) const {
  if (event.header.labels & asset_bits_) {
    return true;
  }
  return std::visit(
      [&](const auto& body) {
        if constexpr (requires { body.asset; }) {
          return body.asset < event::kMaxAssets && (asset_bits_ >> body.asset & 1);
        } else {
          return false;
        }
      },
      event.body);
}

bool Filter::MatchesDevice(const event::Event& event) const {
  return std::visit(
      [&](const auto& body) {
        if constexpr (requires { body.device_class; }) {
          return (device_classes_ >> static_cast<uint32_t>(body.device_class) & 1) ||
                 std::ranges::find(rdevs_, body.rdev) != rdevs_.end();
        } else {
          return false;
        }
      },
      event.body);
}

bool Filter::MatchesDestination(const event::Event& event) const {
  return std::visit(
      [&](const auto& body) {
        if constexpr (requires { body.ep; }) {
          const event::Address& to = event.header.kind == Kind::kNetListen ? body.ep.local : body.ep.remote;
          return std::ranges::any_of(destinations_, [&](const Destination& want) {
            return (want.port == 0 || want.port == to.port) &&
                   (want.any_address ||
                    (body.ep.other_family == 0 && want.ipv6 == body.ep.ipv6 && SamePrefix(want.prefix, to.bytes, want.bits)));
          });
        } else {
          return false;
        }
      },
      event.body);
}

}  // namespace moat::api
