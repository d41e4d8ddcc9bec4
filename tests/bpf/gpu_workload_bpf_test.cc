// SPDX-License-Identifier: Apache-2.0
// Each scenario of tests/workload/gpu_*.cc under the probe: as many calls of each category as its row says, every call counted by its name.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>
#include <tuple>

#include "agent/base/fd.h"
#include "agent/decode/decode.h"
#include "agent/decode/tables/tables.h"
#include "agent/probe/devices.h"
#include "tests/bpf/blind/compat32.h"
#include "tests/bpf/gpu_kit.h"
#include "tests/workload/gpu_protocol.h"
#include "tests/workload/gpu_scenarios.h"

namespace moat::test {
namespace {

using gpu::Scenario;
using Calls = std::map<std::pair<uint32_t, std::string>, uint64_t>;  // by process and name

constexpr const char* kOther = "/dev/full";  // the device beside NVIDIA's; knows no ioctl

class GpuWorkloadBpfTest : public GpuTest {
 protected:
  void SetUp() override {
    GpuTest::SetUp();
    config().driver_version = gpu::kDriverVersion;
    config().devices.push_back({.path = kOther, .device_class = "drm"});
    Start(/*expect_all=*/true, Share::kAlways);
  }

  static gpu::Setting Nodes() {
    gpu::Setting setting = gpu::DefaultSetting();
    for (auto& [name, path] : setting.nodes) {
      path = name == "nvidiactl"              ? Nvidia()
             : name == "nvidia0"              ? (HasStandIn() ? "/dev/nvidia0" : Nvidia())
             : name.starts_with("nvidia-uvm") ? Uvm()
                                              : kOther;
    }
    return setting;
  }

  // What kOther is from now on, as the loader finds drivers of DRM devices in sysfs: a class, or a driver.
  static void MakeOther(std::string_view device) {
    const uint32_t rdev = 1 << 20 | 7;
    uint32_t class_id = probe::ClassFromName(device);
    const auto* driver = std::ranges::find(tables::kDrmDrivers, device);
    if (driver != std::end(tables::kDrmDrivers) && !device.empty()) {
      const auto number = static_cast<uint32_t>(driver - std::begin(tables::kDrmDrivers));
      class_id = (number < MOAT_GPU_DRIVER_HABANALABS ? MOAT_GPU_DRM : MOAT_GPU_ACCEL) | number << 8;
    }
    ASSERT_EQ(bpf_map_update_elem(OwnMap("moat_devices"), &rdev, &class_id, BPF_ANY), 0);
  }

  // What the processes themselves say that they called.
  static Calls Told(int file) {
    std::string text(1 << 16, '\0');
    text.resize(static_cast<size_t>(std::max<ssize_t>(0, pread(file, text.data(), text.size(), 0))));
    std::istringstream lines(text);
    Calls calls;
    uint32_t pid = 0;
    std::string name;
    for (uint64_t count = 0, refused = 0; lines >> pid >> name >> count >> refused;) {
      calls[{pid, name}] += count;
    }
    EXPECT_TRUE(lines.eof()) << text;
    return calls;
  }

  // The calls that are events, decoded.
  std::vector<std::pair<uint32_t, event::GpuCall>> Events() {
    std::vector<std::pair<uint32_t, event::GpuCall>> out;
    for (const Bytes& bytes : records()) {
      event::Event event;
      EXPECT_EQ(decode::Decode(bytes, event), decode::Outcome::kOk);
      if (const auto* call = std::get_if<event::GpuCall>(&event.body)) {
        out.emplace_back(event.header.process.pid, *call);
      }
    }
    return out;
  }

  // What the kernel has counted, by the names that the first of each has when decoded. verb: in front of the name.
  Calls Counted(bool verb = false) {
    std::map<std::tuple<uint32_t, uint32_t, uint32_t, uint32_t>, std::string> names;
    for (const auto& [pid, call] : Events()) {
      names[{pid, call.rdev, call.wrapped ? call.number : call.cmd, call.detail}] =
          (verb ? call.verb + std::string(" ") : "") + call.name;
    }
    Calls calls;
    for (const auto& [key, value] : MapRows<moat_gpu_key, moat_gpu_val>("moat_gpu_calls")) {
      if (const auto name = names.find({key.pid, key.rdev, key.cmd, key.detail}); name != names.end()) {
        calls[{key.pid, name->second}] += value.count;
      }
    }
    return calls;
  }

