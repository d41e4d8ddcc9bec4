// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/client.h"

#include <absl/synchronization/mutex.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "agent/base/fd.h"
#include "agent/cli/text.h"
#include "agent/cli/tls.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::cli {

namespace {

constexpr int kMaxMessageBytes = 16 * 1024 * 1024;
constexpr int kWindowBytes = 4 * 1024 * 1024;  // several full messages: the agent need not wait for us between two
constexpr int kKeepaliveMs = 20'000;
constexpr auto kAnswerWithin = std::chrono::seconds(5);

// gRPC says "failed to connect to all addresses"; the kernel knows why.
std::string WhyUnreachable(const std::string& target) {
  if (!target.starts_with("unix:")) {
    return "";
  }
  std::string path = target.substr(5);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return "the path is too long for a unix socket";
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return "it went away, or does not speak gRPC";
  }
  switch (errno) {
    case ENOENT: return "there is no such socket: moatd does not run, or serves another";
    case ECONNREFUSED: return "nobody listens there: moatd has ended";
    case EACCES:
    case EPERM: return "not permitted: be root, or in the group that moatd.yaml names as socket_group";
    default: return std::strerror(errno);
  }
}

}  // namespace

std::string Target(const std::string& address) {
  if (address.starts_with("unix://")) {
    return "unix:" + address.substr(7);
  }
  return address.starts_with('/') ? "unix:" + address : address;
}

std::shared_ptr<grpc::Channel> Connect(const Options& options) {
  // Debian 12 builds Abseil with its deadlock checker: a part of the cost of each message, and no use here.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kWindowBytes);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);   // the window is set: no pings to find one
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // never the environment's
  if (!IsNetwork(options.address)) {
    return grpc::CreateCustomChannel(Target(options.address), grpc::InsecureChannelCredentials(), arguments);
  }
  if (!options.tls.server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls.server_name);
  }
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);  // a peer that is gone without a word
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  return grpc::CreateCustomChannel(
      options.address, grpc::SslCredentials({options.tls.ca_pem, options.tls.key_pem, options.tls.certificate_pem}), arguments);
}

int Complain(const Options& options, const grpc::Status& status) {
  std::string text = Safe(status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::INVALID_ARGUMENT: std::fprintf(stderr, "moatctl: %s\n", text.c_str()); return kExitUsage;
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED: {
      const std::string why = IsNetwork(options.address) ? WhyNoTls(options) : WhyUnreachable(Target(options.address));
      std::fprintf(stderr, "moatctl: cannot reach the agent at %s: %s\n  --address or MOAT_ADDRESS names another %s\n",
                   Safe(options.address).c_str(), why.empty() ? text.c_str() : Safe(why).c_str(),
                   IsNetwork(options.address) ? "agent" : "socket");
      return kExitUnreachable;
    }
    default:
      std::fprintf(stderr, "moatctl: the agent refused: %s (gRPC code %d)\n", text.c_str(), status.error_code());
      return kExitFailed;
  }
}

int GetStatus(const Options& options, bool quiet, v1::AgentStatus* status) {
  auto stub = v1::Status::NewStub(Connect(options));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kAnswerWithin);
  v1::GetResponse response;
  grpc::Status result = stub->Get(&context, {}, &response);
  if (!result.ok()) {
    return quiet && result.error_code() == grpc::StatusCode::UNAVAILABLE ? kExitUnreachable : Complain(options, result);
  }
  *status = std::move(*response.mutable_agent());
  return kExitOk;
}

}  // namespace moat::cli
