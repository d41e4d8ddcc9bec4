// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/kernel_btf.h"

#include <fcntl.h>
#include <linux/btf.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <cstring>
#include <memory>

#include "agent/base/fd.h"

namespace moat::probe {
namespace {

constexpr const char* kPath = "/sys/kernel/btf/vmlinux";

// Bytes that follow a type's first twelve; negative: a kind that this program does not know, so the rest cannot be read.
long Extra(uint32_t kind, uint32_t members) {
  switch (kind) {
    case BTF_KIND_INT:
    case BTF_KIND_VAR:
    case BTF_KIND_DECL_TAG: return 4;
    case BTF_KIND_ARRAY: return 12;
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
    case BTF_KIND_DATASEC:
    case BTF_KIND_ENUM64: return 12L * members;
    case BTF_KIND_ENUM:
    case BTF_KIND_FUNC_PROTO: return 8L * members;
    case BTF_KIND_PTR:
    case BTF_KIND_FWD:
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_VOLATILE:
    case BTF_KIND_CONST:
    case BTF_KIND_RESTRICT:
    case BTF_KIND_FUNC:
    case BTF_KIND_FLOAT:
    case BTF_KIND_TYPE_TAG: return 0;
    default: return -1;
  }
}

}  // namespace

Result<KernelBtf> KernelBtf::Parse(std::string_view bytes, std::span<const Name> names) {
  btf_header header{};
  const auto broken = [] { return Fail(Code::kDataLoss, "the kernel's BTF cannot be understood"); };
  if (bytes.size() < sizeof(header)) {
    return broken();
  }
  std::memcpy(&header, bytes.data(), sizeof(header));
  const uint64_t types_at = uint64_t{header.hdr_len} + header.type_off, strings_at = uint64_t{header.hdr_len} + header.str_off;
  if (header.magic != BTF_MAGIC || types_at + header.type_len > bytes.size() || strings_at + header.str_len > bytes.size()) {
    return broken();
  }
  std::string_view types = bytes.substr(types_at, header.type_len);
  const std::string_view strings = bytes.substr(strings_at, header.str_len);
  // Where the wanted strings lie: one pass in order, 3 MB, so that the pass over 126,000 types touches no string at all.
  std::map<std::string_view, uint32_t> offsets;
  for (const Name& name : names) {
    offsets[name.second] = UINT32_MAX;
  }
  constexpr auto kShape = [](std::string_view name) { return (name.size() & 255) << 8 | static_cast<uint8_t>(name.back()); };
  std::bitset<65536> shapes;  // length and last letter: what few of 100,000 strings share with a wanted one
  for (const auto& [name, offset] : offsets) {
    if (!name.empty()) {
      shapes.set(kShape(name));
    }
  }
  for (const char *at = strings.data(), *end = at + strings.size(); at < end;) {
    const auto* zero = static_cast<const char*>(std::memchr(at, 0, static_cast<size_t>(end - at)));
    const std::string_view name(at, static_cast<size_t>((zero != nullptr ? zero : end) - at));
    if (!name.empty() && shapes.test(kShape(name))) {
      if (const auto found = offsets.find(name); found != offsets.end()) {
        found->second = static_cast<uint32_t>(at - strings.data());
      }
    }
    at += name.size() + 1;
  }
  std::map<std::pair<uint32_t, uint32_t>, const Name*> wanted;  // kind, offset
  std::bitset<256> maybe;                                      // by the offset's low byte: nearly every type stops here
  for (const Name& name : names) {
    wanted[{name.first, offsets[name.second]}] = &name;
    maybe.set(offsets[name.second] & 255);
  }
  KernelBtf out;
  for (int id = 1; !types.empty(); ++id) {
    btf_type type;
    if (types.size() < sizeof(type)) {
      return broken();
    }
    std::memcpy(&type, types.data(), sizeof(type));
    const uint32_t kind = BTF_INFO_KIND(type.info);
    const long extra = Extra(kind, BTF_INFO_VLEN(type.info));
    if (extra < 0 || types.size() < sizeof(type) + static_cast<size_t>(extra)) {
      return broken();
    }
    types.remove_prefix(sizeof(type) + static_cast<size_t>(extra));
    if (maybe.test(type.name_off & 255)) {
      if (const auto found = wanted.find({kind, type.name_off}); found != wanted.end()) {
        out.ids_.emplace(*found->second, id);
      }
    }
  }
  return out;
}

Result<KernelBtf> KernelBtf::Load(std::span<const Name> names) {
  Fd file(open(kPath, O_RDONLY | O_CLOEXEC));
  struct stat info{};
  if (!file || fstat(file.get(), &info) != 0) {
    return FailErrno(errno, std::string(kPath) + " (the kernel needs CONFIG_DEBUG_INFO_BTF)");
  }
  const auto size = static_cast<size_t>(info.st_size);
  // Kernel 6.16 lets it be mapped: no copy of 5 MB.
  if (void* map = mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file.get(), 0); map != MAP_FAILED) {
    auto parsed = Parse({static_cast<const char*>(map), size}, names);
    munmap(map, size);
    return parsed;
  }
  const auto bytes = std::make_unique_for_overwrite<char[]>(size);
  size_t have = 0;
  for (ssize_t got = 0; have < size && (got = read(file.get(), bytes.get() + have, size - have)) > 0;) {
    have += static_cast<size_t>(got);
  }
  return Parse({bytes.get(), have}, names);
}

int KernelBtf::Find(uint32_t kind, std::string_view name) const {
  const auto found = ids_.find({kind, std::string(name)});
  return found != ids_.end() ? found->second : -1;
}

}  // namespace moat::probe
