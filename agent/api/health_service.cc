// SPDX-License-Identifier: Apache-2.0
// grpc.health.v1 for the kubelet, asked for anew at each call: an agent that hangs does not answer.
#include <grpcpp/grpcpp.h>

#include <utility>

#include "agent/api/services.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace moat::api {
namespace {

namespace health = grpc::health::v1;

class HealthService final : public health::Health::Service {
 public:
  HealthService(StatusSource status, std::function<bool()> moving) : status_(std::move(status)), moving_(std::move(moving)) {}

  grpc::Status Check(grpc::ServerContext*, const health::HealthCheckRequest* request,
                     health::HealthCheckResponse* response) override {
    bool serving = false;
    if (request->service() == "liveness") {
      serving = !moving_ || moving_();
    } else if (request->service().empty() || request->service() == "readiness") {
      serving = Healthy(status_());
    } else {
      return {grpc::StatusCode::NOT_FOUND, "the services are liveness and readiness"};
    }
    response->set_status(serving ? health::HealthCheckResponse::SERVING : health::HealthCheckResponse::NOT_SERVING);
    return grpc::Status::OK;
  }

 private:
  const StatusSource status_;
  const std::function<bool()> moving_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeHealthService(StatusSource status, std::function<bool()> moving) {
  return std::make_unique<HealthService>(std::move(status), std::move(moving));
}

}  // namespace moat::api
