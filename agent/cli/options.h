// SPDX-License-Identifier: Apache-2.0
// What the command line said, as plain data; main.cc fills it, the commands read it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moat::cli {

// Stable: scripts rely on them, --help states them.
enum ExitCode : int { kExitOk = 0, kExitFailed = 1, kExitUsage = 2, kExitUnreachable = 3 };

inline constexpr const char* kDefaultAddress = "unix:///run/moat/moat.sock";

struct Options {
  std::string address = kDefaultAddress;
  bool color = false;  // decided: --color, NO_COLOR and the terminal taken together
  bool json = false;

  // watch
  bool discard = false;  // count only
  std::vector<std::string> kinds, cgroups, assets, devices, destinations;
  std::vector<uint32_t> pids;
  uint64_t count = 0;     // 0: no limit
  uint64_t for_ms = 0;    // 0: no limit
  std::string since;      // cursor, or "oldest"
  bool reconnect = false;

  // doctor
  std::string moatd;  // the program; empty: to be found
};

// A command and its options, for the completion scripts.
struct CommandWords {
  std::string name;  // empty: before any command
  std::string help;
  struct Option {
    std::string name;  // "--kind"
    std::string help;
    bool takes_value = false;
  };
  std::vector<Option> options;
};

int RunWatch(const Options& options);
int RunStatus(const Options& options);
int RunDoctor(const Options& options);
// shell: bash, zsh or fish.
std::string Completion(const std::string& shell, const std::vector<CommandWords>& commands);

// "1500ms", "10s", "2m", "1h"; a bare number is seconds. False: not a duration above zero.
bool ParseDuration(const std::string& text, uint64_t* ms);

}  // namespace moat::cli
