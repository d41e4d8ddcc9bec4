// SPDX-License-Identifier: Apache-2.0
// An agent with a door to the network, right and wrong clients for it, and what it wrote in its audit.
#pragma once

#include <netinet/in.h>
#include <sys/mount.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agent/base/fd.h"
#include "tests/e2e/agent.h"
#include "tests/unit/certificates.h"

namespace moat::e2e {

inline constexpr const char* kViewer = "spiffe://cluster/ns/moat/sa/console";
inline constexpr const char* kAdmin = "spiffe://cluster/ns/moat/sa/admin";

// One connection by OpenSSL or by hand. Nothing is tried twice, so that audit lines can be counted.
struct TlsWish {
  const test::Pem* client = nullptr;  // null: no certificate
  std::string ca = "";                // PEM; empty: the server's certificate is not looked at
  std::string alpn = "\x02h2";        // empty: none
  int least = 0, most = 0;            // TLS versions; 0: OpenSSL's own
  in_addr_t from = INADDR_LOOPBACK;   // the client's address
};
struct TlsAnswer {
  bool handshake = false;
  bool refused = false;     // an alert, or the end, instead of HTTP/2's first frame
  std::string server_name;  // common name of its certificate
};

class DoorTest : public ::testing::Test {
 protected:
  struct Settings {
    std::string tcp =
        "max_connections: 16, handshake_ms: 1500, rate: {per_second: 1000, burst: 1000}, accept: {per_second: 1000, burst: 1000}";
    std::string roles =
        std::string("{san: \"spiffe://cluster/ns/moat/*\", role: viewer}, {san: ") + kAdmin + ", role: policy-admin}";
  };
  void SetUp() override;
  void TearDown() override;
  void StartAgent() { StartAgent(Settings()); }
  void StartAgent(const Settings& settings);
  std::string Api(const Settings& settings) const;  // the settings of moatd.yaml's "api" beside the socket

  Fd Dial(in_addr_t from = INADDR_LOOPBACK) const;
  TlsAnswer Tls(const TlsWish& wish) const;
  // Sends bytes and reads until the end, or for so long.
  std::string Raw(const std::string& bytes, std::chrono::milliseconds limit = 3s) const;

  // A gRPC channel with a connection of its own.
  std::shared_ptr<grpc::Channel> Channel(const test::Pem& client, int max_send_bytes = -1) const;
  grpc::Status GetStatus(const std::shared_ptr<grpc::Channel>& channel) const;

  using Line = nlohmann::json;
  std::vector<Line> Audit() const;
  std::vector<Line> Audit(const std::string& event, const std::string& decision) const;
  // The lines that came since `before`, once there are so many of them and for a moment no more.
  std::vector<Line> NewLines(size_t before, size_t expected) const;

  test::Pem Client(const std::string& san) { return ca_.Issue({.name = "client", .san = san.empty() ? "" : "URI:" + san}); }

  Place place_;
  test::Authority ca_{"moat clients"}, server_ca_{"moat servers"};
  test::Pem viewer_ = Client(kViewer), admin_ = Client(kAdmin);
  std::unique_ptr<Agent> agent_;
  uint16_t port_ = 0, health_port_ = 0;
};

}  // namespace moat::e2e
