// SPDX-License-Identifier: Apache-2.0
// Stand-ins for container runtimes, on unix sockets in a folder of the test's own.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "agent/base/fd.h"
#include "cri/runtime/v1/api.grpc.pb.h"

namespace moat::enrich::test {

class Folder {
 public:
  Folder() {
    std::string path = testing::TempDir() + "/moat-XXXXXX";
    EXPECT_NE(mkdtemp(path.data()), nullptr);
    path_ = path;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A container runtime that says what it is told to.
class FakeCri final : public runtime::v1::RuntimeService::Service {
 public:
  explicit FakeCri(const std::string& socket) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + socket, grpc::InsecureServerCredentials());
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeCri() override { Stop(); }
  void Stop() {
    delay_ms = 0;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  void AddPod(const std::string& sandbox, const std::string& space, const std::string& name, const std::string& uid,
              const std::map<std::string, std::string>& labels = {}) {
    const std::lock_guard lock(mutex);
    auto* pod = pods.add_items();
    pod->set_id(sandbox);
    pod->mutable_metadata()->set_namespace_(space);
    pod->mutable_metadata()->set_name(name);
    pod->mutable_metadata()->set_uid(uid);
    for (const auto& [key, value] : labels) {
      auto* label = pod->add_labels();
      label->set_key(key);
      label->set_value(value);
    }
  }
  void AddContainer(const std::string& id, const std::string& sandbox, const std::string& name) {
    const std::lock_guard lock(mutex);
    auto* container = containers.add_containers();
    container->set_id(id);
    container->set_pod_sandbox_id(sandbox);
    container->mutable_metadata()->set_name(name);
  }

  std::mutex mutex;  // of the next three
  runtime::v1::ListPodSandboxResponse pods;
  runtime::v1::ListContainersResponse containers;
  runtime::v1::ContainerStatus status;
  std::atomic<int> delay_ms{0};  // before each answer, unless the caller has gone
  std::atomic<int> fails{0};     // a gRPC code
  std::atomic<int> calls{0};

 private:
  grpc::Status Answer(grpc::ServerContext* context) {
    ++calls;
    for (int ms = 0; ms < delay_ms && !context->IsCancelled(); ++ms) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return fails == 0 ? grpc::Status() : grpc::Status(static_cast<grpc::StatusCode>(fails.load()), "told\x1b[31m to fail");
  }
  grpc::Status Version(grpc::ServerContext* context, const runtime::v1::VersionRequest*,
                       runtime::v1::VersionResponse* to) override {
    to->set_runtime_name("fake");
    to->set_runtime_version("1.0");
    return Answer(context);
  }
  grpc::Status ListPodSandbox(grpc::ServerContext* context, const runtime::v1::ListPodSandboxRequest*,
                              runtime::v1::ListPodSandboxResponse* to) override {
    const std::lock_guard lock(mutex);
    *to = pods;
    return Answer(context);
  }
  grpc::Status ListContainers(grpc::ServerContext* context, const runtime::v1::ListContainersRequest*,
                              runtime::v1::ListContainersResponse* to) override {
    const std::lock_guard lock(mutex);
    *to = containers;
    return Answer(context);
  }
  grpc::Status ContainerStatus(grpc::ServerContext* context, const runtime::v1::ContainerStatusRequest*,
                               runtime::v1::ContainerStatusResponse* to) override {
    const std::lock_guard lock(mutex);
    *to->mutable_status() = status;
    return Answer(context);
  }

  std::unique_ptr<grpc::Server> server_;
};

// Takes connections, one after another, and lets `serve` do with each what it wants; the request is read up to its empty line.
class FakeHttp {
 public:
  using Serve = std::function<void(int fd, const std::string& request)>;
  FakeHttp(const std::string& socket, Serve serve) : serve_(std::move(serve)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket.c_str(), sizeof(address.sun_path) - 1);
    listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_.get(), 16), 0);
    thread_ = std::thread([this] { Run(); });
  }
  ~FakeHttp() {
    stopped = true;
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  static bool Say(int fd, std::string_view text) {
    return send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  std::atomic<bool> stopped{false};

 private:
  void Run() {
    for (;;) {
      const Fd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd) {
        return;
      }
      std::string request;
      char byte = 0;
      while (!request.ends_with("\r\n\r\n") && recv(fd.get(), &byte, 1, 0) == 1) {
        request += byte;
      }
      serve_(fd.get(), request);
    }
  }

  Serve serve_;
  Fd listener_;
  std::thread thread_;
};

}  // namespace moat::enrich::test
