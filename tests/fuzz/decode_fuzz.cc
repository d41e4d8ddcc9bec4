// SPDX-License-Identifier: Apache-2.0
// Any bytes into decode, what it accepts into its consumers. A mutation loop that runs anywhere and the same way each time for a seed;
// meant for builds with -DMOAT_SANITIZE=address,undefined, worth running without.
//
// usage: moat_decode_fuzz [--records N] [--seconds S] [--seed X]   ends after N records or S seconds, whichever comes first
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "bpf/abi/access.h"
#include "bpf/abi/file.h"
#include "bpf/abi/gpu.h"
#include "bpf/abi/login.h"
#include "bpf/abi/net.h"
#include "bpf/abi/privilege.h"
#include "bpf/abi/process.h"
#include "bpf/abi/verdict.h"
#include "tests/fuzz/consumer.h"

namespace {

using namespace moat;

// xorshift64*: the standard engines are most of the time of an unoptimised build.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull | 1) {}
  uint64_t operator()() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1dull >> 8;
  }

 private:
  uint64_t state_;
};

class Fuzz {
 public:
  explicit Fuzz(uint64_t seed)
      : random_(seed),
        consumer_([this](const event::ProcessKey&) { return random_() % 2 ? std::optional(event::Process{}) : std::nullopt; }) {}

  void One() {
    const fuzz::KindSize& shape = fuzz::KindSizes()[random_() % fuzz::KindSizes().size()];
    Seed(shape);
    for (uint64_t n = random_() % 4; n > 0; --n) {
      Mutate();
    }
    Feed({bytes_.data(), bytes_.size()});
  }

