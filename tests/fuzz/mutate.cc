// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/mutate.h"

#include <algorithm>
#include <cstring>
#include <random>
#include <string_view>

#include "agent/decode/tables/tables.h"
#include "bpf/abi/gpu.h"
#include "tests/fuzz/consumer.h"

namespace moat::fuzz {
namespace {

using event::GpuClass;

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  void Input(const Family& family, std::vector<std::byte>& input) {
    if (family.kinds.empty()) {
      Frame(input);
      return;
    }
    std::vector<size_t> begins;
    for (size_t at = 0, taken = 0; at < input.size() || begins.empty(); at += taken) {
      begins.push_back(at);
      FirstRecord(family, std::span(input).subspan(at), &taken);
    }
    size_t taken = 0;
    const size_t at = begins[Below(begins.size())];
    std::vector<std::byte> record = FirstRecord(family, std::span(input).subspan(at), &taken);
    if (record.size() == sizeof(moat_gpu_ioctl)) {
      moat_gpu_ioctl call;
      std::memcpy(&call, record.data(), sizeof(call));
      for (size_t n = 1 + Below(3); n > 0; --n) {
        Change(call);
      }
      std::memcpy(record.data(), &call, sizeof(call));
    }
    if (Below(4) == 0 || record.size() != sizeof(moat_gpu_ioctl)) {
      Repeat(record, at, input);
    } else {
      input.resize(std::max(input.size(), at + record.size()));
      std::ranges::copy(record, input.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }

 private:
  size_t Below(size_t limit) { return random_() % limit; }
  template <typename Rows>
  const auto& Any(const Rows& rows) {
    return rows[Below(rows.size())];
  }
  uint64_t Word() {
    constexpr uint64_t kWords[] = {0, 1, 2, 3, 0xffff, 0x7fffffff, 0xffffffff, 1ull << 40, 1ull << 63, ~0ull};
    return Below(2) == 0 ? kWords[Below(std::size(kWords))] : random_();
  }

  // Once more, or many times, each with another number in one place.
  void Repeat(std::vector<std::byte>& record, size_t at, std::vector<std::byte>& input) {
    constexpr uint32_t kMany = 40;  // more devices than a row keeps
    const uint32_t copies = Below(8) == 0 ? kMany : 1;
    const size_t number_at = sizeof(moat_hdr) + Below((record.size() - sizeof(moat_hdr)) / 4) * 4;
    std::vector<std::byte> more;
    for (uint32_t i = 0; i < copies; ++i) {
      if (copies > 1) {
        std::memcpy(record.data() + number_at, &i, sizeof(i));
      }
      more.insert(more.end(), record.begin(), record.end());
    }
    input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), more.begin(), more.end());
  }

  // A header that decode takes, mostly.
  void Frame(std::vector<std::byte>& input) {
    const KindSize& shape = Any(KindSizes());
    input.resize(shape.size - (Below(8) == 0 ? 1 : 0));
    moat_hdr header;
    std::memcpy(&header, input.data(), sizeof(header));
    header.size = static_cast<uint32_t>(shape.size);
    header.version = MOAT_ABI_VERSION;
    header.kind = static_cast<uint16_t>(shape.kind);
    std::memcpy(input.data(), &header, sizeof(header));
  }

  // A number that the class' tables have.
  uint32_t Number(GpuClass device_class) {
    if (device_class == GpuClass::kNvidiaUvm) {
      return Any(tables::UvmCalls()).number;
    }
    if (device_class == GpuClass::kNvidia && Below(2) == 0) {
      return Below(2) == 0 ? 42 : 43;  // controls, allocations
    }
    uint32_t number = 0;
    do {
      number = static_cast<uint32_t>(Below(256));
    } while (device_class == GpuClass::kNvidia && tables::FindEscape(number) == nullptr);
    return number;
  }

