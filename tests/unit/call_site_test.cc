// SPDX-License-Identifier: Apache-2.0
// Where a driver's function is called: in the machine code of who calls it, by the addresses that the kernel tells.
#include <gmock/gmock.h>

#include <array>
#include <cstring>
#include <sstream>

#include "agent/probe/call_site.h"

namespace moat::probe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kCaller = 0xffffffffc0406a60, kCallee = 0xffffffffc054a540;
constexpr std::array<std::string_view, 2> kCallers = {"nvidia_ioctl", "nvidia_unlocked_ioctl"};

// A function of `size` bytes, in which at each offset lies a direct call of `target`.
std::vector<uint8_t> Code(size_t size, std::initializer_list<std::pair<size_t, uint64_t>> calls) {
#if defined(__x86_64__)
  std::vector<uint8_t> code(size, 0x90);
  for (const auto& [at, target] : calls) {
    const auto relative = static_cast<int32_t>(target - (kCaller + at + 5));
    code[at] = 0xe8;
    std::memcpy(&code[at + 1], &relative, sizeof(relative));
  }
#else
  std::vector<uint8_t> code(size, 0);
  for (const auto& [at, target] : calls) {
    const uint32_t word = 0x94000000 | (static_cast<uint32_t>((target - (kCaller + at)) >> 2) & 0x03ffffff);
    std::memcpy(&code[at], &word, sizeof(word));
  }
#endif
  return code;
}

std::string Symbols(uint64_t callee = kCallee) {
  std::ostringstream out;
  out << std::hex << "ffffffff81bebeb0 T rm_ioctl\n"  // the kernel's own, of the same name
      << kCaller << " t nvidia_unlocked_ioctl\t[nvidia]\n"
      << kCaller + 0x100 << " t nvidia_unlocked_ioctl.cold\t[nvidia]\n"
      << callee - 0x40 << " t rm_is_msix_allowed\t[nvidia]\n"
      << callee << " t rm_ioctl\t[nvidia]\n"
      << kCaller << " d nvidia_ioctl\t[nvidia]\n"  // data
      << kCaller + 0x200 << " t nvidia_ioctl\t[another]\n";
  return out.str();
}

Result<std::vector<CallSite>> Find(const std::string& symbols, const std::vector<uint8_t>& code) {
  std::istringstream lines(symbols);
  return FindCalls(lines, "rm_ioctl", kCallers, [&](uint64_t address, size_t length) -> Result<std::vector<uint8_t>> {
    EXPECT_EQ(address, kCaller);
    EXPECT_EQ(length, 0x100u) << "up to the next function";
    return std::vector(code.begin(), code.begin() + static_cast<std::ptrdiff_t>(std::min(length, code.size())));
  });
}

TEST(CallSite, IsWhereTheFunctionIsCalledInTheOnesThatAreKnownToCallIt) {
  const auto sites = Find(Symbols(), Code(0x100, {{0x20, kCallee + 0x400}, {0x60, kCallee}}));
  ASSERT_TRUE(sites) << sites.error().message;
  ASSERT_EQ(sites->size(), 1u);
  EXPECT_EQ((*sites)[0].function, "nvidia_unlocked_ioctl");
  EXPECT_EQ((*sites)[0].call, 0x60u);
#if defined(__x86_64__)
  EXPECT_EQ((*sites)[0].after, 0x65u);
#else
  EXPECT_EQ((*sites)[0].after, 0x64u);
#endif
}

TEST(CallSite, IsAlsoWhereTheKernelRedirectsCalls) {
  const auto code = Code(0x100, {{0x10, kCallee - 0x10}, {0x20, kCallee + 4}, {0x30, kCallee - 0x20}, {0x40, kCallee + 8}});
  EXPECT_THAT(CallsIn(code, kCaller, kCallee, 0x10, 4), ElementsAre(0x10, 0x20));
  EXPECT_THAT(CallsIn(code, kCaller, kCallee, 0, 0), IsEmpty());
  EXPECT_THAT(CallsIn(std::span(code).first(0x13), kCaller, kCallee, 0x10, 4), IsEmpty()) << "cut off within the instruction";
}

#if defined(__x86_64__)
TEST(CallSite, IsStillFoundWhereAProbeIsAlready) {
  auto code = Code(0x100, {{0x60, kCallee}});
  code[0x60] = 0xcc;
  EXPECT_THAT(CallsIn(code, kCaller, kCallee, 0, 0), ElementsAre(0x60));
}
#endif

TEST(CallSite, SaysWhatIsMissing) {
  const auto why = [](const Result<std::vector<CallSite>>& sites) { return sites ? std::string() : sites.error().message; };
  EXPECT_THAT(why(Find(Symbols(), Code(0x100, {}))), HasSubstr("no call of it in nvidia_unlocked_ioctl"));
  EXPECT_THAT(why(Find("ffffffff81bebeb0 T rm_ioctl\n", {})), HasSubstr("no module has rm_ioctl"));
  EXPECT_THAT(why(Find("0000000000000000 t rm_ioctl\t[nvidia]\n", {})), HasSubstr("CAP_SYSLOG"));
  EXPECT_THAT(why(Find("ffffffffc054a540 t rm_ioctl\t[nvidia]\n", {})), HasSubstr("none of its known callers"));
  EXPECT_THAT(why(Find("zz\n\nffffffffc054a540 t\t]\nffffffffffffffffffff t rm_ioctl\t[nvidia]\n", {})),
              HasSubstr("no module has"));
  std::istringstream lines(Symbols());
  EXPECT_THAT(why(FindCalls(lines, "rm_ioctl", kCallers, TextReader(nullptr, -1))), HasSubstr("gpu.text"));
}

}  // namespace
}  // namespace moat::probe