  // A record as the kernel might write it, its fields drawn from few values so that processes meet again.
  void Seed(const fuzz::KindSize& shape) {
    bytes_.assign(shape.size, std::byte{0});
    for (int words = 0; words < 24; ++words) {
      uint64_t word = random_() & (random_() % 2 ? 0x3f : 0x7f7f7f7f7f7f7f7f);
      std::memcpy(bytes_.data() + random_() % (bytes_.size() / 8) * 8, &word, 8);
    }
    moat_hdr hdr{};
    hdr.size = static_cast<uint32_t>(shape.size);
    hdr.version = MOAT_ABI_VERSION;
    hdr.kind = static_cast<uint16_t>(shape.kind);
    hdr.time_ns = time_ns_ += random_() % 200'000'000;
    hdr.pid = static_cast<uint32_t>(random_() % 300);
    hdr.tid = hdr.pid;
    hdr.start_ns = random_() % 5 * 10'000'000;
    hdr.cgroup_id = random_() % 3;
    std::memcpy(hdr.comm, "fuzz", 5);
    std::memcpy(bytes_.data(), &hdr, sizeof(hdr));
    auto put = [this](size_t offset, auto value) { std::memcpy(bytes_.data() + offset, &value, sizeof(value)); };
    if (shape.body == 1) {
      put(offsetof(moat_fork, child_pid), static_cast<uint32_t>(random_() % 300));
      put(offsetof(moat_fork, child_start_ns), random_() % 5 * 10'000'000);
    } else if (shape.body == 2) {
      // Few arguments mostly: a thousand empty ones cost a sanitized build a millisecond.
      put(offsetof(moat_exec, argv_len), static_cast<uint16_t>(random_() % (random_() % 32 ? 40 : MOAT_ARGV_LEN + 1)));
      put(offsetof(moat_exec, path_len), static_cast<uint16_t>(random_() % (MOAT_PATH_LEN + 1)));
    } else if (shape.body == 3) {
      put(offsetof(moat_exit, core), uint32_t{0});
      put(offsetof(moat_exit, code), static_cast<uint32_t>(random_() % 256));
      put(offsetof(moat_exit, signal), static_cast<uint32_t>(random_() % 128));
    } else if (shape.body == 4) {
      put(offsetof(moat_file_open, asset), static_cast<uint32_t>(random_() % 64));
    } else if (shape.body == 5) {
      put(offsetof(moat_file_map, asset), static_cast<uint32_t>(random_() % 64));
    } else if (shape.body == 6) {
      put(offsetof(moat_file_tamper, asset), MOAT_NO_ASSET);
      put(offsetof(moat_file_tamper, op), static_cast<uint32_t>(random_() % 8));
    } else if (shape.body == 7) {
      put(offsetof(moat_file_io, asset), static_cast<uint32_t>(random_() % 64));
    } else if (shape.body == 8) {
      put(offsetof(moat_gpu_open, class_id), static_cast<uint32_t>(random_() % 13));
    } else if (shape.body == 9) {
      put(offsetof(moat_gpu_ioctl, class_id), static_cast<uint32_t>(random_() % 13));
      put(offsetof(moat_gpu_ioctl, params_len), static_cast<uint32_t>(random_() % (MOAT_GPU_PARAMS_LEN + 1)));
      put(offsetof(moat_gpu_ioctl, nested_len), static_cast<uint32_t>(random_() % (MOAT_GPU_NESTED_LEN + 1)));
    } else if (shape.body == 10) {
      put(offsetof(moat_net_event, ep.family), static_cast<uint16_t>(random_() % 2 ? 2 : 10));
    } else if (shape.body == 11) {
      put(offsetof(moat_net_close, flow.ep.family), static_cast<uint16_t>(random_() % 2 ? 2 : 10));
    } else if (shape.body == 12) {
      put(offsetof(moat_verdict, ep.family), static_cast<uint16_t>(random_() % 2 ? 2 : 0));
      put(offsetof(moat_verdict, action), static_cast<uint8_t>(random_() % 4));
      put(offsetof(moat_verdict, operation), static_cast<uint8_t>(random_() % 20));
      put(offsetof(moat_verdict, why), static_cast<uint8_t>(random_() % 7));
      put(offsetof(moat_verdict, asset), MOAT_NO_ASSET);
    } else if (shape.body == 15) {
      put(offsetof(moat_access, operation), static_cast<uint32_t>(random_() % (MOAT_ACCESS_COUNT + 1)));
    } else if (shape.body == 16) {
      put(offsetof(moat_privilege, operation), static_cast<uint32_t>(random_() % (MOAT_PRIVILEGE_COUNT + 1)));
    } else if (shape.body == 17) {
      put(offsetof(moat_login, step), static_cast<uint32_t>(random_() % (MOAT_LOGIN_COUNT + 1)));
    } else if (shape.body == 19) {
      put(offsetof(moat_dns, ep.family), static_cast<uint16_t>(random_() % 2 ? 2 : 10));
      put(offsetof(moat_dns, question_len), static_cast<uint16_t>(random_() % (MOAT_DNS_QUESTION_LEN + 1)));
    }
  }

  void Mutate() {
    switch (random_() % 8) {
      case 0:  // a bit
        if (!bytes_.empty()) {
          bytes_[random_() % bytes_.size()] ^= static_cast<std::byte>(1u << random_() % 8);
        }
        break;
      case 1:  // a byte of the header
        if (!bytes_.empty()) {
          bytes_[random_() % std::min(bytes_.size(), sizeof(moat_hdr))] = static_cast<std::byte>(random_());
        }
        break;
      case 2:
      case 3: {  // a word of interest anywhere, aligned
        constexpr uint32_t kWords[] = {0,   1,   63,  64,   127,  128,        129,        255,
                                       256, 768, 769, 1024, 1025, 0x7fffffff, 0x80000000, 0xffffffff};
        if (bytes_.size() >= 4) {
          std::memcpy(bytes_.data() + random_() % (bytes_.size() / 4) * 4, &kWords[random_() % std::size(kWords)], 4);
        }
        break;
      }
      case 4: {  // a run without NUL, or of NULs, or of what terminals act on
        constexpr uint8_t kFill[] = {0, 'x', '/', 0x1b, 0x80, 0xff, 0xe2};
        if (!bytes_.empty()) {
          size_t from = random_() % bytes_.size();
          std::memset(bytes_.data() + from, kFill[random_() % std::size(kFill)], random_() % (bytes_.size() - from + 1));
        }
        break;
      }
      case 5:  // shorter
        if (random_() % 4 == 0) {
          bytes_.resize(random_() % (bytes_.size() + 1));
        }
        break;
      case 6:  // longer, and says so
        if (random_() % 4 == 0) {
          bytes_.resize(bytes_.size() + random_() % 64, std::byte{0xaa});
          auto size = static_cast<uint32_t>(bytes_.size());
          std::memcpy(bytes_.data(), &size, std::min<size_t>(4, bytes_.size()));
        }
        break;
      default: {  // another kind
        auto kind = static_cast<uint16_t>(random_() % 40);
        if (random_() % 4 == 0 && bytes_.size() >= 8) {
          std::memcpy(bytes_.data() + offsetof(moat_hdr, kind), &kind, sizeof(kind));
        }
        break;
      }
    }
  }

