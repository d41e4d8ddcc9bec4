// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/call_site.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <utility>

#include "agent/base/fd.h"
#include "bpf/abi/gpu.h"

namespace moat::probe {
namespace {

#if defined(__x86_64__)
constexpr size_t kStep = 1, kCallLength = 5;
#elif defined(__aarch64__)
constexpr size_t kStep = 4, kCallLength = 4;
#endif
// Of x86: before a function lies what calls of it go through where their depth is tracked (arch/x86/kernel/callthunks.c), and calls skip its
// landing pad, four bytes (arch/x86/kernel/alternative.c).
constexpr uint64_t kPadding = 16, kLandingPad = 4;

int64_t Distance(std::span<const uint8_t> code) {  // from the instruction's own address; 0: it is no direct call
#if defined(__x86_64__)
  constexpr uint8_t kCall = 0xe8,
                    kBreak = 0xcc;  // the latter where a probe is already, another agent's: in place of the first byte only
  int32_t relative = 0;
  std::memcpy(&relative, &code[1], sizeof(relative));
  return code[0] == kCall || code[0] == kBreak ? int64_t{relative} + static_cast<int64_t>(kCallLength) : 0;
#elif defined(__aarch64__)
  uint32_t word = 0;
  std::memcpy(&word, code.data(), sizeof(word));
  return word >> 26 == 0x25 ? int64_t{static_cast<int32_t>(word << 6)} >> 4 : 0;
#endif
}

struct Symbol {
  std::string name, module;
};
using Symbols = std::multimap<uint64_t, Symbol>;

// Of modules only: "address type name\t[module]".
Symbols ReadSymbols(std::istream& lines) {
  Symbols symbols;
  for (std::string line; std::getline(lines, line);) {
    if (!line.ends_with(']')) {
      continue;
    }
    std::istringstream words(line);
    uint64_t address = 0;
    std::string type;
    Symbol symbol;
    if (words >> std::hex >> address >> type >> symbol.name >> symbol.module && (type == "t" || type == "T")) {
      symbols.emplace(address, std::move(symbol));
    }
  }
  return symbols;
}

}  // namespace

std::vector<uint64_t> CallsIn(std::span<const uint8_t> text, uint64_t address, uint64_t callee, uint64_t before,
                              uint64_t beyond) {
  std::vector<uint64_t> calls;
  for (size_t at = 0; at + kCallLength <= text.size(); at += kStep) {
    const int64_t distance = Distance(text.subspan(at, kCallLength));
    const uint64_t target = address + at + static_cast<uint64_t>(distance);
    if (distance != 0 && target >= callee - before && target <= callee + beyond) {
      calls.push_back(at);
    }
  }
  return calls;
}

Result<std::vector<CallSite>> FindCalls(std::istream& symbols, std::string_view callee, std::span<const std::string_view> callers,
                                        const ReadText& read) {
  const Symbols known = ReadSymbols(symbols);
  const auto named = std::ranges::find_if(known, [&](const auto& one) { return one.second.name == callee; });
  if (named == known.end()) {
    return Fail(Code::kNotFound, "no module has " + std::string(callee));
  }
  const uint64_t target = named->first;
  if (target == 0) {
    return Fail(Code::kPermissionDenied,
                "where it lies is not told (/proc/kallsyms: CAP_SYSLOG is lacking, or kernel.kptr_restrict is 2)");
  }
  const auto above = known.lower_bound(target);  // what lies before it is another function's up to there
  const uint64_t gap = above == known.begin() ? kPadding : target - std::prev(above)->first - 1;
  std::vector<CallSite> sites;
  std::string looked;
  for (const auto& [address, symbol] : known) {
    if (symbol.module != named->second.module || std::ranges::find(callers, symbol.name) == callers.end()) {
      continue;
    }
    const auto next = known.upper_bound(address);
    const uint64_t size = next == known.end() ? MOAT_GPU_TEXT_LEN : std::min<uint64_t>(next->first - address, MOAT_GPU_TEXT_LEN);
    MOAT_ASSIGN(const std::vector<uint8_t> text, read(address, size));
    for (const uint64_t call : CallsIn(text, address, target, std::min(gap, kPadding), kLandingPad)) {
      sites.push_back({symbol.name, call, call + kCallLength});
    }
    looked += (looked.empty() ? "" : ", ") + symbol.name;
  }
  if (sites.empty()) {
    return Fail(Code::kNotFound, looked.empty() ? "none of its known callers is there" : "no call of it in " + looked);
  }
  return sites;
}

ReadText TextReader(bpf_program* program, int map) {
  return [program, map](uint64_t address, size_t length) -> Result<std::vector<uint8_t>> {
    if (program == nullptr || map < 0) {
      return Fail(Code::kUnavailable, "the kernel's machine code cannot be read: no task iterator here (row gpu.text)");
    }
    const auto text = std::make_unique<moat_gpu_text>();
    const uint32_t zero = 0;
    text->address = address;
    text->length = static_cast<uint32_t>(std::min<size_t>(length, MOAT_GPU_TEXT_LEN));
    if (bpf_map_update_elem(map, &zero, text.get(), BPF_ANY) != 0) {
      return FailErrno(errno, "ask for the kernel's machine code");
    }
    LIBBPF_OPTS(bpf_iter_attach_opts, options);
    bpf_link* link = bpf_program__attach_iter(program, &options);
    if (link == nullptr) {
      return FailErrno(errno, "attach the iterator that reads the kernel's machine code");
    }
    const Fd file(bpf_iter_create(bpf_link__fd(link)));
    bpf_link__destroy(link);
    char none = 0;
    if (!file || read(file.get(), &none, sizeof(none)) < 0) {
      return FailErrno(errno, "read the kernel's machine code");
    }
    if (bpf_map_lookup_elem(map, &zero, text.get()) != 0) {
      return FailErrno(errno, "read the kernel's machine code");
    }
    if (text->done == 0 || text->error != 0) {
      return Fail(Code::kUnavailable,
                  "the kernel's machine code cannot be read" +
                      (text->error != 0 ? ": " + std::string(std::strerror(static_cast<int>(-text->error))) : ""));
    }
    return std::vector<uint8_t>(text->bytes, text->bytes + text->length);
  };
}

}  // namespace moat::probe