  // Where two sets of counts differ, line by line.
  static std::string Differences(const Calls& counted, const Calls& told) {
    std::string out;
    const auto compare = [&out](const Calls& these, const Calls& others, const char* what) {
      for (const auto& [key, count] : these) {
        if (const auto other = others.find(key); other == others.end() || other->second != count) {
          out += std::string(what) + " of " + std::to_string(key.first) + ": " + key.second + ": " + std::to_string(count) + "\n";
        }
      }
    };
    compare(counted, told, "counted");
    compare(told, counted, "made");
    return out;
  }

  gpu::Expected Meant() {
    gpu::Expected meant;
    uint32_t* const each[] = {&meant.debug,       &meant.profile,  &meant.foreign_memory, &meant.exported,
                              &meant.reconfigure, &meant.internal, &meant.raw_access};
    for (const moat_gpu_ioctl& call : Ioctls()) {
      for (size_t bit = 0; bit < std::size(each); ++bit) {
        *each[bit] += call.categories >> bit & 1;
      }
    }
    return meant;
  }

  // Plays it in the cgroup, and holds every count against what the processes say.
  void Play(const Scenario& scenario) {
    MakeOther(scenario.device);
    const Fd told(memfd_create("told", MFD_CLOEXEC));
    RunInside([&] {
      SayYes();
      gpu::Setting setting = Nodes();
      setting.out = told.get();
      try {
        gpu::Play(scenario, setting);
      } catch (const gpu::Failure& failure) {
        std::fprintf(stderr, "%s: %s\n", scenario.name, failure.what());
        _exit(99);
      }
    });
    const Calls calls = Told(told.get());
    EXPECT_FALSE(calls.empty());
    EXPECT_EQ(Differences(Counted(), calls), "") << Missed() << " runs of programs were skipped by the kernel";
  }

