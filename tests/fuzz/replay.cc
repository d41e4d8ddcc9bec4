// SPDX-License-Identifier: Apache-2.0
// The committed corpus through the same code that libFuzzer drives, with any compiler: an input for each edge that was ever reached.
//
// usage: moat_fuzz_replay FOLDER      plays FOLDER/FAMILY.tar.gz of every family
//        moat_fuzz_replay --families  lists them
#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>

#include "tests/fuzz/family.h"

namespace {

using namespace moat;

// All of a compressed file; empty: it is not there, or no good one.
std::string Unpacked(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) {
    return "";
  }
  std::string bytes;
  char chunk[65536];
  int got = 0;
  while ((got = gzread(file, chunk, sizeof(chunk))) > 0) {
    bytes.append(chunk, static_cast<size_t>(got));
  }
  return gzclose(file) == Z_OK && got == 0 ? bytes : "";
}

// Hands the files of an archive to take (POSIX ustar, as run.sh makes them). False: it is no good one.
template <typename Take>
bool EachFile(std::string_view archive, const Take& take) {
  constexpr size_t kBlock = 512, kSizeAt = 124, kSizeLength = 12, kTypeAt = 156;
  while (archive.size() >= kBlock && archive.front() != '\0') {
    const std::string_view digits = archive.substr(kSizeAt, kSizeLength - 1);
    size_t size = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size, 8);
    const size_t blocks = (size + kBlock - 1) / kBlock * kBlock;
    if (error != std::errc() || end != digits.data() + digits.size() || archive.size() - kBlock < blocks) {
      return false;
    }
    if (archive[kTypeAt] == '0') {
      take(archive.substr(kBlock, size));
    }
    archive.remove_prefix(kBlock + blocks);
  }
  return archive.size() >= kBlock;  // it ends with blocks of zeros
}

// Its inputs reach what they are for, or this is no test.
bool Replay(const fuzz::Family& family, const std::string& folder) {
  const std::string path = folder + "/" + std::string(family.name) + ".tar.gz";
  const std::string archive = Unpacked(path);
  size_t inputs = 0;
  fuzz::Played all;
  const bool good = EachFile(archive, [&](std::string_view input) {
    const fuzz::Played played = fuzz::Play(family, std::as_bytes(std::span(input)));
    ++inputs;
    all.records += played.records;
    all.accepted += played.accepted;
    all.known += played.known;
  });
  std::printf("%s: %zu inputs, %zu records, %zu accepted, %zu of them known calls\n", family.name.data(), inputs, all.records,
              all.accepted, all.known);
  if (!good) {
    std::printf("FAILED: %s is missing, or broken\n", path.c_str());
  } else if (inputs == 0 || all.accepted == 0 || (!family.classes.empty() && all.known == 0)) {
    std::printf("FAILED: %s reaches nothing\n", path.c_str());
    return false;
  }
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER | --families\n", argv[0]);
    return 2;
  }
  bool good = true;
  for (const fuzz::Family& family : fuzz::Families()) {
    if (std::strcmp(argv[1], "--families") == 0) {
      std::printf("%s\n", family.name.data());
    } else {
      good &= Replay(family, argv[1]);
    }
  }
  return good ? 0 : 1;
}
