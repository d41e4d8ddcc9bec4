// SPDX-License-Identifier: Apache-2.0
// bench_subscriber SOCKET: the smallest honest subscriber. It takes every event, parses it and counts it; latencies are from the
// event's time in the kernel to the moment its message was parsed. It answers each line on standard input with one line:
//   ioctls gaps lost responses p50_us p99_us max_us
// all since the start, but the latencies, which are since the last answer.
#include <google/protobuf/arena.h>
#include <grpcpp/grpcpp.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <thread>

#include "moat/v1/services.grpc.pb.h"

namespace {

uint64_t NowNs() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
}

struct Counts {
  static constexpr uint64_t kBucketNs = 100'000;
  uint64_t ioctls = 0, gaps = 0, lost = 0, responses = 0;
  uint64_t latencies = 0, max_ns = 0;
  std::array<uint64_t, 20'000> buckets{};  // of 100 us; the last one takes all above 2 s

  void Latency(uint64_t ns) {
    latencies++;
    max_ns = std::max(max_ns, ns);
    buckets[std::min<uint64_t>(ns / kBucketNs, buckets.size() - 1)]++;
  }
  double QuantileUs(double p) const {
    uint64_t below = 0;
    for (size_t i = 0; i < buckets.size(); i++) {
      below += buckets[i];
      if (static_cast<double>(below) >= p * static_cast<double>(latencies) && below > 0) {
        return static_cast<double>((i + 1) * kBucketNs) / 1000;  // upper end: never flattering
      }
    }
    return 0;
  }
};

std::mutex mutex;
Counts counts;

void Count(const moat::v1::WatchResponse& response) {
  const uint64_t now = NowNs();
  const std::lock_guard lock(mutex);
  counts.responses++;
  counts.lost += response.lost();
  for (const moat::v1::Event& event : response.events()) {
    if (event.kind() == moat::v1::KIND_GAP) {
      counts.gaps += event.gap().count();
    } else if (event.kind() == moat::v1::KIND_GPU_IOCTL) {
      counts.ioctls++;
      counts.Latency(now - event.time_monotonic_ns());
    }
  }
}

void Subscribe(const std::shared_ptr<grpc::Channel>& channel) {
  const auto stub = moat::v1::Monitor::NewStub(channel);
  grpc::ClientContext context;
  const auto reader = stub->Watch(&context, moat::v1::WatchRequest());
  // One arena per message, its first block kept: parsing then costs no allocation per event.
  static std::array<char, 1 << 20> block;
  google::protobuf::ArenaOptions options;
  options.initial_block = block.data();
  options.initial_block_size = block.size();
  google::protobuf::Arena arena(options);
  bool first = true;
  for (;; arena.Reset()) {
    auto* response = google::protobuf::Arena::CreateMessage<moat::v1::WatchResponse>(&arena);
    if (!reader->Read(response)) {
      break;
    }
    Count(*response);
    if (first) {
      first = false;
      std::puts("ready");
    }
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) {
    std::fprintf(stderr, "bench_subscriber: stream ended: %s\n", status.error_message().c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: bench_subscriber SOCKET\n");
    return 2;
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const auto channel = grpc::CreateChannel(std::string("unix:") + argv[1], grpc::InsecureChannelCredentials());
  std::thread([channel] { Subscribe(channel); }).detach();
  char line[64];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    const std::lock_guard lock(mutex);
    std::printf("%llu %llu %llu %llu %.0f %.0f %.0f\n", static_cast<unsigned long long>(counts.ioctls),
                static_cast<unsigned long long>(counts.gaps), static_cast<unsigned long long>(counts.lost),
                static_cast<unsigned long long>(counts.responses), counts.QuantileUs(0.5), counts.QuantileUs(0.99),
                static_cast<double>(counts.max_ns) / 1000);
    counts.latencies = counts.max_ns = 0;
    counts.buckets.fill(0);
  }
  std::fflush(stdout);
  _Exit(0);  // the stream's thread is still reading; the process is its whole world
}