  // The record in memory of exactly its size, so that a sanitizer sees any read beyond it.
  void Feed(std::span<const std::byte> record) {
    auto exact = std::make_unique_for_overwrite<std::byte[]>(record.size());
    if (!record.empty()) {
      std::memcpy(exact.get(), record.data(), record.size());
    }
    std::span<const std::byte> bytes(exact.get(), record.size());
    event::Event& event = events_[random_() % std::size(events_)];  // used again, as the ring thread does
    const decode::Outcome outcome = fuzz::Decode(bytes, event);
    ++outcomes_[static_cast<size_t>(outcome)];
    if (outcome == decode::Outcome::kOk) {
      ++kinds_[static_cast<size_t>(event.header.kind)];
      consumer_.Take(event);
    }
  }

  // Each kind must have come through, and each refusal have happened, or this was no test.
  bool Report(uint64_t records) {
    consumer_.Finish();
    bool good = true;
    std::printf("%llu records:", static_cast<unsigned long long>(records));
    for (size_t i = 0; i < std::size(outcomes_); ++i) {
      std::printf(" %s %llu", decode::OutcomeName(static_cast<decode::Outcome>(i)),
                  static_cast<unsigned long long>(outcomes_[i]));
      good &= outcomes_[i] > 0;
    }
    for (const fuzz::KindSize& shape : fuzz::KindSizes()) {
      uint64_t count = kinds_[static_cast<size_t>(shape.kind)];
      std::printf("%s %s %llu", &shape == fuzz::KindSizes().data() ? "\naccepted:" : ",", event::KindName(shape.kind),
                  static_cast<unsigned long long>(count));
      good &= count > 0;
    }
    std::printf("\n%s\n", good ? "good" : "FAILED: an outcome or a kind never happened");
    return good;
  }

 private:
  Random random_;
  fuzz::Consumer consumer_;
  std::vector<std::byte> bytes_;
  event::Event events_[16];
  uint64_t time_ns_ = 1;
  uint64_t outcomes_[7] = {};
  uint64_t kinds_[MOAT_KIND_COUNT] = {};
};

}  // namespace

int main(int argc, char** argv) {
  uint64_t records = 1'000'000, seconds = 30, seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (std::strcmp(argv[i], "--records") == 0) {
      records = value;
    } else if (std::strcmp(argv[i], "--seconds") == 0) {
      seconds = value;
    } else if (std::strcmp(argv[i], "--seed") == 0) {
      seed = value;
    } else {
      std::fprintf(stderr, "usage: %s [--records N] [--seconds S] [--seed X]\n", argv[0]);
      return 2;
    }
  }
  Fuzz fuzz(seed);
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  uint64_t done = 0;
  for (; done < records; ++done) {
    if (done % 1024 == 0 && std::chrono::steady_clock::now() >= end) {
      break;
    }
    fuzz.One();
  }
  return fuzz.Report(done) ? 0 : 1;
}
