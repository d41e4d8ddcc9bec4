// SPDX-License-Identifier: Apache-2.0
// Any bytes into decode, what it accepts into the process tree and the text functions. A mutation loop that runs anywhere and the
// same way each time for a seed; meant for builds with -DMOAT_SANITIZE=address,undefined, worth running without.
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
#include <string>
#include <vector>

#include "agent/base/utf8.h"
#include "agent/decode/decode.h"
#include "agent/enrich/container.h"
#include "agent/enrich/process_tree.h"
#include "bpf/abi/file.h"
#include "bpf/abi/gpu.h"
#include "bpf/abi/net.h"
#include "bpf/abi/process.h"
#include "bpf/abi/verdict.h"

namespace {

using namespace moat;
using event::Kind;

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                        \
    }                                                                      \
  } while (false)

struct KindSize {
  Kind kind;
  size_t size;
  size_t body;  // index in event::Body
};
constexpr KindSize kKindSizes[] = {
    {Kind::kFork, sizeof(moat_fork), 1},
    {Kind::kExec, sizeof(moat_exec), 2},
    {Kind::kExit, sizeof(moat_exit), 3},
    {Kind::kScan, sizeof(moat_exec), 2},
    {Kind::kFileOpen, sizeof(moat_file_open), 4},
    {Kind::kFileMap, sizeof(moat_file_map), 5},
    {Kind::kFileTamper, sizeof(moat_file_tamper), 6},
    {Kind::kFileIo, sizeof(moat_file_io), 7},
    {Kind::kGpuOpen, sizeof(moat_gpu_open), 8},
    {Kind::kGpuIoctl, sizeof(moat_gpu_ioctl), 9},
    {Kind::kGpuMap, sizeof(moat_gpu_map), 14},
    {Kind::kNetConnect, sizeof(moat_net_event), 10},
    {Kind::kNetSend, sizeof(moat_net_event), 10},
    {Kind::kNetListen, sizeof(moat_net_event), 10},
    {Kind::kNetAccept, sizeof(moat_net_event), 10},
    {Kind::kNetClose, sizeof(moat_net_close), 11},
    {Kind::kNetFlow, sizeof(moat_net_close), 11},
    {Kind::kVerdict, sizeof(moat_verdict), 12},
};

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
  explicit Fuzz(uint64_t seed) : random_(seed) {
    tree_ = enrich::ProcessTree::Create(
        [this](const event::ProcessKey&) { return random_() % 2 ? std::optional(event::Process{}) : std::nullopt; },
        [](uint64_t id, uint64_t) { return "/" + std::to_string(id % 100); },
        {.max_processes = 500, .max_bytes = 4 << 20, .max_exited = 100, .reads_per_second = 100});
  }

  void One() {
    const KindSize& shape = kKindSizes[random_() % std::size(kKindSizes)];
    Seed(shape);
    for (uint64_t n = random_() % 4; n > 0; --n) {
      Mutate();
    }
    Feed({bytes_.data(), bytes_.size()});
  }

  // A record as the kernel might write it, its fields drawn from few values so that processes meet again.
  void Seed(const KindSize& shape) {
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
    decode::Outcome outcome = decode::Decode(bytes, event);
    ++outcomes_[static_cast<size_t>(outcome)];
    Kind claimed = decode::ClaimedKind(bytes);
    if (outcome != decode::Outcome::kOk) {
      return;
    }
    CHECK(claimed == event.header.kind);
    ++kinds_[static_cast<size_t>(claimed)];
    Consume(event);
  }

  // What consumers rely on without asking again.
  void Consume(event::Event& event) {
    const KindSize* shape = nullptr;
    for (const KindSize& s : kKindSizes) {
      shape = s.kind == event.header.kind ? &s : shape;
    }
    CHECK(shape != nullptr);
    CHECK(event.body.index() == shape->body);
    CHECK(event.header.comm.length < 16);
    auto asset = [](uint32_t a) { CHECK(a < event::kMaxAssets || a == event::kNoAsset); };
    auto name = [this](const auto& n) {
      CHECK(n.length < n.bytes.size());
      text_ = Printable(n.view());
      CHECK(IsUtf8(text_));
    };
    if (auto* exec = std::get_if<event::Exec>(&event.body)) {
      CHECK(exec->image != nullptr);
      CHECK(exec->image->exe.size() <= MOAT_PATH_LEN + 16);
      CHECK(exec->image->filename.size() <= MOAT_FILENAME_LEN);
      CHECK(exec->image->args.size() <= MOAT_ARGV_LEN);
      text_ = ToUtf8(exec->image->exe);
      CHECK(IsUtf8(text_));
      enrich::ParseContainer(exec->image->exe);
    } else if (auto* exit = std::get_if<event::Exit>(&event.body)) {
      CHECK(exit->code <= 255 && exit->signal <= 127);
    } else if (auto* open = std::get_if<event::FileOpen>(&event.body)) {
      asset(open->asset);
      name(open->name);
    } else if (auto* map = std::get_if<event::FileMap>(&event.body)) {
      asset(map->asset);
      name(map->name);
    } else if (auto* tamper = std::get_if<event::FileTamper>(&event.body)) {
      asset(tamper->asset);
      name(tamper->name);
      CHECK(std::strcmp(TamperOpName(tamper->op), "unknown") != 0);
    } else if (auto* io = std::get_if<event::FileIo>(&event.body)) {
      asset(io->asset);
    } else if (auto* gpu_open = std::get_if<event::GpuOpen>(&event.body)) {
      CHECK(std::strcmp(GpuClassName(gpu_open->device_class), "unknown") != 0);
    } else if (auto* gpu_map = std::get_if<event::GpuMap>(&event.body)) {
      name(gpu_map->device);
    } else if (auto* ioctl = std::get_if<event::GpuCall>(&event.body)) {
      CHECK(std::strcmp(GpuClassName(ioctl->device_class), "unknown") != 0);
      CHECK(ioctl->params_len <= ioctl->params.size() && ioctl->nested_len <= ioctl->nested.size());
      CHECK(ioctl->verb != nullptr && ioctl->object != nullptr && ioctl->name != nullptr);
    } else if (auto* net = std::get_if<event::Net>(&event.body)) {
      text_ = AddressToString(net->ep.remote, net->ep.ipv6);
    } else if (auto* verdict = std::get_if<event::Verdict>(&event.body)) {
      asset(verdict->asset);
      name(verdict->name);
      CHECK(event::VerdictOperationName(verdict->operation) != nullptr);
      CHECK(std::strcmp(event::VerdictActionName(verdict->action), "unknown") != 0);
    }
    tree_->Apply(event);
    CHECK(!event.header.info || event.header.info->key == event.header.process);
    enrich::ProcessTreeStats stats = tree_->stats();
    CHECK(stats.live + stats.exited <= 500 && stats.exited <= 100 && stats.bytes <= (4 << 20));
  }

  // Each kind must have come through, and each refusal have happened, or this was no test.
  bool Report(uint64_t records) const {
    bool good = true;
    std::printf("%llu records:", static_cast<unsigned long long>(records));
    for (size_t i = 0; i < std::size(outcomes_); ++i) {
      std::printf(" %s %llu", decode::OutcomeName(static_cast<decode::Outcome>(i)),
                  static_cast<unsigned long long>(outcomes_[i]));
      good &= outcomes_[i] > 0;
    }
    for (const KindSize& shape : kKindSizes) {
      uint64_t count = kinds_[static_cast<size_t>(shape.kind)];
      std::printf("%s %s %llu", &shape == kKindSizes ? "\naccepted:" : ",", event::KindName(shape.kind),
                  static_cast<unsigned long long>(count));
      good &= count > 0;
    }
    std::printf("\n%s\n", good ? "good" : "FAILED: an outcome or a kind never happened");
    return good;
  }

 private:
  Random random_;
  std::unique_ptr<enrich::ProcessTree> tree_;
  std::vector<std::byte> bytes_;
  event::Event events_[16];
  uint64_t time_ns_ = 1;
  uint64_t outcomes_[7] = {};
  uint64_t kinds_[MOAT_KIND_COUNT] = {};
  std::string text_;
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
