// SPDX-License-Identifier: Apache-2.0
// moat-workload [--cgroup PATH] STEP [+ STEP]...
#include <cstdio>
#include <cstring>
#include <fstream>

#include "tests/workload/steps.h"

int main(int argc, char** argv) {
  using namespace moat::workload;
  Args words(argv + 1, static_cast<size_t>(argc - 1));
  if (words.empty() || std::strcmp(words[0], "--help") == 0 || std::strcmp(words[0], "-h") == 0) {
    std::fputs(Usage().c_str(), words.empty() ? stderr : stdout);
    return words.empty() ? 2 : 0;
  }
  try {
    // 0 means "the writer". Done before the first step: what a process did earlier is not moved with it.
    if (std::strcmp(words[0], "--cgroup") == 0) {
      if (words.size() < 2) {
        throw Failure("--cgroup needs the path of a cgroup directory");
      }
      std::ofstream procs(std::string(words[1]) + "/cgroup.procs");
      if (!(procs << 0 << std::flush)) {
        throw Failure("cannot join " + std::string(words[1]) + " (does it exist, is it cgroup2, are you root?)");
      }
      words = words.subspan(2);
    }
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    RunSteps(words);
  } catch (const Failure& failure) {
    std::fprintf(stderr, "moat-workload: %s\n", failure.what());
    return 1;
  }
  return 0;
}
