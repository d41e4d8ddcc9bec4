// SPDX-License-Identifier: Apache-2.0
#include "agent/api/server.h"

#include <absl/synchronization/mutex.h>
#include <fcntl.h>
#include <grp.h>
#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/server_interceptor.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "agent/api/audit.h"
#include "agent/api/call_log.h"
#include "agent/api/network.h"
#include "agent/api/services.h"
#include "agent/base/fd.h"

namespace moat::api {

namespace {

constexpr mode_t kSocketMode = 0660;
constexpr int kMaxRequestBytes = (1 << 20) + 64 * 1024;  // a MiB of policies, and the rest of the message
constexpr int kMaxStreamsPerConnection = 128;
constexpr int kMaxThreads = 8;  // of the synchronous part (reflection, Policies)

// A request of one second at the end, then calls are cut.
constexpr auto kStopWait = std::chrono::seconds(1);

Result<sockaddr_un> Address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path[0] != '/') {
    return Fail(Code::kInvalidArgument, "socket \"" + path + "\" is not an absolute path");
  }
  if (path.size() >= sizeof(address.sun_path)) {
    return Fail(Code::kInvalidArgument, "socket \"" + path + "\" is longer than " + std::to_string(sizeof(address.sun_path) - 1) +
                                            " bytes, the kernel's limit for a unix socket");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<std::optional<gid_t>> Group(const std::string& name) {
  if (name.empty()) {
    return std::nullopt;
  }
  if (const group* found = getgrnam(name.c_str())) {
    return found->gr_gid;
  }
  return Fail(Code::kInvalidArgument, "socket group \"" + name + "\" does not exist on this host");
}

// Held while the socket is looked at and bound, so that two agents that start together do not both think the old one dead. A lock
// on the directory leaves no file behind.
Result<Fd> LockDirectory(const std::string& directory) {
  Fd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) {
    return FailErrno(errno, "cannot open the socket's directory " + directory);
  }
  for (int tries = 0; flock(fd.get(), LOCK_EX | LOCK_NB) != 0; ++tries) {
    if (tries == 200) {
      return Fail(Code::kUnavailable, "another process has held a lock on " + directory + " for two seconds");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return fd;
}

// A socket file of a dead agent goes; of a live one, or anything else at that path, is an error.
Status ClearPath(const std::string& path, const sockaddr_un& address) {
  struct stat info{};
  if (lstat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? Status() : FailErrno(errno, "cannot look at " + path);
  }
  if (!S_ISSOCK(info.st_mode)) {
    return Fail(Code::kAlreadyExists, path + " exists and is not a socket: move it away, or set another socket in moatd.yaml");
  }
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) {
    return FailErrno(errno, "cannot make a socket");
  }
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 || errno != ECONNREFUSED) {
    return Fail(Code::kAlreadyExists,
                "another moatd serves " + path + ": stop it, or set another socket in this one's moatd.yaml");
  }
  return unlink(path.c_str()) == 0 ? Status() : FailErrno(errno, "cannot remove the socket of an agent that is gone, " + path);
}

class ServerImpl final : public Server {
 public:
  ServerImpl(Hub& hub, StatusSource status, PolicyControl* policies, InventorySource inventory, const FindingTable* findings,
             std::function<bool()> moving)
      : hub_(hub),
        health_(MakeHealthService(status, std::move(moving))),
        monitor_(MakeMonitorService(hub, status)),
        status_(MakeStatusService(status)),
        policies_(MakePoliciesService(policies)),
        inventory_(MakeInventoryService(std::move(status), std::move(inventory))),
        findings_(MakeFindingsService(findings)) {}

  ~ServerImpl() override {
    if (!server_) {
      return;
    }
    server_->GetHealthCheckService()->Shutdown();
    hub_.Close();
    network_.reset();  // its calls end in ours
    {
      const std::jthread cutter([this](const std::stop_token& stop) { CutConnections(stop); });
      server_->Shutdown(std::chrono::system_clock::now() + kStopWait);
    }
    server_->Wait();
    struct stat info{};
    if (lstat(path_.c_str(), &info) == 0 && info.st_ino == inode_) {
      unlink(path_.c_str());
    }
  }

  Status OpenAudit(const config::AuditLog& config) {
    MOAT_ASSIGN(audit_, Audit::Start(config));
    log_ = std::make_unique<CallLog>(*audit_);
    return {};
  }

  Status OpenNetwork(const config::Config& config) {
    const Network::Needs needs{.audit = *audit_, .log = *log_, .services = server_->InProcessChannel({}), .health = *health_};
    MOAT_ASSIGN(network_, Network::Open(config, needs, counters_));
    return {};
  }

  void Reload(const config::TcpApi& config) override { network_->Reload(config); }

  ApiCounters Counters() const override {
    ApiCounters out{.calls = log_->Counts(),
                    .handshakes = counters_.handshakes.Get(),
                    .closed = counters_.closed.Get(),
                    .rate_limited = counters_.rate_limited.Get(),
                    .denied = counters_.denied.Get(),
                    .reloads = counters_.reloads.Get(),
                    .reloads_failed = counters_.reloads_failed.Get(),
                    .stale = counters_.stale,
                    .audit = audit_->Counts()};
    for (size_t reason = 0; reason < out.refused.size(); ++reason) {
      out.refused[reason] = counters_.refused[reason].Get();
    }
    const uint64_t ended = counters_.ended.Get();  // first, so that it is never more
    out.connections = counters_.opened.Get() - ended;
    return out;
  }

