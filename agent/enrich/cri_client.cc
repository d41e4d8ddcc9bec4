// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/cri_client.h"

#include <absl/synchronization/mutex.h>
#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <string_view>
#include <utility>

#include "agent/base/utf8.h"
#include "agent/enrich/bounds.h"
#include "cri/runtime/v1/api.grpc.pb.h"

namespace moat::enrich {

namespace {

namespace cri = runtime::v1;

constexpr size_t kMaxErrorBytes = 300;

template <typename Entries>
bool TakeLabels(const Entries& from, Labels& to) {
  size_t bytes = 0;
  for (const cri::Entry& entry : from) {
    if (!TakeLabel(entry.key(), entry.value(), to, bytes)) {
      return false;
    }
  }
  return true;
}

bool TakePod(const cri::PodSandbox& from, CriPod& to) {
  return TakeName(from.id(), to.sandbox_id) && TakeName(from.metadata().name(), to.name) &&
         TakeName(from.metadata().namespace_(), to.name_space) && TakeName(from.metadata().uid(), to.uid) &&
         TakeLabels(from.labels(), to.labels) && !to.sandbox_id.empty() && !to.name.empty() && !to.name_space.empty();
}

bool TakeContainer(const cri::Container& from, CriContainer& to) {
  return TakeName(from.id(), to.id) && TakeName(from.pod_sandbox_id(), to.sandbox_id) &&
         TakeName(from.metadata().name(), to.name) && TakeLabels(from.labels(), to.labels) && !to.id.empty() &&
         !to.sandbox_id.empty() && !to.name.empty();
}

class CriClientImpl final : public CriClient {
 public:
  CriClientImpl(std::string socket, const CriLimits& limits) : socket_(std::move(socket)), limits_(limits) {
    // As in agent/api/server.cc: no shutdown of gRPC is the last one, and Debian's Abseil does not look for deadlocks.
    [[maybe_unused]] static const bool kept = (grpc_init(), true);
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(static_cast<int>(limits_.message_bytes));
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    // A runtime that restarts is asked again soon: gRPC's own pause grows to two minutes.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    channel_ = grpc::CreateCustomChannel("unix:" + socket_, grpc::InsecureChannelCredentials(), arguments);
    stub_ = cri::RuntimeService::NewStub(channel_);
  }

  Result<std::string> Version() override {
    cri::VersionResponse response;
    MOAT_TRY(Call(&cri::RuntimeService::Stub::Version, cri::VersionRequest(), response));
    std::string name, version;
    if (!TakeName(response.runtime_name(), name) || !TakeName(response.runtime_version(), version)) {
      return Fail(Code::kDataLoss, socket_ + ": the runtime's name is not UTF-8 or too long");
    }
    return name + " " + version;
  }

  Result<CriLists> List() override {
    // Containers first: whatever pod one of them is in was there before it, and so is in the second answer.
    cri::ListContainersResponse containers;
    MOAT_TRY(Call(&cri::RuntimeService::Stub::ListContainers, cri::ListContainersRequest(), containers));
    cri::ListPodSandboxResponse pods;
    MOAT_TRY(Call(&cri::RuntimeService::Stub::ListPodSandbox, cri::ListPodSandboxRequest(), pods));
    CriLists lists;
    MOAT_TRY(Take(pods.items(), TakePod, lists.pods, lists.refused));
    MOAT_TRY(Take(containers.containers(), TakeContainer, lists.containers, lists.refused));
    return lists;
  }

  Result<CriImage> Image(const std::string& container_id) override {
    cri::ContainerStatusRequest request;
    request.set_container_id(container_id);
    cri::ContainerStatusResponse response;
    MOAT_TRY(Call(&cri::RuntimeService::Stub::ContainerStatus, request, response));
    CriImage image;
    std::string ref;
    if (!TakeName(response.status().image().image(), image.name) || !TakeName(response.status().image_ref(), ref)) {
      return Fail(Code::kDataLoss, socket_ + ": an image's name is not UTF-8 or too long");
    }
    const size_t at = ref.rfind('@');
    const std::string digest = at == std::string::npos ? ref : ref.substr(at + 1);
    image.digest = digest.starts_with("sha256:") ? digest : "";
    return image;
  }

 private:
  template <typename Request, typename Response>
  Status Call(grpc::Status (cri::RuntimeService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
              const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(limits_.call_ms));
    const std::stop_callback cancel(limits_.stop, [&context] { context.TryCancel(); });
    const grpc::Status status = (*stub_.*method)(&context, request, &response);
    if (status.ok()) {
      return {};
    }
    return Fail(static_cast<Code>(status.error_code()),
                socket_ + ": " + Printable(std::string_view(status.error_message()).substr(0, kMaxErrorBytes)));
  }

  template <typename From, typename To>
  Status Take(const From& from, bool (*take)(const typename From::value_type&, To&), std::vector<To>& to, size_t& refused) {
    if (static_cast<size_t>(from.size()) > limits_.items) {
      return Fail(Code::kResourceExhausted, socket_ + ": lists " + std::to_string(from.size()) + " pods or containers; at most " +
                                                std::to_string(limits_.items) + " are read");
    }
    for (const auto& item : from) {
      To taken;
      if (take(item, taken)) {
        to.push_back(std::move(taken));
      } else {
        ++refused;
      }
    }
    return {};
  }

  const std::string socket_;
  const CriLimits limits_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<cri::RuntimeService::Stub> stub_;
};

}  // namespace

std::unique_ptr<CriClient> CriClient::Create(std::string socket, const CriLimits& limits) {
  return std::make_unique<CriClientImpl>(std::move(socket), limits);
}

}  // namespace moat::enrich
