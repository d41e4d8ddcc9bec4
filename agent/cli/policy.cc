// SPDX-License-Identifier: Apache-2.0
// moatctl policy check, apply, list, get, delete, rollback.
#include <algorithm>
#include <cstdio>
#include <string>

#include "agent/cli/policy_client.h"
#include "agent/cli/policy_files.h"
#include "agent/cli/policy_text.h"
#include "agent/cli/text.h"

namespace moat::cli {
namespace {

void Print(const std::string& text, FILE* to = stdout) { std::fwrite(text.data(), 1, text.size(), to); }

}  // namespace

int RunPolicyCheck(const Options& options) {
  v1::CheckPoliciesRequest request;
  Paths paths;
  if (!ReadPolicyFiles(options.policy.files, request.mutable_files(), &paths)) {
    return kExitUsage;
  }
  v1::CheckPoliciesResponse response;
  if (const int code = Ask(options, request, &response); code != kExitOk) {
    if (code == kExitUnreachable) {
      Print("  without an agent: moatd --check-policy PATH\n", stderr);
    }
    return code;
  }
  if (options.json) {
    Print(MessageJson(response));
  } else if (response.problems_size() == 0) {
    Print(Paint(options.color, Color::kGreen, "good") + ", in force there would be: " + Summary(response.set(), options.color));
  } else {
    Print(Problems(response.problems(), response.problems_omitted(), paths, options.color), stderr);
  }
  return response.problems_size() == 0 ? kExitOk : kExitMistakes;
}

int RunPolicyApply(const Options& options) {
  v1::ApplyPoliciesRequest request;
  Paths paths;
  if (!ReadPolicyFiles(options.policy.files, request.mutable_files(), &paths)) {
    return kExitUsage;
  }
  request.set_dry_run(options.policy.dry_run);
  request.set_expected_generation(options.policy.expected);
  v1::ApplyPoliciesResponse response;
  if (const int code = Ask(options, request, &response); code != kExitOk) {
    return code;
  }
  const bool good = response.problems_size() == 0;
  if (options.json) {
    Print(MessageJson(response));
  } else if (!good) {
    Print(Problems(response.problems(), response.problems_omitted(), paths, options.color) + "nothing changed\n", stderr);
  } else {
    for (const std::string& path : response.written()) {
      Print((response.applied() ? "wrote " : "would write ") + Safe(path) + "\n");
    }
    Print((response.applied() ? Paint(options.color, Color::kGreen, "in force") + ", generation " +
                                    std::to_string(response.set().generation()) + ": "
                              : "in force there would be: ") +
          Summary(response.set(), options.color));
  }
  return good ? kExitOk : kExitMistakes;
}

int RunPolicyList(const Options& options) {
  v1::ListPoliciesResponse response;
  if (const int code = Ask(options, v1::ListPoliciesRequest(), &response); code != kExitOk) {
    return code;
  }
  Print(options.json ? MessageJson(response) : PolicyTable(response, options.color));
  return kExitOk;
}

int RunPolicyGet(const Options& options) {
  v1::GetPolicyRequest request;
  request.set_name(options.policy.name);
  v1::GetPolicyResponse response;
  if (const int code = Ask(options, request, &response); code != kExitOk) {
    return code;
  }
  if (options.json) {
    Print(MessageJson(response));
    return kExitOk;
  }
  std::string text;  // line by line: a file may hold control characters in its comments
  for (size_t from = 0; from < response.policy().text().size();) {
    const size_t end = std::min(response.policy().text().find('\n', from), response.policy().text().size());
    text += Safe(response.policy().text().substr(from, end - from)) + "\n";
    from = end + 1;
  }
  Print(
      Paint(options.color, Color::kDim, "# " + Safe(response.policy().file()) + ":" + std::to_string(response.policy().line())) +
      "\n" + text + "\n" + RuleTable(response, options.color));
  return kExitOk;
}

int RunPolicyDelete(const Options& options) {
  v1::DeletePolicyRequest request;
  request.set_name(options.policy.name);
  v1::DeletePolicyResponse response;
  if (const int code = Ask(options, request, &response); code != kExitOk) {
    return code;
  }
  Print(options.json ? MessageJson(response)
                     : "removed " + Safe(response.file()) + "\nin force, generation " +
                           std::to_string(response.set().generation()) + ": " + Summary(response.set(), options.color));
  return kExitOk;
}

int RunPolicyRollback(const Options& options) {
  v1::RollbackPoliciesResponse response;
  if (const int code = Ask(options, v1::RollbackPoliciesRequest(), &response); code != kExitOk) {
    return code;
  }
  Print(options.json ? MessageJson(response)
                     : "in force as before the last change, generation " + std::to_string(response.set().generation()) + ": " +
                           Summary(response.set(), options.color) + "a second rollback takes this one back\n");
  return kExitOk;
}

int RunPolicyClear(const Options& options) {
  if (!options.policy.yes) {
    Print("moatctl: this takes every policy of the agent out of force; --yes confirms it\n", stderr);
    return kExitUsage;
  }
  v1::ClearPoliciesResponse response;
  if (const int code = Ask(options, v1::ClearPoliciesRequest(), &response); code != kExitOk) {
    if (code == kExitUnreachable) {
      Print("  without an agent: moatd --unload\n", stderr);
    }
    return code;
  }
  Print(options.json
            ? MessageJson(response)
            : "nothing is in force; the files stay, and count again when one changes or is applied, when moatd reloads or "
              "starts again\n");
  return kExitOk;
}

}  // namespace moat::cli
