// SPDX-License-Identifier: Apache-2.0
// moatctl policy explain: may X do this, and which rule says so?
#include <cstdio>
#include <string>

#include "agent/cli/policy_client.h"
#include "agent/cli/policy_text.h"

namespace moat::cli {
namespace {

int Usage(const std::string& what) {
  std::fprintf(stderr, "moatctl: %s\n", what.c_str());
  return kExitUsage;
}

// "app=vllm" each; "": good, else the one that is not.
template <typename Labels>
std::string TakeLabels(const std::vector<std::string>& given, Labels* labels) {
  for (const std::string& label : given) {
    const size_t sign = label.find('=');
    if (sign == 0 || sign == std::string::npos) {
      return label;
    }
    (*labels)[label.substr(0, sign)] = label.substr(sign + 1);
  }
  return "";
}

int Build(const PolicyWords& words, v1::ExplainPolicyRequest* request) {
  v1::PolicySubject* who = request->mutable_subject();
  who->set_pid(words.pid);
  who->set_cgroup(words.cgroup);
  who->set_executable(words.executable);
  who->set_unit(words.unit);
  who->set_pod_namespace(words.pod);
  who->set_pod_container(words.pod_container);
  who->set_container_name(words.container);
  who->set_container_image(words.image);
  who->set_slurm_account(words.slurm_account);
  who->set_slurm_user(words.slurm_user);
  who->set_slurm_partition(words.slurm_partition);
  who->set_slurm_job(words.slurm_job);
  if (!words.labels.empty() && words.pod.empty() && words.container.empty() && words.image.empty()) {
    return Usage("--label is of a pod or a container: add --pod, --container or --image");
  }
  const std::string bad = words.pod.empty() ? TakeLabels(words.labels, who->mutable_container_labels())
                                            : TakeLabels(words.labels, who->mutable_pod_labels());
  if (!bad.empty()) {
    return Usage("--label " + bad + " is not NAME=VALUE");
  }
  request->mutable_holds()->Assign(words.holds.begin(), words.holds.end());
  const int acts = static_cast<int>(!words.to.empty()) + static_cast<int>(!words.asset.empty()) + static_cast<int>(words.gpu) +
                   static_cast<int>(!words.gpu_call.empty());
  if (acts != 1) {
    return Usage("ask about one act: --to, --asset, --gpu or --gpu-call");
  }
  if (!words.to.empty()) {
    if (!ParsePeer(words.to, request->mutable_peer())) {
      return Usage("--to " + words.to + " is not ADDRESS:PORT, [ADDRESS]:PORT/udp or ADDRESS/icmp");
    }
    request->mutable_peer()->mutable_names()->Assign(words.names.begin(), words.names.end());
    request->mutable_peer()->set_reply(words.reply);
  } else if (!words.asset.empty()) {
    request->mutable_asset()->set_asset(words.asset);
    request->mutable_asset()->set_operation(words.operation);
  } else {
    request->mutable_gpu()->set_category(words.gpu_call);
  }
  return kExitOk;
}

}  // namespace

int RunPolicyExplain(const Options& options) {
  v1::ExplainPolicyRequest request;
  if (const int code = Build(options.policy, &request); code != kExitOk) {
    return code;
  }
  v1::ExplainPolicyResponse response;
  if (const int code = Ask(options, request, &response); code != kExitOk) {
    return code;
  }
  const std::string text = options.json ? MessageJson(response) : Explanation(request, response, options.color);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return response.action() == v1::VERDICT_ACTION_ALLOW  ? kExitOk
         : response.action() == v1::VERDICT_ACTION_DENY ? kExitDenied
                                                        : kExitWouldDeny;
}

}  // namespace moat::cli
