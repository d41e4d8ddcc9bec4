// SPDX-License-Identifier: Apache-2.0
// One suspicious control, registers, 23 times by each way round whoever looks at commands and paths; and by the same way an ordinary one,
// 7 times. Drivers go by numbers alone, so each of these arrives.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "agent/base/fd.h"
#include "tests/workload/gpu_actor.h"

namespace moat::gpu {
namespace {

constexpr int kTimes = 23, kOrdinaryTimes = 7;
constexpr uint32_t kBoth = _IOC_READ | _IOC_WRITE;

[[noreturn]] void Die(const std::string& what) { throw Failure(what + ": " + std::strerror(errno)); }

using Way = void (*)(Actor&, int fd, const char* name, NVOS54_PARAMETERS& words);

void Plain(Actor& actor, int fd, const char* name, NVOS54_PARAMETERS& words) {
  actor.Call(fd, name, _IOC(kBoth, 'F', NV_ESC_RM_CONTROL.number, sizeof(words)), &words);
}

void Send(Actor& actor, int fd, const RmControl& control, int times, Way way) {
  std::vector<std::byte> params(control.bytes);
  NVOS54_PARAMETERS words = Rm::Words(actor.NewClientHandle(), actor.NewHandle(), control, params.data());
  for (int i = 0; i < times; ++i) {
    way(actor, fd, control.name, words);
  }
}

void SendBoth(Actor& actor, int fd, Way way = Plain) {
  Send(actor, fd, NV2080_CTRL_CMD_GPU_EXEC_REG_OPS, kTimes, way);
  Send(actor, fd, NV2080_CTRL_CMD_GPU_GET_PIDS, kOrdinaryTimes, way);
}

void Magic(Actor& actor) {
  SendBoth(actor, actor.Open("nvidiactl"), [](Actor& who, int fd, const char* name, NVOS54_PARAMETERS& words) {
    who.Call(fd, name, _IOC(kBoth, 'X', NV_ESC_RM_CONTROL.number, sizeof(words)), &words);
  });
}

template <uint32_t kDirection>
void Direction(Actor& actor) {
  SendBoth(actor, actor.Open("nvidiactl"), [](Actor& who, int fd, const char* name, NVOS54_PARAMETERS& words) {
    who.Call(fd, name, _IOC(kDirection, 'F', NV_ESC_RM_CONTROL.number, sizeof(words)), &words);
  });
}

void Wrapped(Actor& actor) {
  SendBoth(actor, actor.Open("nvidiactl"), [](Actor& who, int fd, const char* name, NVOS54_PARAMETERS& words) {
    nv_ioctl_xfer_t xfer{.cmd = NV_ESC_RM_CONTROL.number, .size = sizeof(words), .ptr = reinterpret_cast<uint64_t>(&words)};
    who.Call(fd, name, _IOC(kBoth, 'F', NV_ESC_IOCTL_XFER_CMD.number, sizeof(xfer)), &xfer);
  });
}

// The 32-bit table's ioctl. Its pointer to the words has 32 bits; that in the words has 64 for 32-bit programs too.
int Ioctl32(uint32_t fd, uint32_t word, uint32_t params) {
#ifdef __x86_64__
  int result = 0;
  // Kernels before 4.17 zeroed r8 to r11 on this way in.
  asm volatile("int $0x80" : "=a"(result) : "a"(54), "b"(fd), "c"(word), "d"(params) : "memory", "r8", "r9", "r10", "r11");
  return result;
#else
  (void)fd, (void)word, (void)params;
  return -ENOSYS;
#endif
}

void Compat(Actor& actor) {
  SendBoth(actor, actor.Open("nvidiactl"), [](Actor& who, int fd, const char* name, NVOS54_PARAMETERS& words) {
#ifdef MAP_32BIT
    static void* const low = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED) {
      Die("memory below 4 GiB");
    }
    std::memcpy(low, &words, sizeof(words));
    const auto at = static_cast<uint32_t>(reinterpret_cast<uint64_t>(low));
    who.Count(name, Ioctl32(static_cast<uint32_t>(fd), _IOC(kBoth, 'F', NV_ESC_RM_CONTROL.number, sizeof(words)), at) != 0);
#else
    throw Failure("32-bit calls are x86's");
#endif
  });
}

void Copied(Actor& actor) {
  const int fd = dup(actor.Open("nvidiactl"));
  if (fd < 0) {
    Die("dup");
  }
  SendBoth(actor, fd);
}

void Passed(Actor& actor) {
  actor.Beside([](Actor& other, const Peer& peer) { SendBoth(other, peer.ReceiveFd()); },
               [&](const Peer& peer) { peer.SendFd(actor.Open("nvidiactl")); });
}

void Taken(Actor& actor) {
  actor.Beside(
      [](Actor& other, const Peer& peer) {
        const Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, getppid(), 0)));
        const int fd = pidfd ? static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), peer.Receive(), 0)) : -1;
        if (fd < 0) {
          Die("pidfd_getfd");
        }
        SendBoth(other, fd);
      },
      [&](const Peer& peer) { peer.Send(static_cast<uint32_t>(actor.Open("nvidiactl"))); });
}

