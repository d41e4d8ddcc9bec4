// SPDX-License-Identifier: Apache-2.0
// The family that MOAT_FUZZ_FAMILY names, driven by libFuzzer for coverage. tests/fuzz/run.sh builds and runs it.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/fuzz/mutate.h"

namespace {

const moat::fuzz::Family* family = nullptr;

}  // namespace

extern "C" {

size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// A finding of UBSan ends the run, as one of ASan does.
const char* __ubsan_default_options() { return "halt_on_error=1:print_stacktrace=1"; }

int LLVMFuzzerInitialize(int*, char***) {
  const char* name = std::getenv("MOAT_FUZZ_FAMILY");
  family = moat::fuzz::FindFamily(name != nullptr ? name : "");
  if (family == nullptr) {
    std::fprintf(stderr, "moat_fuzz: MOAT_FUZZ_FAMILY names one of:");
    for (const moat::fuzz::Family& known : moat::fuzz::Families()) {
      std::fprintf(stderr, " %s", known.name.data());
    }
    std::fprintf(stderr, "\n");
    std::exit(2);
  }
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  moat::fuzz::Play(*family, std::as_bytes(std::span(data, size)));
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  if (seed % 2 == 0) {
    return LLVMFuzzerMutate(data, size, max_size);
  }
  const auto bytes = std::as_bytes(std::span(data, size));
  std::vector<std::byte> input(bytes.begin(), bytes.end());
  moat::fuzz::Mutate(*family, seed, input);
  const size_t length = std::min(input.size(), max_size);
  std::memcpy(data, input.data(), length);
  return length;
}

}  // extern "C"
