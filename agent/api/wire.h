// SPDX-License-Identifier: Apache-2.0
// Protobuf's wire format, appended to one buffer that is kept. A quarter of the price of building messages and serialising them:
// no allocation, no second pass for sizes, no third one for UTF-8. What it writes is canonical. Fields with a default value are
// left out, as proto3 has it; repeated ones are the caller's affair. Field numbers come from the generated classes.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "agent/base/utf8.h"

namespace moat::api {

class Wire {
 public:
  Wire() { Grow(kFirstBytes); }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  void Clear() { at_ = buffer_.data(); }
  std::string_view bytes() const { return {buffer_.data(), size()}; }
  size_t size() const { return static_cast<size_t>(at_ - buffer_.data()); }

  void Varint(int field, uint64_t value) {
    if (value != 0) {
      Room(kScalarBytes);
      at_ = Raw(Tag(at_, field, 0), value);
    }
  }
  void Signed(int field, int64_t value) { Varint(field, static_cast<uint64_t>(value)); }  // ten bytes when negative, as int64 is
  void Fixed64(int field, uint64_t value) {
    if (value != 0) {
      Room(kScalarBytes);
      char* to = Tag(at_, field, 1);
      std::memcpy(to, &value, 8);  // little-endian, as all machines that moat runs on
      at_ = to + 8;
    }
  }
  void Bytes(int field, std::string_view bytes) {
    if (!bytes.empty()) {
      Element(field, bytes);
    }
  }
  void Text(int field, std::string_view bytes) {
    if (!bytes.empty()) {
      TextElement(field, bytes);
    }
  }
  // Of a repeated field: an empty one counts too. Made valid UTF-8.
  void TextElement(int field, std::string_view bytes) {
    if (IsAscii(bytes) || IsUtf8(bytes)) [[likely]] {
      Element(field, bytes);
    } else {
      Element(field, ToUtf8(bytes));
    }
  }

  // A message within: auto mark = Begin(field); its fields; End(mark). length_bytes: a guess at the size of its length (1: below
  // 128 bytes, 2: below 16384); a wrong one costs a move.
  struct Mark {
    size_t begin;
    size_t length_bytes;
  };
  Mark Begin(int field, size_t length_bytes = 1) {
    Room(kScalarBytes);
    at_ = Tag(at_, field, 2) + length_bytes;
    return {size(), length_bytes};
  }
  void End(Mark mark) {
    size_t length = size() - mark.begin, need = VarintSize(length);
    if (need != mark.length_bytes) {
      Room(kScalarBytes);
      char* body = buffer_.data() + mark.begin;
      std::memmove(body - mark.length_bytes + need, body, length);
    }
    char* to = Raw(buffer_.data() + mark.begin - mark.length_bytes, length);
    at_ = to + length;
  }

 private:
  static constexpr size_t kFirstBytes = size_t{16} * 1024;
  static constexpr size_t kScalarBytes = 20;  // a tag and the longest varint, and some

  // Pointers are kept in locals while bytes are written: a char store may alias any member, and each would be read again.
  void Room(size_t more) {
    if (static_cast<size_t>(end_ - at_) < more) [[unlikely]] {
      Grow(more);
    }
  }
  void Grow(size_t more) {
    size_t used = at_ ? size() : 0;
    buffer_.resize((used + more) * 2);
    at_ = buffer_.data() + used;
    end_ = buffer_.data() + buffer_.size();
  }
  void Element(int field, std::string_view bytes) {
    Room(bytes.size() + kScalarBytes);
    char* to = Raw(Tag(at_, field, 2), bytes.size());
    Copy(to, bytes.data(), bytes.size());
    at_ = to + bytes.size();
  }
  [[gnu::always_inline]] static char* Tag(char* to, int field, uint32_t type) {
    return Raw(to, static_cast<uint32_t>(field) << 3 | type);
  }
  [[gnu::always_inline]] static char* Raw(char* to, uint64_t value) {
    while (value >= 0x80) {
      *to++ = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    *to++ = static_cast<char>(value);
    return to;
  }
  // Names are short: two overlapping words beat a call.
  static void Copy(char* to, const char* from, size_t size) {
    if (size > 16) {
      std::memcpy(to, from, size);
    } else if (size >= 8) {
      CopyEnds<uint64_t>(to, from, size);
    } else if (size >= 4) {
      CopyEnds<uint32_t>(to, from, size);
    } else {
      for (size_t i = 0; i < size; ++i) {
        to[i] = from[i];
      }
    }
  }
  template <typename Word>
  static void CopyEnds(char* to, const char* from, size_t size) {
    Word first, last;
    std::memcpy(&first, from, sizeof(Word));
    std::memcpy(&last, from + size - sizeof(Word), sizeof(Word));
    std::memcpy(to, &first, sizeof(Word));
    std::memcpy(to + size - sizeof(Word), &last, sizeof(Word));
  }
  static bool IsAscii(std::string_view bytes) {
    const char* at = bytes.data();
    size_t left = bytes.size();
    uint64_t bits = 0, word = 0;
    for (; left >= 8; left -= 8, at += 8) {
      std::memcpy(&word, at, 8);
      bits |= word;
    }
    for (; left > 0; --left, ++at) {
      bits |= static_cast<unsigned char>(*at);
    }
    return (bits & 0x8080808080808080ull) == 0;
  }
  static size_t VarintSize(uint64_t value) {
    size_t size = 1;
    while (value >>= 7) {
      ++size;
    }
    return size;
  }

  std::vector<char> buffer_;
  char *at_ = nullptr, *end_ = nullptr;  // into buffer_
};

}  // namespace moat::api
