// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/kernel_btf.h"

#include <fcntl.h>
#include <linux/btf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "agent/base/fd.h"

namespace moat::probe {
namespace {

constexpr const char* kPath = "/sys/kernel/btf/vmlinux";
constexpr std::string_view kTrace = "btf_trace_";

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
    if ((kind != BTF_KIND_TYPEDEF && kind != BTF_KIND_FUNC && kind != BTF_KIND_STRUCT) || type.name_off >= strings.size()) {
      continue;
    }
    const std::string_view rest = strings.substr(type.name_off);
    if (kind == BTF_KIND_TYPEDEF && rest.starts_with(kTrace)) {
      out.ids_.emplace(std::pair(kind, std::string(rest.substr(0, rest.find('\0')))), id);
      continue;
    }
    for (const Name& name : names) {
      if (name.first == kind && rest.starts_with(name.second) && rest.substr(name.second.size()).starts_with('\0')) {
        out.ids_.emplace(std::pair(kind, std::string(name.second)), id);
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
