// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/sinks/receivers.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <thread>
#include <utility>

#include "agent/base/child.h"

namespace moat::e2e {
namespace {

using namespace std::chrono_literals;

const std::string kRsyslogFolder = std::string(MOAT_BINARY_DIR) + "/rsyslog";
const std::string kRsyslogLibraries = kRsyslogFolder + "/files/usr/lib/x86_64-linux-gnu";

// Both with a hold on how much they take before it is on disk: what they have only in memory, no protocol without acknowledgements saves.
constexpr const char* kSyslogNgConf = R"(@version: 3.38
options { stats-freq(0); keep-hostname(yes); };
source s { syslog(ip("127.0.0.1") port(PORT) transport("tls") log-iw-size(1000)
  tls(key-file("CERTS/CERT.key") cert-file("CERTS/CERT.pem") ca-file("CERTS/ca.pem") peer-verify(required-trusted)
      ssl-options(no-sslv2,no-sslv3,no-tlsv1,no-tlsv11))); };
destination d { file("OUT" template("${SDATA} ${PROGRAM} ${HOST} ${MSGID} ${FACILITY_NUM} ${LEVEL_NUM} ${MESSAGE}\n")); };
log { source(s); destination(d); flags(flow-control); };
)";
constexpr const char* kRsyslogConf = R"(global(workDirectory="DIR" maxMessageSize="64k" defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile="CERTS/ca.pem" defaultNetstreamDriverCertFile="CERTS/CERT.pem" defaultNetstreamDriverKeyFile="CERTS/CERT.key")
main_queue(queue.type="direct")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
input(type="imtcp" port="PORT" address="127.0.0.1")
template(name="t" type="string" string="%structured-data% %app-name% %hostname% %msgid% %syslogfacility% %syslogseverity% %msg%\n")
if $app-name == "moatd" then { action(type="omfile" file="OUT" template="t") }
else { action(type="omfile" file="DIR/own.log") }
)";

void Replace(std::string& text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
}

