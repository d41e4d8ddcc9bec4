// SPDX-License-Identifier: Apache-2.0
// Where findings go, and events that a receiver is to have: section "sinks" of moatd.yaml, a list. Each default has its reason beside it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace moat::config {

class Section;
struct Reading;

constexpr size_t kMaxSinks = 16;  // two threads each

// What lies on disk until it is delivered.
struct Spool {
  std::string path;  // a directory of its own; default: /var/lib/moat/spool/NAME
  uint32_t max_bytes =
      64u << 20;  // beyond this the oldest is dropped, and counted; 64 MiB: 20,000 findings of 3 KiB, a day of a bad host
  bool operator==(const Spool&) const = default;
};

// The receiver is always checked; PEM files, absolute paths.
struct Tls {
  std::string ca;  // whom the receiver's certificate must come from; always given
  std::string cert, key;  // of this host, both or neither; empty: no client certificate
  std::string server_name;  // that the certificate must have; never empty: the host of the address where the file says none
  bool operator==(const Tls&) const = default;
};

struct FileSink {
  std::string path;  // of the newest; older ones are path.1 to path.KEEP
  uint32_t max_bytes = 64u << 20;  // of one file
  uint32_t keep = 5;  // older files; 0: none
  bool operator==(const FileSink&) const = default;
};

struct SyslogSink {  // RFC 5424 over TLS
  std::string host;  // without brackets: "siem.example", "10.0.0.1", "fd00::1"
  uint16_t port = 6514;  // RFC 5425
  Tls tls;
  uint8_t facility = 13;  // as RFC 5424 numbers them; 13 is "log audit"
  uint32_t timeout_ms = 10'000;  // of connecting, the handshake and one write each
  bool operator==(const SyslogSink&) const = default;
};

struct OtlpSink {  // OTLP logs over gRPC
  struct Header {  // of each request, as "authorization"
    std::string name;  // lower case
    std::string value;  // given in place, or
    std::string value_file;  // read from here when a connection is made; a line end at its end is none of it
    bool operator==(const Header&) const = default;
  };
  std::string host;
  uint16_t port = 4317;
  std::optional<Tls> tls;  // none: in the clear, and then host is "localhost" or a loopback address
  std::vector<Header> headers;
  uint32_t timeout_ms = 10'000;  // of one request
  bool operator==(const OtlpSink&) const = default;
};

struct Sink {
  std::string name;  // for metrics and messages; letters, digits, "-", at most 63
  std::string encoding = "ocsf";  // ocsf | cef
  std::string min_severity = "info";  // info | low | medium | high | critical
  std::vector<std::string> kinds;  // of findings, by FindingKindName; empty: all
  // Kinds of events, as watch --kind takes them; ocsf only. Then no findings go there: a flood of events could push them out of the spool.
  std::vector<std::string> events;
  uint32_t queue = 4096;  // findings between the pipeline and the spool: a second of a flood, while the disk flushes
  Spool spool;
  std::variant<FileSink, SyslogSink, OtlpSink> transport;  // type: file | syslog | otlp
  bool operator==(const Sink&) const = default;
};

// The key "sinks" of the file's top.
void ReadSinks(const Reading& reading, Section& top, std::vector<Sink>& sinks);

}  // namespace moat::config