  // As the tables name the parameters of a call.
  static std::string_view StructureOf(const moat_gpu_ioctl& call) {
    const auto name = [](const auto* known) { return known != nullptr ? known->name : std::string_view(); };
    switch (static_cast<GpuClass>(MOAT_GPU_CLASS(call.class_id))) {
      case GpuClass::kNvidia: {
        const tables::Escape* escape = tables::FindEscape(call.number);
        return escape != nullptr ? escape->structure : "";
      }
      case GpuClass::kNvidiaUvm: return name(tables::FindUvm(call.number));
      case GpuClass::kKfd: return name(tables::FindKfd(call.number));
      case GpuClass::kDrm:
      case GpuClass::kAccel:
        return name(
            tables::FindDrm(tables::kDrmDrivers[MOAT_GPU_DRIVER(call.class_id) % std::size(tables::kDrmDrivers)], call.number));
      case GpuClass::kNeuron: return name(tables::FindOther("neuron", call.number, 0));
      case GpuClass::kGdrdrv: return name(tables::FindOther("gdrdrv", call.number, 0));
      default: return "";
    }
  }

  // One that its driver takes: the size and version of a layout, and values in some of its fields.
  void Fit(moat_gpu_ioctl& call) {
    const std::span<const tables::Field> layout =
        std::ranges::equal_range(tables::Fields(), StructureOf(call), {}, &tables::Field::structure);
    if (!layout.empty()) {
      const tables::Field& field = Any(layout);
      call.size = field.size;
      call.driver_version = field.first;
      call.params_len = std::min<uint32_t>(field.size, MOAT_GPU_PARAMS_LEN);
      for (size_t n = 1 + Below(4); n > 0; --n) {
        Put(call.params, Any(layout).offset, Below(4) != 0 ? Below(32) : Word());
      }
    }
  }

  void Change(moat_gpu_ioctl& call) {
    const tables::Field& field = Any(tables::Fields());
    switch (Below(12)) {
      case 0:
        call.number = Number(static_cast<GpuClass>(MOAT_GPU_CLASS(call.class_id)));
        Fit(call);
        break;
      case 1:
        call.detail = Below(3) == 0   ? Any(tables::Controls()).command
                      : Below(2) == 0 ? Any(tables::Meanings()).detail
                                      : Any(tables::Classes()).id;
        break;
      case 2: call.size = field.size; break;
      case 3: call.driver_version = (Below(2) == 0 ? field.first : field.last) + static_cast<uint32_t>(Below(3)) - 1; break;
      case 4:
        call.params_len = static_cast<uint32_t>(Below(MOAT_GPU_PARAMS_LEN + 2));
        call.nested_len = static_cast<uint32_t>(Below(MOAT_GPU_NESTED_LEN + 2));
        break;
      case 5: call.why = static_cast<uint32_t>(random_()) & 0x1fff; break;
      case 6:  // few, so that they meet again
        call.client = static_cast<uint32_t>(Below(3));
        call.object = static_cast<uint32_t>(Below(5));
        Put(call.params, 4, Below(5));
        break;
      case 7:
        call.result = Below(2) == 0 ? 0 : static_cast<int64_t>(Word());
        call.status = 0;
        call.hdr.flags = 0;
        break;
      case 8: call.class_id = MOAT_GPU_CLASS(call.class_id) | static_cast<uint32_t>(Below(MOAT_GPU_DRIVER_COUNT)) << 8; break;
      case 9:
      case 10: Fit(call); break;
      default: Put(Below(2) == 0 ? std::span<uint8_t>(call.params) : std::span<uint8_t>(call.nested), field.offset, Word());
    }
  }

  static void Put(std::span<uint8_t> to, size_t offset, uint64_t value) {
    if (offset < to.size()) {
      std::memcpy(to.data() + offset, &value, std::min(sizeof(value), to.size() - offset));
    }
  }

  std::minstd_rand random_;
};

}  // namespace

void Mutate(const Family& family, uint32_t seed, std::vector<std::byte>& input) { Mutator(seed).Input(family, input); }

}  // namespace moat::fuzz