Status OpenSsl(const std::vector<std::string>& args) {
  MOAT_ASSIGN(const ChildResult done, RunChild("/usr/bin/openssl", args, {.ms = 60'000}));
  return done.status == 0 ? Status() : Fail(Code::kInternal, "openssl: " + done.err);
}

}  // namespace

Status MakeCertificates(const std::string& directory) {
  const auto make = [&](const std::string& name, const std::string& issuer, const std::string& extension) {
    const std::string base = directory + "/" + name;
    std::vector<std::string> args = {
        "req",         "-x509", "-newkey",     "ec",      "-pkeyopt",    "ec_paramgen_curve:prime256v1",
        "-nodes",      "-days", "2",           "-subj",   "/CN=" + name, "-keyout",
        base + ".key", "-out",  base + ".pem", "-addext", extension};
    if (!issuer.empty()) {
      args.insert(args.end(), {"-CA", directory + "/" + issuer + ".pem", "-CAkey", directory + "/" + issuer + ".key", "-addext",
                               "basicConstraints=critical,CA:false"});
    }
    return OpenSsl(args);
  };
  MOAT_TRY(make("ca", "", "keyUsage=critical,keyCertSign"));
  MOAT_TRY(make("foreign-ca", "", "keyUsage=critical,keyCertSign"));
  MOAT_TRY(make("server", "ca", "subjectAltName=DNS:localhost,IP:127.0.0.1"));
  MOAT_TRY(make("elsewhere", "ca", "subjectAltName=DNS:elsewhere.example,IP:192.0.2.1"));
  MOAT_TRY(make("client", "ca", "extendedKeyUsage=clientAuth"));
  return make("foreign", "foreign-ca", "extendedKeyUsage=clientAuth");
}

uint16_t FreePort() {
  const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool IsListening(uint16_t port) {
  char wanted[32];
  std::snprintf(wanted, sizeof wanted, " 0100007F:%04X 00000000:0000 0A", port);
  return ReadAll("/proc/net/tcp").find(wanted) != std::string::npos;
}

Program::Program(const std::vector<std::string>& args, const std::vector<std::string>& environment, const std::string& log) {
  std::vector<char*> argv, envp;
  for (const std::string& arg : args) {
    argv.push_back(const_cast<char*>(arg.c_str()));
  }
  argv.push_back(nullptr);
  for (const std::string& one : environment) {
    envp.push_back(const_cast<char*>(one.c_str()));
  }
  envp.push_back(nullptr);
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return;
  }
  const Fd input(ends[0]);
  input_ = Fd(ends[1]);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ != 0) {
    return;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (::getppid() != parent || out < 0 || ::dup2(input.get(), 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(out, 2) < 0) {
    ::_exit(99);
  }
  ::execve(argv[0], argv.data(), envp.data());
  ::_exit(98);
}

int Program::End(int signal) {
  if (pid_ < 0) {
    return -1;
  }
  ::kill(pid_, signal);
  return Wait(20);
}

int Program::Wait(int seconds) {
  int status = 0;
  pid_t done = 0;
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
       (done = ::waitpid(pid_, &status, WNOHANG)) == 0 && std::chrono::steady_clock::now() < end;) {
    std::this_thread::sleep_for(5ms);
  }
  if (done == 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status, 0);
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string Receiver::WhyNot(Kind kind) {
  if (kind == Kind::kSyslogNg) {
    return ::access("/usr/sbin/syslog-ng", X_OK) == 0 ? "" : "there is no syslog-ng (deploy/packages.sh test)";
  }
  const auto done = RunChild(std::string(MOAT_SOURCE_DIR) + "/tests/unpack.sh", {"rsyslog", kRsyslogFolder}, {.ms = 300'000});
  return !done ? done.error().message : done->status == 0 ? "" : done->err;
}

Receiver::Receiver(Kind kind, std::string directory, std::string certificates, const std::string& certificate)
    : kind_(kind),
      directory_(std::move(directory)),
      certificates_(std::move(certificates)),
      output_(directory_ + "/out"),
      port_(FreePort()) {
  std::string conf = kind_ == Kind::kSyslogNg ? kSyslogNgConf : kRsyslogConf;
  Replace(conf, "PORT", std::to_string(port_));
  Replace(conf, "CERTS", certificates_);
  Replace(conf, "CERT.", certificate + ".");
  Replace(conf, "OUT", output_);
  Replace(conf, "DIR", directory_);
  std::ofstream(directory_ + "/conf") << conf;
}

bool Receiver::Start() {
  const std::string conf = directory_ + "/conf";
  std::vector<std::string> args, environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  if (kind_ == Kind::kSyslogNg) {
    args = {"/usr/sbin/syslog-ng",
            "-F",
            "-e",
            "--no-caps",
            "-f",
            conf,
            "-R",
            directory_ + "/persist",
            "-p",
            directory_ + "/pid",
            "-c",
            directory_ + "/control"};
  } else {
    args = {kRsyslogFolder + "/files/usr/sbin/rsyslogd", "-n", "-iNONE", "-f", conf, "-M", kRsyslogLibraries + "/rsyslog"};
    environment.push_back("LD_LIBRARY_PATH=" + kRsyslogLibraries);
  }
  program_ = std::make_unique<Program>(args, environment, directory_ + "/log");
  for (const auto end = std::chrono::steady_clock::now() + 20s; std::chrono::steady_clock::now() < end;) {
    if (IsListening(port_)) {
      return true;
    }
    std::this_thread::sleep_for(20ms);
  }
  std::cerr << Name(kind_) << " does not listen: " << Log() << '\n';
  return false;
}

void Receiver::Kill(int signal) {
  if (program_) {
    program_->End(signal);
    program_.reset();
  }
}

void Receiver::Signal(int signal) const { ::kill(program_->pid(), signal); }

std::string Receiver::Log() const { return ReadAll(directory_ + "/log") + ReadAll(directory_ + "/own.log"); }

config::SyslogSink Receiver::Sink(const std::string& client) const {
  config::SyslogSink sink;
  sink.host = "127.0.0.1";
  sink.port = port_;
  sink.tls.ca = certificates_ + "/ca.pem";
  sink.tls.server_name = "127.0.0.1";
  if (!client.empty()) {
    sink.tls.cert = certificates_ + "/" + client + ".pem";
    sink.tls.key = certificates_ + "/" + client + ".key";
  }
  return sink;
}

std::string NumberToId(uint64_t number) {
  char id[33];
  std::snprintf(id, sizeof id, "%032llx", static_cast<unsigned long long>(number));
  return id;
}

Arrivals ReadArrivals(const std::string& path, uint64_t sent) {
  Arrivals arrivals;
  std::vector<bool> seen(sent);
  std::ifstream file(path, std::ios::binary);
  uint64_t next = 0;
  for (std::string line; std::getline(file, line);) {
    constexpr std::string_view kHead = "[moat@32473 id=\"";
    const std::string id = line.starts_with(kHead) ? line.substr(kHead.size(), 32) : "";
    uint64_t number = sent;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), number, 16);
    const std::string head = std::string(kHead) + id +
                             "\" revision=\"1\" kind=\"canary-touched\" severity=\"high\"] moatd node-1 canary-touched 13 3 {";
    if (error != std::errc() || end != id.data() + id.size() || number >= sent || !line.starts_with(head) ||
        !line.ends_with('}') || line.find('"' + id + '"', head.size()) == std::string::npos) {
      arrivals.first_foreign = arrivals.foreign++ == 0 ? line : arrivals.first_foreign;
      continue;
    }
    if (number > next) {
      ++arrivals.gaps;
    } else if (number < next) {
      ++arrivals.jumps;
      arrivals.longest_jump = std::max(arrivals.longest_jump, next - number);
    }
    ++(seen[number] ? arrivals.duplicates : arrivals.distinct);
    seen[number] = true;
    next = number + 1;
  }
  return arrivals;
}

}  // namespace moat::e2e
