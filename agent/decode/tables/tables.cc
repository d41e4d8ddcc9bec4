// SPDX-License-Identifier: Apache-2.0
#include "agent/decode/tables/tables.h"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <functional>

namespace moat::tables {
namespace {

#include <agent/decode/tables/tables.inc>

template <typename Row, size_t N, typename Key, typename Of>
const Row* Find(const Row (&rows)[N], Key key, Of of) {
  const Row* found = std::ranges::lower_bound(rows, key, std::less(), of);
  return found != std::end(rows) && std::invoke(of, *found) == key ? found : nullptr;
}

static_assert(std::ranges::is_sorted(kEscapes, {}, &Escape::number) && std::ranges::is_sorted(kClasses, {}, &Class::id));
static_assert(std::ranges::is_sorted(kControls, {}, &Control::command) && std::ranges::is_sorted(kLegacy, {}, &Legacy::commands));
static_assert(std::ranges::is_sorted(kUvm, {}, &UvmCall::number) && std::ranges::is_sorted(kKfd, {}, &KfdCall::number));
static_assert(std::ranges::is_sorted(kFields, {}, &Field::structure));
static_assert(std::ranges::is_sorted(kDrm, {}, &DriverCall::driver) && std::ranges::is_sorted(kOthers, {}, &DriverCall::driver));

constexpr Version Branch(Version version) { return version / 1'000'000; }

// A layout's last version is the last that was read: later ones of its branch have it too, unless the branch changed once more.
bool Holds(std::span<const Field> structure, const Field& field, Version version) {
  if (field.first != 0 && version < field.first) {
    return false;
  }
  return field.last == 0 || version <= field.last ||
         (Branch(version) == Branch(field.last) && std::ranges::none_of(structure, [&](const Field& other) {
            return other.first > field.last && Branch(other.first) == Branch(version);
          }));
}

const DriverCall* FindCall(std::span<const DriverCall> calls, std::string_view driver, uint32_t number, uint32_t size) {
  const DriverCall* found = nullptr;
  for (const DriverCall& call : std::ranges::equal_range(calls, driver, {}, &DriverCall::driver)) {
    if (call.number == number && (call.size == size || call.size == 0 || size == 0)) {
      found = found == nullptr || call.size == size ? &call : found;
    }
  }
  return found;
}

}  // namespace

Version ParseVersion(std::string_view text) {
  uint32_t parts[3] = {};
  for (size_t i = 0;; ++i) {
    if (i == std::size(parts)) {
      return 0;
    }
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parts[i]);
    if (error != std::errc() || parts[i] > (i == 0 ? 4000 : 999)) {
      return 0;
    }
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    if (text.empty() || text == "\n") {
      return (parts[0] * 1000 + parts[1]) * 1000 + parts[2];
    }
    if (text.front() != '.') {
      return 0;
    }
    text.remove_prefix(1);
  }
}

std::span<const Device> Devices() { return kDevices; }
std::span<const Class> Classes() { return kClasses; }
std::span<const UvmCall> UvmCalls() { return kUvm; }
std::span<const Control> Controls() { return kControls; }
std::span<const Field> Fields() { return kFields; }
std::span<const Meaning> Meanings() { return kMeanings; }

uint32_t CapabilityCategories(const std::string& name) {
  const auto* found = std::ranges::find_if(kCapabilities, [&](const Capability& capability) {
    return fnmatch(std::string(capability.name).c_str(), name.c_str(), FNM_PATHNAME) == 0;
  });
  return found != std::end(kCapabilities) ? found->categories : 0;
}

const Escape* FindEscape(uint32_t number) { return Find(kEscapes, number, &Escape::number); }
const Class* FindClass(uint32_t id) { return Find(kClasses, id, &Class::id); }
const Control* FindControl(uint32_t command) { return Find(kControls, command, &Control::command); }
const Legacy* FindLegacy(uint32_t command) { return Find(kLegacy, command & ~0xffu, &Legacy::commands); }
const UvmCall* FindUvm(uint32_t number) { return Find(kUvm, number, &UvmCall::number); }
const KfdCall* FindKfd(uint32_t number) { return Find(kKfd, number, &KfdCall::number); }

const DriverCall* FindDrm(std::string_view driver, uint32_t number) {
  const DriverCall* shared = FindCall(kDrm, "drm", number, 0);
  return shared != nullptr ? shared : FindCall(kDrm, driver, number, 0);
}

const DriverCall* FindOther(std::string_view driver, uint32_t number, uint32_t size) {
  return FindCall(kOthers, driver, number, size);
}

uint32_t SizeOf(std::string_view structure, Version version) {
  const std::span<const Field> rows = std::ranges::equal_range(kFields, structure, {}, &Field::structure);
  const bool known = version >= kOldestNvidia && version <= kNewestNvidia;
  uint32_t size = 0;
  for (const Field& row : rows) {
    if (!known || Holds(rows, row, version)) {
      if (size != 0 && row.size != size) {
        return 0;
      }
      size = row.size;
    }
  }
  return size;
}

std::optional<Field> FindField(std::string_view structure, std::string_view field, Version version, uint32_t size) {
  const bool known = version >= kOldestNvidia && version <= kNewestNvidia;
  std::optional<Field> found;
  bool fits = false, differ = false;
  const std::span<const Field> rows = std::ranges::equal_range(kFields, structure, {}, &Field::structure);
  for (const Field& row : rows) {
    if (row.field != field) {
      continue;
    }
    const bool of_size = size == 0 || row.size == 0 || row.size == size;
    fits = fits || of_size;
    // Of a version that nobody has read only what is the same in all of them is believed, whatever the size says.
    if (known && (!of_size || !Holds(rows, row, version))) {
      continue;
    }
    differ = differ || (found && (found->offset != row.offset || found->bytes != row.bytes));
    found = row;
  }
  return fits && !differ ? found : std::nullopt;
}

}  // namespace moat::tables
