// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/slurm.h"

#include <algorithm>
#include <optional>

#include "agent/base/utf8.h"
#include "agent/enrich/bounds.h"

namespace moat::enrich {

namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr size_t kToldBytes = 200;

// The value of "key=value", which all that begin so must agree on.
Result<std::string> Field(std::string_view text, std::string_view key) {
  std::optional<std::string_view> value;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(kSpace), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!word.starts_with(key)) {
      continue;
    }
    if (value && *value != word.substr(key.size())) {
      return Fail(Code::kDataLoss, "scontrol tells " + std::string(key) + " twice: a job's name or comment imitates it");
    }
    value = word.substr(key.size());
  }
  std::string told;
  if (!value || value->empty() || !TakeName(*value, told)) {
    return Fail(Code::kDataLoss, "scontrol tells no " + std::string(key));
  }
  return told == "(null)" ? "" : told;
}

}  // namespace

Result<SlurmJob> ParseSlurmJob(std::string_view text, std::string_view job) {
  // A job array is told task by task, the owner being the same; the number that was asked for stands in JobId or ArrayJobId.
  bool asked = false;
  for (const std::string_view key : {"JobId=", "ArrayJobId="}) {
    const std::string field = std::string(key) + std::string(job);
    for (size_t at = text.find(field); at != std::string_view::npos; at = text.find(field, at + 1)) {
      const size_t end = at + field.size();
      asked |= (at == 0 || kSpace.contains(text[at - 1])) && (end == text.size() || kSpace.contains(text[end]));
    }
  }
  if (!asked) {
    return Fail(Code::kNotFound, "scontrol tells nothing of job " + std::string(job));
  }
  SlurmJob found;
  MOAT_ASSIGN(const std::string user, Field(text, "UserId="));  // "alice(1000)"
  MOAT_ASSIGN(found.account, Field(text, "Account="));
  MOAT_ASSIGN(found.partition, Field(text, "Partition="));
  found.user = user.substr(0, user.rfind('('));
  if (found.user.empty()) {
    return Fail(Code::kDataLoss, "scontrol tells no user of job " + std::string(job));
  }
  return found;
}

Result<SlurmJob> AskScontrol(const std::string& scontrol, const std::string& job, const ChildLimits& limits) {
  MOAT_ASSIGN(const ChildResult said, RunChild(scontrol, {"show", "job", job, "-o"}, limits));
  if (said.status != 0) {
    return Fail(Code::kUnavailable, scontrol + " ended with status " + std::to_string(said.status) + ": " +
                                        Printable(std::string_view(said.err).substr(0, kToldBytes)));
  }
  return ParseSlurmJob(said.out, job);
}

}  // namespace moat::enrich
