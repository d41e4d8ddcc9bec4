// SPDX-License-Identifier: Apache-2.0
// Any text as a policy: nothing but problems may come of it, each with a place in the text. Begins with the policies of the tests and the
// delivered ones, and changes them; the same each time for a seed. Meant for builds with -DMOAT_SANITIZE=address,undefined.
//
// usage: moat_policy_fuzz [--texts N] [--seconds S] [--seed X]   ends after N texts or S seconds, whichever comes first
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "agent/policy/parse.h"

namespace {

using namespace moat;

std::vector<std::string> Seeds() {
  std::vector<std::string> texts;
  for (const char* folder : {"tests/policy/good", "tests/policy/bad", "deploy/policies"}) {
    for (const auto& entry : std::filesystem::directory_iterator(std::string(MOAT_SOURCE_DIR "/") + folder)) {
      std::ifstream file(entry.path());
      texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }
  std::ranges::sort(texts);  // the order of a directory is not the same everywhere
  return texts;
}

class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, uint64_t seed) : seeds_(std::move(seeds)), random_(seed) {}

  std::string Next() {
    std::string text = seeds_[Below(seeds_.size())];
    for (size_t n = 1 + Below(4); n > 0; --n) {
      Change(text);
    }
    return text;
  }

 private:
  size_t Below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }

  void Change(std::string& text) {
    static const std::string kWords[] = {"---\n",
                                         "{",
                                         "}",
                                         "[",
                                         "]",
                                         ": ",
                                         "- ",
                                         "\"",
                                         "'",
                                         "\n",
                                         "#",
                                         "&a ",
                                         "*a",
                                         "~",
                                         "?",
                                         "|\n",
                                         ">",
                                         "\t",
                                         "!!binary ",
                                         std::string(1, '\0'),
                                         "\xff\xfe",
                                         "\xe2\x80\xae",
                                         "kind: Policy",
                                         "spec:\n",
                                         "0x7fffffffffffffff",
                                         "99999999999999999999",
                                         "::/0",
                                         "%",
                                         "null",
                                         "true"};
    const size_t at = Below(text.size() + 1), length = std::min(Below(40), text.size() - at);
    switch (Below(6)) {
      case 0: text.erase(at, length); break;
      case 1: text.insert(at, text.substr(Below(text.size() + 1), Below(60))); break;
      case 2: text.insert(at, kWords[Below(std::size(kWords))]); break;
      case 3: text.replace(at, length, kWords[Below(std::size(kWords))]); break;
      case 4:
        if (at < text.size()) {
          text[at] = static_cast<char>(Below(256));
        }
        break;
      default: {
        const std::string& other = seeds_[Below(seeds_.size())];
        text = text.substr(0, at) + other.substr(Below(other.size() + 1));
      }
    }
  }

  std::vector<std::string> seeds_;
  std::mt19937_64 random_;
};

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      std::fprintf(stderr, "%s:%d: %s, of:\n", __FILE__, __LINE__, #condition); \
      std::fwrite(text.data(), 1, text.size(), stderr);                         \
      std::abort();                                                             \
    }                                                                           \
  } while (false)

bool Try(const std::string& text) {
  const policy::Parsed parsed = policy::ParseText(text, "fuzz.yaml");
  const auto lines = static_cast<int>(std::ranges::count(text, '\n') + std::ranges::count(text, '\r')) + 2;
  for (const config::Problem& problem : parsed.problems) {
    CHECK(problem.file == "fuzz.yaml" && !problem.message.empty());
    CHECK(problem.line >= 0 && problem.line <= lines);
  }
  for (const policy::Policy& policy : parsed.set.policies) {
    CHECK(!parsed.problems.empty() || (!policy.name.empty() && !policy.subjects.empty()));
  }
  return parsed.problems.empty();
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t texts = 30'000, seconds = 20, seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    uint64_t* value = std::strcmp(argv[i], "--texts") == 0     ? &texts
                      : std::strcmp(argv[i], "--seconds") == 0 ? &seconds
                      : std::strcmp(argv[i], "--seed") == 0    ? &seed
                                                               : nullptr;
    if (value == nullptr) {
      std::fprintf(stderr, "usage: moat_policy_fuzz [--texts N] [--seconds S] [--seed X]\n");
      return 2;
    }
    *value = std::strtoull(argv[i + 1], nullptr, 10);
  }
  Mutator mutator(Seeds(), seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  uint64_t tried = 0, good = 0;
  for (; tried < texts && std::chrono::steady_clock::now() < end; ++tried) {
    good += Try(mutator.Next()) ? 1 : 0;
  }
  std::printf("%llu texts, %llu of them good policies\n", static_cast<unsigned long long>(tried),
              static_cast<unsigned long long>(good));
  return good > 0 && good < tried ? 0 : 1;  // a parser that takes all or nothing is broken
}