  // Why this kernel or machine cannot tell what a scenario is; empty: it can.
  std::string Cannot(const Scenario& scenario) {
    if (std::string_view(scenario.name) == "evasion-32-bit") {
      const std::string lacks = Compat32Lacks();
      return lacks.empty() ? Exposed("gpu.ioctl_compat") : lacks;
    }
    return Unseen("gpu.ioctl", "result") ? "this kernel has no hook that sees what comes of an ioctl" : "";
  }
};

class GpuScenarioBpfTest : public GpuWorkloadBpfTest, public ::testing::WithParamInterface<const Scenario*> {};

TEST_P(GpuScenarioBpfTest, IsToldForWhatItIs) {
  const Scenario& scenario = *GetParam();
  if (const std::string why = Cannot(scenario); !why.empty()) {
    GTEST_SKIP() << why;
  }
  Play(scenario);
  EXPECT_EQ(Meant().Each(), scenario.expected.Each())
      << Summary() << "; " << Missed() << " runs of programs were skipped by the kernel";
}

std::string NameOf(const ::testing::TestParamInfo<const Scenario*>& info) {
  std::string name = info.param->name;
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, GpuScenarioBpfTest, ::testing::ValuesIn(gpu::Scenarios().begin(), gpu::Scenarios().end()), NameOf);

// Each that is suspicious has an ordinary twin, and none of those means anything; an export is told whoever imports it.
TEST(GpuScenarios, TheOrdinaryOnesMeanNothing) {
  for (const Scenario* scenario : gpu::Scenarios()) {
    const gpu::Expected none{.exported = std::string_view(scenario->name) == "import-benign" ? 2u : 0u};
    EXPECT_EQ(scenario->expected == none, !scenario->suspicious) << scenario->name;
    EXPECT_EQ(gpu::FindScenario(scenario->name), scenario) << "another has its name";
  }
}

TEST_F(GpuWorkloadBpfTest, ACudaProgramToTheLastCallAndByte) {
  if (Unseen("gpu.ioctl", "result")) {
    GTEST_SKIP() << "this kernel has no hook that sees what comes of an ioctl";
  }
  Play(*gpu::FindScenario("cuda"));
  std::map<std::string, uint64_t> calls;
  for (const auto& [key, count] : Counted(/*verb=*/true)) {
    calls[key.second] += count;
  }
  const std::map<std::string, uint64_t> expected = {
      {"ALLOC AMPERE_CHANNEL_GPFIFO_A", 1},
      {"ALLOC AMPERE_COMPUTE_B", 1},
      {"ALLOC AMPERE_DMA_COPY_B", 1},
      {"ALLOC AMPERE_USERMODE_A", 1},
      {"ALLOC FERMI_CONTEXT_SHARE_A", 1},
      {"ALLOC FERMI_VASPACE_A", 1},
      {"ALLOC GT200_DEBUGGER", 1},
      {"ALLOC KEPLER_CHANNEL_GROUP_A", 1},
      {"ALLOC NV01_DEVICE_0", 1},
      {"ALLOC NV01_EVENT_OS_EVENT", 1},
      {"ALLOC NV01_MEMORY_LOCAL_USER", 3},
      {"ALLOC NV01_MEMORY_SYSTEM", 1},
      {"ALLOC NV01_MEMORY_SYSTEM_OS_DESCRIPTOR", 1},
      {"ALLOC NV01_MEMORY_VIRTUAL", 1},
      {"ALLOC NV01_ROOT_CLIENT", 1},
      {"ALLOC NV20_SUBDEVICE_0", 1},
      {"ALLOC UVM_CREATE_EXTERNAL_RANGE", 4},
      {"CALL NV_ESC_ALLOC_OS_EVENT", 1},
      {"CALL NV_ESC_CARD_INFO", 1},
      {"CALL NV_ESC_CHECK_VERSION_STR", 1},
      {"CALL NV_ESC_SYS_PARAMS", 1},
      {"CALL NV_ESC_WAIT_OPEN_COMPLETE", 1},
      {"CALL UVM_MM_INITIALIZE", 1},
      {"CALL UVM_SET_ACCESSED_BY", 1},
      {"CALL UVM_SET_PREFERRED_LOCATION", 1},
      {"CONTROL NV0000_CTRL_CMD_GPU_ATTACH_IDS", 1},
      {"CONTROL NV0000_CTRL_CMD_GPU_GET_ATTACHED_IDS", 1},
      {"CONTROL NV0000_CTRL_CMD_GPU_GET_ID_INFO", 1},
      {"CONTROL NV0000_CTRL_CMD_GPU_GET_ID_INFO_V2", 1},
      {"CONTROL NV0000_CTRL_CMD_GPU_GET_PROBED_IDS", 1},
      {"CONTROL NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION", 1},
      {"CONTROL NV0000_CTRL_CMD_SYSTEM_GET_BUILD_VERSION_V2", 1},
      {"CONTROL NV0080_CTRL_CMD_GPU_GET_CLASSLIST", 1},
      {"CONTROL NV2080_CTRL_CMD_FB_GET_INFO_V2", 1},
      {"CONTROL NV2080_CTRL_CMD_GPU_GET_GID_INFO", 1},
      {"CONTROL NV2080_CTRL_CMD_GPU_GET_NAME_STRING", 1},
      {"CONTROL NV2080_CTRL_CMD_GPU_QUERY_COMPUTE_MODE_RULES", 1},
      {"CONTROL NV2080_CTRL_CMD_GR_GET_GLOBAL_SM_ORDER", 1},
      {"CONTROL NV2080_CTRL_CMD_GR_GET_INFO", 1},
      {"CONTROL NV83DE_CTRL_CMD_DEBUG_READ_ALL_SM_ERROR_STATES", 1},
      {"CONTROL NV83DE_CTRL_CMD_DEBUG_RESUME_CONTEXT", 1},
      {"CONTROL NV83DE_CTRL_CMD_DEBUG_SET_EXCEPTION_MASK", 1},
      {"CONTROL NV83DE_CTRL_CMD_DEBUG_SET_MODE_MMU_DEBUG", 1},
      {"CONTROL NV83DE_CTRL_CMD_DEBUG_SUSPEND_CONTEXT", 1},
      {"CONTROL NVA06C_CTRL_CMD_GPFIFO_SCHEDULE", 1},
      {"CONTROL NVC36F_CTRL_CMD_GPFIFO_GET_WORK_SUBMIT_TOKEN", 1},
      {"FREE NV_ESC_RM_FREE", 2},
      {"FREE UVM_FREE", 2},
      {"MAP NV_ESC_RM_MAP_MEMORY", 2},
      {"MAP UVM_MAP_EXTERNAL_ALLOCATION", 4},
      {"MIGRATE UVM_MIGRATE", 2},
      {"OPEN UVM_INITIALIZE", 1},
      {"REGISTER NV_ESC_REGISTER_FD", 3},
      {"REGISTER UVM_REGISTER_CHANNEL", 1},
      {"REGISTER UVM_REGISTER_GPU", 1},
      {"REGISTER UVM_REGISTER_GPU_VASPACE", 1},
  };
  EXPECT_EQ(calls, expected);
  constexpr uint64_t kMiB = 1 << 20;
  std::map<std::string, uint64_t> allocated;
  uint64_t mapped = 0, freed = 0;
  for (const auto& [pid, call] : Events()) {
    if (std::string_view(call.verb) == "ALLOC" && call.bytes != 0) {
      allocated[event::GpuLocationName(call.location)] += call.bytes;
    }
    mapped += std::string_view(call.name) == "UVM_MAP_EXTERNAL_ALLOCATION" ? call.bytes : 0;
    freed += std::string_view(call.verb) == "FREE" ? 1 : 0;
  }
  const std::map<std::string, uint64_t> bytes = {
      {"device", (2 + 64 + 1024) * kMiB},
      {"system", 32 * kMiB},
      {"user", 8 * kMiB},
      {"", (2 + 64 + 1024 + 32) * kMiB},  // ranges of addresses
  };
  EXPECT_EQ(allocated, bytes);
  EXPECT_EQ(mapped, (2 + 64 + 1024 + 32) * kMiB);
  EXPECT_EQ(freed, 4u);
}

// The program itself, executed.
class GpuProgramBpfTest : public GpuWorkloadBpfTest {
 protected:
  void SetUp() override {
    program_ = MOAT_BINARY_DIR "/bin/moat-gpu-workload";
    if (access(program_.c_str(), X_OK) != 0) {
      program_ = "/moat/moat-gpu-workload";  // in a guest
    }
    if (access(program_.c_str(), X_OK) != 0) {
      GTEST_SKIP() << "no moat-gpu-workload here";
    }
    GpuWorkloadBpfTest::SetUp();
  }
  // What it printed, and its status.
  std::string Run(std::vector<std::string> words, int status = 0) {
    const Fd out(memfd_create("out", 0));
    RunInside(
        [&] {
          std::vector<char*> arguments{program_.data()};
          for (std::string& word : words) {
            arguments.push_back(word.data());
          }
          arguments.push_back(nullptr);
          MOAT_CHILD_CHECK(dup2(out.get(), 1) == 1 && dup2(out.get(), 2) == 2);
          execv(program_.c_str(), arguments.data());
        },
        status << 8);
    calls_ = status == 0 && words.back()[0] != '-' ? Told(out.get()) : Calls{};
    std::string text(1 << 16, '\0');
    text.resize(static_cast<size_t>(std::max<ssize_t>(0, pread(out.get(), text.data(), text.size(), 0))));
    return text;
  }
  static std::vector<std::string> Command(const char* name) {
    std::vector<std::string> words;
    for (const auto& [node, path] : Nodes().nodes) {
      words.insert(words.end(), {"--device", std::string(node).append("=").append(path)});
    }
    if (!HasStandIn()) {
      words.emplace_back("--yes");
    }
    words.emplace_back(name);
    return words;
  }

