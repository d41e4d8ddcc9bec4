// SPDX-License-Identifier: Apache-2.0
// Where in the machine code of a driver one of its functions is called. The kernel refuses a kprobe in a function that it cannot trace
// (kernel/trace/trace_kprobe.c, within_notrace_func), and NVIDIA's resource manager is built without that; who calls it is not.
#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/error.h"

struct bpf_program;

namespace moat::probe {

struct CallSite {
  std::string function;  // the caller
  uint64_t call;  // offset of the instruction in it, at which the arguments lie as at the callee's begin
  uint64_t after;  // of the one to which the callee returns
};

// `length` bytes of the kernel's machine code.
using ReadText = std::function<Result<std::vector<uint8_t>>(uint64_t address, size_t length)>;

// All calls of a module's function in those of `callers` that the module has. symbols: /proc/kallsyms. Not found: why, by name.
Result<std::vector<CallSite>> FindCalls(std::istream& symbols, std::string_view callee, std::span<const std::string_view> callers,
                                        const ReadText& read);

// Calls of `callee` in the code of a function that begins at `address`, as offsets: the processor's direct call, to where that begins or,
// within `before` and `beyond` bytes, where the kernel redirects calls (x86: call depth tracking, landing pads).
std::vector<uint64_t> CallsIn(std::span<const uint8_t> text, uint64_t address, uint64_t callee, uint64_t before, uint64_t beyond);

// Reads by bpf/gpu/text.bpf.c. map: moat_gpu_text_map. Both outlive what is returned. One thread at a time.
ReadText TextReader(bpf_program* program, int map);

}  // namespace moat::probe