  Status Listen(const std::string& path, const std::string& group_name) {
    MOAT_ASSIGN(sockaddr_un address, Address(path));
    MOAT_ASSIGN(std::optional<gid_t> gid, Group(group_name));
    std::string directory = std::filesystem::path(path).parent_path().string();
    if (mkdir(directory.c_str(), 0750) == 0) {
      if (gid && chown(directory.c_str(), static_cast<uid_t>(-1), *gid) != 0) {
        return FailErrno(errno, "cannot give " + directory + " to group " + group_name);
      }
    } else if (errno != EEXIST) {
      return FailErrno(errno, "cannot make the socket's directory " + directory);
    }
    MOAT_ASSIGN(Fd lock, LockDirectory(directory));
    MOAT_TRY(ClearPath(path, address));
    path_ = path;
    Build();
    if (!server_) {
      return Fail(Code::kInternal, "gRPC cannot listen on " + path + "; its log line above says why");
    }
    struct stat info{};
    if ((gid && chown(path.c_str(), static_cast<uid_t>(-1), *gid) != 0) || chmod(path.c_str(), kSocketMode) != 0 ||
        lstat(path.c_str(), &info) != 0) {
      return FailErrno(errno, "cannot set owner and mode of " + path);
    }
    inode_ = info.st_ino;
    auto* health = server_->GetHealthCheckService();
    for (const char* service : {"moat.v1.Monitor", "moat.v1.Status", "moat.v1.Policies", "moat.v1.Inventory"}) {
      health->SetServingStatus(service, true);
    }
    return {};
  }

 private:
  // gRPC closes no connection while a write on it is under way, whatever the deadline, and a peer that does not read makes that
  // last for ever. So what is still connected after the wait is shut down below gRPC: accepted sockets have the listener's name.
  void CutConnections(const std::stop_token& stop) const {
    std::mutex mutex;
    std::condition_variable_any done;
    std::unique_lock lock(mutex);
    done.wait_for(lock, stop, kStopWait, [] { return false; });
    if (stop.stop_requested()) {
      return;
    }
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
      const std::string number = entry.path().filename();
      int fd = -1;
      if (std::from_chars(number.data(), number.data() + number.size(), fd).ec != std::errc()) {
        continue;
      }
      sockaddr_un name{}, peer{};
      socklen_t name_size = sizeof(name), peer_size = sizeof(peer);
      if (getsockname(fd, reinterpret_cast<sockaddr*>(&name), &name_size) == 0 && name.sun_family == AF_UNIX &&
          path_ == std::string_view(name.sun_path, strnlen(name.sun_path, sizeof(name.sun_path))) &&
          getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0) {
        shutdown(fd, SHUT_RDWR);
      }
    }
  }

  void Build() {
    // The last grpc_shutdown() of a process waits for a poller that may sleep for ten seconds (iomgr/tcp_posix.cc, the backup
    // poller), longer than a stop may take. One reference is kept as long as the process lives, so that none is the last.
    [[maybe_unused]] static const bool kept = (grpc_init(), true);
    // Debian 12 builds Abseil without NDEBUG: each lock that gRPC takes is then checked against the order of all others, and a
    // suspicion ends the process. It costs a tenth of a message, and is meant for gRPC's own tests.
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + path_, grpc::InsecureServerCredentials());
    builder.RegisterService(monitor_.get());
    builder.RegisterService(status_.get());
    builder.RegisterService(policies_.get());
    builder.RegisterService(inventory_.get());
    builder.RegisterService(findings_.get());
    builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
    // A client may ask every ten seconds whether we live. We ask nobody: a dead peer of a unix socket is told by the kernel.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.SetResourceQuota(grpc::ResourceQuota("api").SetMaxThreads(kMaxThreads));
    builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
    std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> recorders;
    recorders.push_back(MakeCallRecorder(*log_));
    builder.experimental().SetInterceptorCreators(std::move(recorders));
    mode_t before = umask(0777 & ~kSocketMode);  // so the socket is never open wider, not even before chmod
    server_ = builder.BuildAndStart();
    umask(before);
  }

  Hub& hub_;
  DoorCounters counters_;
  std::unique_ptr<Audit> audit_;
  std::unique_ptr<CallLog> log_;
  std::unique_ptr<grpc::Service> health_, monitor_, status_, policies_, inventory_, findings_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Network> network_;
  std::string path_;
  ino_t inode_ = 0;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::Start(const config::Config& config, Hub& hub, std::function<StatusSnapshot()> status,
                                              PolicyControl* policies, InventorySource inventory, const FindingTable* findings,
                                              std::function<bool()> moving) {
  auto server = std::make_unique<ServerImpl>(hub, std::move(status), policies, std::move(inventory), findings, std::move(moving));
  MOAT_TRY(server->OpenAudit(config.audit));
  MOAT_TRY(server->Listen(config.socket, config.socket_group));
  MOAT_TRY(server->OpenNetwork(config));
  return server;
}

}  // namespace moat::api