void Inherited(Actor& actor) {
  const int fd = actor.Open("nvidiactl");
  actor.Beside([fd](Actor& other, const Peer&) { SendBoth(other, fd); }, [](const Peer&) {});
}

void OwnNode(Actor& actor) {
  struct stat st{};
  const std::string& node = actor.setting().nodes.at("nvidiactl");
  const std::string path = "/var/tmp/moat-gpu-node-" + std::to_string(getpid());
  if (stat(node.c_str(), &st) != 0) {
    Die(node);
  }
  if (mknod(path.c_str(), S_IFCHR | 0600, st.st_rdev) != 0) {
    Die(path);
  }
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  const int error = errno;
  unlink(path.c_str());
  if (fd < 0) {
    throw Failure(path + ": " + std::strerror(error));
  }
  SendBoth(actor, fd);
}

// KFD and DRM go by the number too, and take structures of any size.
void KfdWords(Actor& actor) {
  actor.Beside(
      [](Actor& other, const Peer&) {
        const int kfd = other.Open("kfd");
        struct Longer {
          kfd_dbg_trap trap;
          uint64_t more[4];
        };
        Longer params{.trap = {.pid = static_cast<uint32_t>(getppid()), .op = 0, .enable = {}}, .more = {}};
        for (int i = 0; i < kTimes; ++i) {
          other.Call(kfd, AMDKFD_IOC_DBG_TRAP.name, _IOC(_IOC_NONE, 'X', 0x26, sizeof(params)), &params);
        }
        params.trap.pid = static_cast<uint32_t>(getpid());
        for (int i = 0; i < kOrdinaryTimes; ++i) {
          other.Call(kfd, AMDKFD_IOC_DBG_TRAP.name, _IOC(_IOC_NONE, 'X', 0x26, sizeof(params)), &params);
        }
      },
      [](const Peer&) {});
}

void DrmWords(Actor& actor) {
  const int amdgpu = actor.Open("amdgpu");
  struct Longer {
    drm_amdgpu_info info;
    uint64_t more[4];
  };
  Longer params{.info = {.query = AMDGPU_INFO_READ_MMR_REG, .rest = {}}, .more = {}};
  for (int i = 0; i < kTimes; ++i) {
    actor.Call(amdgpu, DRM_AMDGPU_INFO.name, _IOC(kBoth, 'd', 0x45, sizeof(params)), &params);
  }
  params.info.query = AMDGPU_INFO_VRAM_GTT;
  for (int i = 0; i < kOrdinaryTimes; ++i) {
    actor.Call(amdgpu, DRM_AMDGPU_INFO.name, _IOC(kBoth, 'd', 0x45, sizeof(params)), &params);
  }
}

constexpr Expected kRegisters = {.raw_access = kTimes};
constexpr Scenario kScenarios[] = {
    {"evasion-magic", kSuspicious, "another letter than the driver's", kRegisters, "", Magic},
    {"evasion-direction-none", kSuspicious, "direction bits: none", kRegisters, "", Direction<_IOC_NONE>},
    {"evasion-direction-read", kSuspicious, "direction bits: read", kRegisters, "", Direction<_IOC_READ>},
    {"evasion-direction-write", kSuspicious, "direction bits: write", kRegisters, "", Direction<_IOC_WRITE>},
    {"evasion-wrapped", kSuspicious, "inside another call, NV_ESC_IOCTL_XFER_CMD", kRegisters, "", Wrapped},
    {"evasion-32-bit", kSuspicious, "by int 0x80, as a 32-bit program", kRegisters, "", Compat},
    {"evasion-copied", kSuspicious, "by a copied descriptor", kRegisters, "", Copied},
    {"evasion-passed", kSuspicious, "by a descriptor that another process passed", kRegisters, "", Passed},
    {"evasion-taken", kSuspicious, "by a descriptor taken from another process with pidfd_getfd", kRegisters, "", Taken},
    {"evasion-inherited", kSuspicious, "by a descriptor of the parent's", kRegisters, "", Inherited},
    {"evasion-node", kSuspicious, "by a device node of one's own, with another name", kRegisters, "", OwnNode},
    {"evasion-kfd-words",
     kSuspicious,
     "KFD's debug trap by another letter, direction and size",
     {.debug = kTimes},
     "kfd",
     KfdWords},
    {"evasion-drm-words", kSuspicious, "registers of amdgpu by another direction and size", kRegisters, "amdgpu", DrmWords},
};

}  // namespace

std::span<const Scenario> EvasionScenarios() { return kScenarios; }

}  // namespace moat::gpu
