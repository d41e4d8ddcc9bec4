// SPDX-License-Identifier: Apache-2.0
// Thresholds of detectors: section "detect" of moatd.yaml. Each default has its reason beside it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moat::config {

// What workloads are there to do, and is no finding: at least one kind, one name and a reason.
struct Expected {
  std::vector<std::string> kinds;       // of findings, by FindingKindName
  std::vector<std::string> pods;        // "NAMESPACE/NAME", these three with "*" for any text
  std::vector<std::string> units;       // of systemd; not what runs in jobs and containers below them
  std::vector<std::string> containers;  // by the name that docker has for them
  std::string reason;                   // for whoever reads the file
  bool operator==(const Expected&) const = default;
};

struct Detect {
  bool enabled = true;
  // An open finding that is seen again is told anew after this long, then after twice as long, and so on up to the second: a flood is a few
  // messages with exact counts.
  uint32_t fold_ms = 1000;
  uint32_t fold_max_ms = 300'000;
  uint32_t max_open = 4096;  // findings that are remembered; the one that was seen longest ago is closed for a new one

  // Exfiltration: percent of an asset's size that may leave within a day. RAND's report on securing weights gives SL3 a budget of 1 %: what
  // is sent of an asset then takes a hundred days.
  uint32_t exfiltration_percent = 1;
  uint32_t exfiltration_mib = 32;  // at least: logs, metrics and requests of whoever holds a small asset are no theft
  uint32_t exfiltration_served_percent = 20;  // on accepted connections, within an hour: answers are what a server is for
  uint32_t exfiltration_copied_percent = 20;  // by others than the reader, after a copy may have been made: mostly it was none
  // Collection: what counts as the whole asset. Not 100: indices, licences and tokenizers are not worth a thief's time.
  uint32_t collection_percent = 90;
  uint32_t collection_window_s = 3600;  // in which it is read; a disk gives any weights in one hour
  uint32_t collection_learn_s =
      600;  // from the first whole read on, readers of an asset that no policy speaks of are taken for usual
  // Unsafe load: a pickle runs its payload while it is read, not later.
  uint32_t load_s = 10;
  // Lateral movement, within lateral_window_s: new internal peers, new ports of them, and peers and ports that did not answer. A node's own
  // services know fewer peers than these, and a client that has lost its server asks the same one again.
  uint32_t lateral_window_s = 60;
  uint32_t lateral_peers = 50;
  uint32_t lateral_ports = 50;
  uint32_t lateral_failures = 20;
  // Failed logins. Who has forgotten a password tries it three times, which is what sshd and login allow before they hang up; five within a
  // minute are a second connection at once. One remote that fails for many users within an hour tries one password on all of them: ten, for
  // a gateway that a whole team logs in through has a few that mistype.
  uint32_t failed_logins = 5;
  uint32_t failed_logins_window_s = 60;
  uint32_t failed_logins_users = 10;
  uint32_t failed_logins_users_window_s = 3600;
  // One remote that fails for one user so often within that window, however slowly: every two minutes all hour. Nobody mistypes that often.
  uint32_t failed_logins_slow = 30;
  // DNS tunnel: what a workload asks for below one domain within dns_window_s. A name counts once, by whoever asked for it first.
  uint32_t dns_window_s = 600;
  // Encoded names: at least so long (labels below the domain, without dots), of at least this entropy in hundredths of a bit per character.
  // 24 random hexadecimal digits have 355 on average, base32 and base64 more. Names of hosts are as rich in letters, but do not change
  // between letters and digits as often; see agent/detect/dns_tunnel.cc. Content networks and file reputation use a few such names.
  uint32_t dns_names = 50;
  uint32_t dns_length = 24;
  uint32_t dns_entropy = 310;
  // Whatever the names look like: this much in those that are new. What is asked for of a
  // company's own hosts is less; a tunnel that stays below moves less than 10 MiB a day.
  uint32_t dns_kib = 64;
  std::vector<Expected> expected;
  bool operator==(const Detect&) const = default;
};

class Section;
struct Reading;

// The key "detect" of the file's top.
void ReadDetect(const Reading& reading, Section& top, Detect& detect);

}  // namespace moat::config
