// SPDX-License-Identifier: Apache-2.0
// What the tests of sinks share: findings, also such that an attacker had a hand in, a directory that goes, and a transport that obeys.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "agent/event/finding.h"
#include "agent/sink/sink.h"

namespace moat::test {

class TempDir {
 public:
  TempDir() {
    // In memory where there is such: a spool flushes each message, and a disk takes milliseconds for it.
    const std::string memory = "/dev/shm";
    std::string name =
        (::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path().string()) + "/moat-sink-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
inline void WriteAll(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

inline std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

inline sink::Message MakeMessage(uint64_t number, size_t text_bytes = 20) {
  sink::Message message{.time_unix_ns = 1'000'000 + number,
                        .severity = event::Severity::kHigh,
                        .id = "id-" + std::to_string(number),
                        .revision = number,
                        .kind = "canary-touched",
                        .text = std::to_string(number) + ":"};
  message.text.resize(std::max(text_bytes, message.text.size()), 'x');
  return message;
}

// Texts as someone who wants to hide, to forge a line or to crash a parser names a file.
inline std::vector<std::string> HostileTexts() {
  return {"two\nlines\r\nand three",
          "\"quoted\" 'too' \\ back\\\\slash\\n \\x1b",
          "pipe|pipe\\|pipe",
          "key=value a=b\\=c cs1=forged cs1Label=x",
          "\x1b[31mred\x1b[0m\x07\x08\t\x7f",
          "literal \\u{1b} and \\\\u{7} and a real one \\\x1b",
          std::string("nul\0in it", 9),
          "invalid \xff\xfe\x80 \xc3( \xed\xa0\x80 cut \xe2\x82",
          "\u202e turned \u2028 line \u0085 next \u200b hidden \U000e0041",
          "CEF:0|a|b|c|d|e|10|msg=forged",
          "<13>1 2026-01-01T00:00:00Z host app - - - forged",
          "{\"class_uid\":2004}",
          std::string(4096, 'A'),
          std::string(1365, '\x1b') + "\n",
          ""};
}

inline std::shared_ptr<event::Finding> MakeFinding(event::FindingKind kind = event::FindingKind::kCanaryTouched,
                                                   const std::string& text = "plain") {
  auto workload = std::make_shared<event::Workload>();
  workload->cgroup = "/kubepods/pod1/" + text;
  workload->pod_namespace = "prod";
  workload->pod_name = "vllm-0" + text;
  workload->pod_uid = "0a1b2c3d-0000-1111-2222-333344445555";
  workload->pod_container = "vllm" + text;
  workload->container_id = "c0ffee";
  workload->container_image = "registry/vllm:1" + text;
  workload->image_digest = "sha256:abc";
  workload->pod_labels = {{"app", text}};
  workload->container_labels = {{"label", text}};
  auto finding = std::make_shared<event::Finding>();
  finding->id = "0123456789abcdef0123456789abcdef";
  finding->revision = 3;
  finding->kind = kind;
  finding->severity = event::Severity::kHigh;
  finding->confidence = 95;
  finding->first_unix_ns = 1'790'000'000'000'000'000;
  finding->last_unix_ns = 1'790'000'005'000'000'000;
  finding->count = 7;
  finding->title = "title " + text;
  finding->explanation = "explanation " + text;
  finding->action = "action " + text;
  finding->workload = workload;
  finding->lineage = {{{42, 1000}, 1000, "/usr/bin/" + text, {"python3", text}},
                      {{7, 500}, 0, "/bin/sh", {"sh", "-c", text}},
                      {{1, 1}, 0, "", {}}};
  finding->assets = {"llama-70b", text};
  finding->devices = {"/dev/nvidia0", text};
  finding->peers = {"203.0.113.7:443", "[2001:db8::1]:53", "203.0.113.9", "evil.example:443", text};
  finding->evidence = {"opened /models/" + text, text};
  finding->omitted = 2;
  finding->techniques = {{"AML.T0048.004", "External Harms: AI Intellectual Property Theft"},
                         {"T1496", "Resource Hijacking"},
                         {"T1071.004", ""},
                         {"AML.T0007", "Discover AI Artifacts"}};
  return finding;
}

// Waits until it is so; false: not within ten seconds.
inline bool Until(const std::function<bool()>& is) {
  for (int i = 0; i < 2000; ++i) {
    if (is()) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return is();
}

}  // namespace moat::test