  std::string program_;
  Calls calls_;
};

TEST_F(GpuProgramBpfTest, PlaysWhatItSays) {
  if (Unseen("gpu.ioctl", "result")) {
    GTEST_SKIP() << "this kernel has no hook that sees what comes of an ioctl";
  }
  for (const char* name : {"cuda", "debugger", "uvm-memory"}) {
    Clear();
    Run(Command(name));
    EXPECT_FALSE(calls_.empty());
    EXPECT_EQ(Differences(Counted(), calls_), "") << name;
    EXPECT_EQ(Meant().Each(), gpu::FindScenario(name)->expected.Each()) << name;
  }
}

TEST_F(GpuProgramBpfTest, SaysWhatItHasAndWhatItHasNot) {
  using ::testing::HasSubstr;
  const std::string list = Run({"--list"});
  EXPECT_EQ(static_cast<size_t>(std::ranges::count(list, '\n')), gpu::Scenarios().size());
  EXPECT_THAT(list, HasSubstr("debugger-benign            benign     the same on two clients of its own\n"));
  EXPECT_THAT(list, HasSubstr("debugger                   suspicious a debugger on another process"));
  EXPECT_THAT(Run({"--help"}), HasSubstr("--device NAME=PATH"));
  EXPECT_THAT(Run({"debuger"}, 2), HasSubstr("there is no 'debuger': --list tells what there is"));
  EXPECT_THAT(Run({"--device", "nvidia=/dev/null", "cuda"}, 2), HasSubstr("not 'nvidia=/dev/null'"));
  EXPECT_THAT(Run({"--device", "nvidiactl=/dev/nothing", "cuda"}, 1), HasSubstr("/dev/nothing: No such file or directory"));
}

}  // namespace
}  // namespace moat::test
