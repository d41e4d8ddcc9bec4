// SPDX-License-Identifier: Apache-2.0
// Feeds a sink as moatd would, and may be killed at any time: usage: feeder PORT CERTIFICATES SPOOL PROGRESS FINDINGS. PROGRESS holds how many
// findings are in the spool for sure; the next run begins there. Ends with 0 when all are delivered.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "agent/base/fd.h"
#include "agent/sink/sinks.h"
#include "tests/e2e/sinks/receivers.h"
#include "tests/unit/sink_tools.h"

int main(int argc, char** argv) {
  using namespace moat;
  using namespace std::chrono_literals;
  if (argc != 6) {
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  const std::string certificates = argv[2];
  const uint64_t findings = std::strtoull(argv[5], nullptr, 10);
  config::Sink config{.name = "feeder", .kinds = {}, .events = {}, .spool = {}, .transport = {}};
  config.spool = {.path = argv[3], .max_bytes = 256u << 20};
  config::SyslogSink syslog;
  syslog.host = syslog.tls.server_name = "127.0.0.1";
  syslog.port = static_cast<uint16_t>(std::atoi(argv[1]));
  syslog.tls.ca = certificates + "/ca.pem";
  syslog.tls.cert = certificates + "/client.pem";
  syslog.tls.key = certificates + "/client.key";
  config.transport = syslog;

  auto sinks = sink::Sinks::Create({config}, {.hostname = "node-1", .version = "1"}, {.longest_pause = 500ms});
  if (!sinks) {
    std::cerr << sinks.error().message << '\n';
    return 1;
  }
  const Fd progress(::open(argv[4], O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  uint64_t done = 0;
  if (::pread(progress.get(), &done, sizeof done, 0) != sizeof done) {
    done = 0;
  }
  const auto pattern = test::MakeFinding();
  while (done < findings) {
    const uint64_t until = std::min(findings, done + 256);
    for (uint64_t number = done; number < until; ++number) {
      auto finding = std::make_shared<event::Finding>(*pattern);
      finding->id = e2e::NumberToId(number);
      finding->revision = 1;
      (*sinks)->OnFinding(finding);
    }
    if (!(*sinks)->Flush(60s)) {
      return 3;
    }
    done = until;
    if (::pwrite(progress.get(), &done, sizeof done, 0) != sizeof done) {
      return 4;
    }
    while ((*sinks)->stats()[0].spool.depth > 4096) {
      std::this_thread::sleep_for(2ms);
    }
  }
  while ((*sinks)->stats()[0].spool.depth > 0) {
    std::this_thread::sleep_for(5ms);
  }
  (*sinks)->Stop(5s);
  const sink::SinkStats stats = (*sinks)->stats()[0];
  return stats.queue_full + stats.unspooled + stats.rejected + stats.spool.dropped_by_cap + stats.spool.corrupt == 0 ? 0 : 5;
}
