// SPDX-License-Identifier: Apache-2.0
#include "agent/base/utf8.h"

#include <gtest/gtest.h>

#include <random>

namespace moat {
namespace {

using namespace std::string_literals;

struct Case {
  std::string bytes, utf8;
};

// Cases of the Unicode standard (3.9, tables 3-8 to 3-11) and our own.
TEST(Utf8, ReplacesEachMaximalBrokenPart) {
  const std::string r = "\xEF\xBF\xBD";
  const Case cases[] = {
      {"", ""},
      {"plain ascii, longer than eight", "plain ascii, longer than eight"},
      {"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"},
      {"a\xFF"s, "a" + r},
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", r + r + r + r + r + r + r + r + "A"},              // overlong
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", r + r + r + r + r + r + r + r + "A"},              // surrogates
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", r + r + r + r + r + "A" + r + r + "B"},            // above U+10FFFF
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", r + r + r + r + "A"},                              // cut short
      {"12345678\x80"s, "12345678" + r},
      {"\xE2\x82", r},
      {"nul\0in"s, "nul\0in"s},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(ToUtf8(c.bytes), c.utf8);
    EXPECT_EQ(IsUtf8(c.bytes), c.bytes == c.utf8);
    EXPECT_TRUE(IsUtf8(ToUtf8(c.bytes)));
  }
}

TEST(Utf8, AnyBytesBecomeValidAndPrintable) {
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(random() % 24, '\0');
    for (char& c : bytes) {
      c = static_cast<char>(random() % 3 ? 0x80 + random() % 128 : random());
    }
    std::string text = ToUtf8(bytes);
    ASSERT_TRUE(IsUtf8(text));
    ASSERT_EQ(ToUtf8(text), text);
    std::string line = Printable(bytes);
    ASSERT_TRUE(IsUtf8(line));
    for (char c : line) {
      ASSERT_FALSE(static_cast<unsigned char>(c) < 0x20 || c == 0x7f) << testing::PrintToString(bytes);
    }
  }
}

TEST(Utf8, NothingActsOnTheTerminal) {
  const Case cases[] = {
      {"llama.gguf", "llama.gguf"},
      {"gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F"},
      {"\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"},
      {"a\nb\tc\rd\\e", "a\\nb\\tc\\rd\\\\e"},
      {"\x7f\x01"s, "\\x7f\\x01"},
      {"\0"s, "\\x00"},
      {"\xC2\x9B"
       "31m",
       "\\u{9b}31m"},          // C1: another way to write ESC [
      {"\xE2\x80\xAE"
       "txt.exe",
       "\\u{202e}txt.exe"},  // right-to-left override
      {"\xE2\x81\xA6x\xE2\x80\x8B", "\\u{2066}x\\u{200b}"},
      {"\xEF\xBB\xBF", "\\u{feff}"},
      {"\xF3\xA0\x81\x81", "\\u{e0041}"},  // tag
      {"x\xFFy", "x\xEF\xBF\xBDy"},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Printable(c.bytes), c.utf8);
  }
}

}  // namespace
}  // namespace moat
