// SPDX-License-Identifier: Apache-2.0
// moat_cri_pod SOCKET NAMESPACE POD UID CGROUP-PARENT LOG-FOLDER CONTAINER IMAGE [LABEL=VALUE | ARGUMENT | @FILE]...
// @FILE has more of the container, as JSON of cri_run.proto's ContainerConfig; its namespaces are the pod's, too.
// One pod with one container, run as a kubelet does. Says "sandbox ID", "container ID", starts the container when a line comes, says
// "started NS" (CLOCK_MONOTONIC, before it asks), and removes both at the end of its input.
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "agent/base/clock.h"
#include "cri_run.grpc.pb.h"

namespace {

namespace cri = runtime::v1;

class Pod {
 public:
  explicit Pod(const std::vector<std::string>& words)
      : stub_(cri::RuntimeService::NewStub(grpc::CreateChannel("unix:" + words[0], grpc::InsecureChannelCredentials()))) {
    config_.mutable_metadata()->set_namespace_(words[1]);
    config_.mutable_metadata()->set_name(words[2]);
    config_.mutable_metadata()->set_uid(words[3]);
    config_.mutable_linux()->set_cgroup_parent(words[4]);
    config_.set_log_directory(words[5]);
    auto* spaces = config_.mutable_linux()->mutable_security_context()->mutable_namespace_options();
    spaces->set_network(cri::NODE);  // so that no network plugin is needed
    spaces->set_pid(cri::CONTAINER);
    container_.mutable_metadata()->set_name(words[6]);
    container_.mutable_image()->set_image(words[7]);
    container_.set_log_path(words[6] + ".log");
    container_.mutable_linux();
    (*container_.mutable_labels())["io.kubernetes.container.name"] = words[6];
    for (size_t i = 8; i < words.size(); ++i) {
      if (words[i].starts_with('@')) {
        Add(words[i].substr(1));
        continue;
      }
      const size_t equals = words[i].find('=');
      if (equals == std::string::npos) {
        container_.add_args(words[i]);
        continue;
      }
      (*config_.mutable_labels())[words[i].substr(0, equals)] = words[i].substr(equals + 1);
    }
  }

  bool Run() {
    cri::RunPodSandboxRequest run;
    *run.mutable_config() = config_;
    cri::RunPodSandboxResponse sandbox;
    if (!Call(&cri::RuntimeService::Stub::RunPodSandbox, run, sandbox)) {
      return false;
    }
    sandbox_.set_pod_sandbox_id(sandbox.pod_sandbox_id());
    cri::CreateContainerRequest create;
    create.set_pod_sandbox_id(sandbox.pod_sandbox_id());
    *create.mutable_config() = container_;
    *create.mutable_sandbox_config() = config_;
    cri::CreateContainerResponse container;
    if (!Call(&cri::RuntimeService::Stub::CreateContainer, create, container)) {
      return false;
    }
    std::cout << "sandbox " << sandbox.pod_sandbox_id() << "\ncontainer " << container.container_id() << std::endl;
    std::string line;
    if (!std::getline(std::cin, line)) {
      return true;
    }
    cri::ContainerRequest start;
    start.set_container_id(container.container_id());
    cri::Empty started;
    std::cout << "started " << moat::MonotonicNs() << std::endl;
    return Call(&cri::RuntimeService::Stub::StartContainer, start, started);
  }

  bool Remove() {
    cri::Empty done;
    return sandbox_.pod_sandbox_id().empty() || (Call(&cri::RuntimeService::Stub::StopPodSandbox, sandbox_, done) &&
                                                 Call(&cri::RuntimeService::Stub::RemovePodSandbox, sandbox_, done));
  }

 private:
  void Add(const std::string& path) {
    std::ifstream file(path);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    cri::ContainerConfig more;
    if (const auto status = google::protobuf::util::JsonStringToMessage(text, &more); !status.ok()) {
      std::cerr << "moat_cri_pod: " << path << ": " << status.ToString() << std::endl;
      std::exit(2);
    }
    container_.MergeFrom(more);
    if (more.linux().security_context().has_namespace_options()) {
      *config_.mutable_linux()->mutable_security_context()->mutable_namespace_options() =
          more.linux().security_context().namespace_options();
    }
  }

  template <typename Request, typename Response>
  bool Call(grpc::Status (cri::RuntimeService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
            const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    const grpc::Status status = (*stub_.*method)(&context, request, &response);
    if (!status.ok()) {
      std::cerr << "moat_cri_pod: " << status.error_message() << std::endl;
    }
    return status.ok();
  }

  std::unique_ptr<cri::RuntimeService::Stub> stub_;
  cri::PodSandboxConfig config_;
  cri::ContainerConfig container_;
  cri::PodSandboxRequest sandbox_;
};

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 8) {
    std::fputs(
        "usage: moat_cri_pod SOCKET NAMESPACE POD UID CGROUP-PARENT LOG-FOLDER CONTAINER IMAGE [LABEL=VALUE | ARGUMENT | @FILE]...\n",
        stderr);
    return 2;
  }
  Pod pod(words);
  const bool ran = pod.Run();
  for (std::string line; ran && std::getline(std::cin, line);) {
  }
  return pod.Remove() && ran ? 0 : 1;
}
