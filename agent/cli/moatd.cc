// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/moatd.h"

#include <google/protobuf/util/json_util.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <system_error>

namespace moat::cli {

namespace {

// A table is as wide as its widest cell in each row: one long name times many rows would be gigabytes.
constexpr int kMaxDomains = 64, kMaxHooks = 1000;
constexpr size_t kMaxName = 64;

bool Bounded(const v1::AgentStatus& status) {
  int hooks = 0;
  for (const v1::Domain& domain : status.domains()) {
    hooks += domain.hooks_size();
    if (domain.name().size() > kMaxName) {
      return false;
    }
    for (const v1::Hook& hook : domain.hooks()) {
      if (hook.event().size() > kMaxName || hook.backend().size() > kMaxName || hook.program().size() > kMaxName) {
        return false;
      }
    }
  }
  return status.domains_size() <= kMaxDomains && hooks <= kMaxHooks;
}

// The last line that is not empty, and not too much of it: programs say last what ended them.
std::string LastLine(const std::string& text) {
  constexpr size_t kMost = 300;
  std::istringstream lines(text);
  std::string line, last;
  while (std::getline(lines, line)) {
    last = line.empty() ? last : line;
  }
  return last.substr(0, kMost);
}

bool Executable(const std::string& file) {
  struct stat info{};
  return stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) && access(file.c_str(), X_OK) == 0;
}

}  // namespace

std::string OwnFolder() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
}

Result<std::string> FindMoatd(const std::string& given, const std::string& path, const std::string& self) {
  if (!given.empty()) {
    return given;
  }
  std::istringstream folders(path);
  for (std::string folder = self; folders; std::getline(folders, folder, ':')) {
    if (folder.starts_with('/') && Executable(folder + "/moatd")) {
      return folder + "/moatd";
    }
  }
  return Fail(Code::kNotFound, "there is no moatd that this user may run, neither beside moatctl nor on PATH");
}

Result<v1::AgentStatus> AskMoatd(const std::string& program, const ChildLimits& limits) {
  MOAT_ASSIGN(const ChildResult said, RunChild(program, {"--doctor"}, limits));
  const std::string last = LastLine(said.err);
  const std::string ended = program + " --doctor ended with status " + std::to_string(said.status) +
                            (said.status > 128 ? " (signal " + std::to_string(said.status - 128) + ")" : "") +
                            (last.empty() ? "" : ": " + last);
  if (said.status != 0 && said.status != 1) {
    return Fail(Code::kUnavailable, ended);
  }
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // of a newer moatd
  v1::AgentStatus status;
  if (!google::protobuf::util::JsonStringToMessage(said.out, &status, options).ok() || status.domains().empty()) {
    return Fail(Code::kDataLoss, "what it printed is not the answer of moatd --doctor; " + ended);
  }
  if (!Bounded(status)) {
    return Fail(Code::kDataLoss, "what it printed has names too long or too many to be the answer of moatd --doctor; " + ended);
  }
  return status;
}

}  // namespace moat::cli
