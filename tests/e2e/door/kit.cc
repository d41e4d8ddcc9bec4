// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/door/kit.h"

#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <sstream>

namespace moat::e2e {
namespace {

uint16_t PortAfter(const std::string& log, const std::string& what) {
  const size_t at = log.find(what);
  const size_t port = at == std::string::npos ? at : log.find("port ", at);
  return port == std::string::npos ? uint16_t{0} : static_cast<uint16_t>(std::stoi(log.substr(port + 5)));
}

template <typename T>
T* FromPem(const std::string& pem, T* (*read)(BIO*, T**, pem_password_cb*, void*)) {
  BIO* const in = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  T* const made = read(in, nullptr, nullptr, nullptr);
  BIO_free(in);
  return made;
}

}  // namespace

void DoorTest::SetUp() {
  std::signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to what the agent has closed
  place_.Write("ca.pem", ca_.certificate());
  place_.Write("server-ca.pem", server_ca_.certificate());
  place_.Write("crl.pem", ca_.Revoke(0));
  const test::Pem server = server_ca_.Issue({.name = "first", .san = "DNS:localhost,IP:127.0.0.1", .purpose = "serverAuth"});
  place_.Write("server.pem", server.certificate);
  place_.Write("server.key", server.key);
  ASSERT_EQ(::mkdir(place_.File("policies").c_str(), 0755), 0);
}

void DoorTest::TearDown() { agent_.reset(); }

std::string DoorTest::Api(const Settings& settings) const {
  return "tcp: {address: \"127.0.0.1:0\", certificate: " + place_.File("server.pem") + ", key: " + place_.File("server.key") +
         ", client_ca: " + place_.File("ca.pem") + ", crl: " + place_.File("crl.pem") + ", roles: [" + settings.roles + "], " +
         settings.tcp + "}, health: \"127.0.0.1:0\", audit: {file: " + place_.File("audit") + "}";
}

void DoorTest::StartAgent(const Settings& settings) {
  agent_ = std::make_unique<Agent>(place_,
                                   "domains: {process: true, file: false, gpu: false, net: false}\npolicies: {files: [" +
                                       place_.File("policies") + "], pins: \"\"}\n",
                                   std::vector<std::string>{}, std::function<void()>{}, Api(settings));
  ASSERT_TRUE(agent_->WaitReady()) << agent_->Log();
  port_ = PortAfter(agent_->Log(), "TLS on");
  health_port_ = PortAfter(agent_->Log(), "health on");
  ASSERT_NE(port_, 0);
  ASSERT_NE(health_port_, 0);
}

Fd DoorTest::Dial(in_addr_t from) const {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in own{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(from)}, .sin_zero = {}};
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)), 0) << std::strerror(errno);
  const sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(port_), .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0) << std::strerror(errno);
  const timeval limit{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  return fd;
}

TlsAnswer DoorTest::Tls(const TlsWish& wish) const {
  const Fd fd = Dial(wish.from);
  const std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (wish.most != 0) {
    SSL_CTX_set_cipher_list(context.get(), "ALL:@SECLEVEL=0");  // else nothing is left of the old versions
  }
  SSL_CTX_set_min_proto_version(context.get(), wish.least);
  SSL_CTX_set_max_proto_version(context.get(), wish.most);
  SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>(wish.alpn.data()),
                          static_cast<unsigned>(wish.alpn.size()));
  if (wish.client != nullptr) {
    X509* const certificate = FromPem(wish.client->certificate, PEM_read_bio_X509);
    EVP_PKEY* const key = FromPem(wish.client->key, PEM_read_bio_PrivateKey);
    SSL_CTX_use_certificate(context.get(), certificate);
    SSL_CTX_use_PrivateKey(context.get(), key);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  if (!wish.ca.empty()) {
    X509* const ca = FromPem(wish.ca, PEM_read_bio_X509);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), ca);
    X509_free(ca);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  }
  const std::unique_ptr<SSL, void (*)(SSL*)> tls(SSL_new(context.get()), SSL_free);
  SSL_set_fd(tls.get(), fd.get());
  TlsAnswer answer;
  ERR_clear_error();
  answer.handshake = SSL_connect(tls.get()) == 1;
  if (!answer.handshake) {
    answer.refused = true;
    return answer;
  }
  if (X509* const server = SSL_get0_peer_certificate(tls.get())) {
    std::array<char, 64> name{};
    X509_NAME_get_text_by_NID(X509_get_subject_name(server), NID_commonName, name.data(), name.size());
    answer.server_name = name.data();
  }
  std::array<char, 16> bytes{};
  const int got = SSL_read(tls.get(), bytes.data(), bytes.size());  // gRPC sends its settings at once
  answer.refused = got <= 0;
  ERR_clear_error();
  return answer;
}

std::string DoorTest::Raw(const std::string& bytes, std::chrono::milliseconds limit) const {
  const Fd fd = Dial();
  EXPECT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  std::string answer;
  std::array<char, 4096> buffer{};
  for (pollfd wait{.fd = fd.get(), .events = POLLIN, .revents = 0}; ::poll(&wait, 1, static_cast<int>(limit.count())) == 1;) {
    const ssize_t got = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (got <= 0) {
      break;
    }
    answer.append(buffer.data(), static_cast<size_t>(got));
  }
  return answer;
}

std::shared_ptr<grpc::Channel> DoorTest::Channel(const test::Pem& client, int max_send_bytes) const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxSendMessageSize(max_send_bytes);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port_),
                                   grpc::SslCredentials({server_ca_.certificate(), client.key, client.certificate}), arguments);
}

grpc::Status DoorTest::GetStatus(const std::shared_ptr<grpc::Channel>& channel) const {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + 10s);
  v1::GetResponse response;
  return v1::Status::NewStub(channel)->Get(&context, {}, &response);
}

std::vector<DoorTest::Line> DoorTest::Audit() const {
  std::vector<Line> lines;
  std::istringstream in(ReadText(place_.File("audit")));
  for (std::string line; std::getline(in, line) && !in.eof();) {  // of a line that is being written: not yet
    lines.push_back(Line::parse(line));
  }
  return lines;
}

std::vector<DoorTest::Line> DoorTest::Audit(const std::string& event, const std::string& decision) const {
  std::vector<Line> lines = Audit();
  std::erase_if(lines, [&](const Line& line) { return line["event"] != event || line["decision"] != decision; });
  return lines;
}

std::vector<DoorTest::Line> DoorTest::NewLines(size_t before, size_t expected) const {
  Eventually([&] { return Audit().size() >= before + expected; }, 10s);
  std::this_thread::sleep_for(50ms);  // one too many would come now
  std::vector<Line> lines = Audit();
  lines.erase(lines.begin(), lines.begin() + static_cast<ptrdiff_t>(std::min(before, lines.size())));
  return lines;
}

}  // namespace moat::e2e
