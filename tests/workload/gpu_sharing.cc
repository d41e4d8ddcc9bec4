// SPDX-License-Identifier: Apache-2.0
// Memory that is given to others, and taken from them.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "agent/base/cgroup.h"
#include "agent/base/fd.h"
#include "tests/workload/gpu_actor.h"

namespace moat::gpu {
namespace {

// A cgroup below this process's own, for as long as this lives: another workload.
class OtherCgroup {
 public:
  OtherCgroup() {
    const auto mount = FindCgroup2Mount();
    std::ifstream file("/proc/self/cgroup");
    std::string line, own;
    while (std::getline(file, line)) {
      own = line.starts_with("0::") ? line.substr(3) : own;
    }
    if (!mount || own.empty()) {
      throw Failure("no cgroup2 here");
    }
    if (mount->root != "/" && own.starts_with(mount->root)) {
      own.erase(0, mount->root.size());
    }
    path_ = mount->path + (own == "/" ? "" : own) + "/moat-gpu-" + std::to_string(getpid());
    if (mkdir(path_.c_str(), 0755) != 0) {
      throw Failure(path_ + ": " + std::strerror(errno));
    }
  }
  ~OtherCgroup() {
    // A dead process leaves its cgroup a moment after it was waited for.
    for (int i = 0; i < 200 && rmdir(path_.c_str()) != 0 && errno == EBUSY; ++i) {
      usleep(10'000);
    }
  }
  OtherCgroup(const OtherCgroup&) = delete;
  OtherCgroup& operator=(const OtherCgroup&) = delete;

  void Join() const {
    const Fd procs(open((path_ + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!procs || write(procs.get(), "0", 1) != 1) {
      throw Failure(path_ + ": " + std::strerror(errno));
    }
  }

 private:
  std::string path_;
};

// By both calls that there are for it, each into a control file opened for that.
void ExportInto(Actor& actor, const int (&files)[2]) {
  Rm rm(actor, actor.Open("nvidiactl"));
  const uint32_t device = rm.Alloc(NV01_DEVICE_0, rm.client(), NV0080_ALLOC_PARAMETERS{});
  const uint32_t memory = rm.Alloc(NV01_MEMORY_LOCAL_USER, device, NV_MEMORY_ALLOCATION_PARAMS{.size = 2 << 20});
  rm.Control(rm.client(), NV0000_CTRL_CMD_OS_UNIX_EXPORT_OBJECT_TO_FD,
             NV0000_CTRL_OS_UNIX_EXPORT_OBJECT_TO_FD_PARAMS{
                 .object = {.type = 1, .data = {.rmObject = {.hDevice = device, .hParent = device, .hObject = memory}}},
                 .fd = files[0]});
  rm.Control(rm.client(), NV0000_CTRL_CMD_OS_UNIX_EXPORT_OBJECTS_TO_FD,
             NV0000_CTRL_OS_UNIX_EXPORT_OBJECTS_TO_FD_PARAMS{
                 .fd = files[1], .hDevice = device, .maxObjects = 1, .objects = {memory}, .numObjects = 1});
}

void ImportFrom(Actor& actor, const int (&files)[2]) {
  Rm rm(actor, actor.Open("nvidiactl"));
  rm.Control(rm.client(), NV0000_CTRL_CMD_OS_UNIX_IMPORT_OBJECT_FROM_FD,
             NV0000_CTRL_OS_UNIX_IMPORT_OBJECT_FROM_FD_PARAMS{.fd = files[0]});
  rm.Control(rm.client(), NV0000_CTRL_CMD_OS_UNIX_IMPORT_OBJECTS_FROM_FD,
             NV0000_CTRL_OS_UNIX_IMPORT_OBJECTS_FROM_FD_PARAMS{.fd = files[1], .numObjects = 1});
}

int TakeFd(pid_t from, uint32_t fd) {
  const Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, from, 0)));
  const int taken = pidfd ? static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), fd, 0)) : -1;
  if (taken < 0) {
    throw Failure(std::string("pidfd_getfd: ") + std::strerror(errno));
  }
  return taken;
}

// The exporter is in another cgroup, and did not pass its files: they are taken.
void ImportStolen(Actor& actor) {
  const OtherCgroup cgroup;
  actor.Beside(
      [&](Actor& other, const Peer& peer) {
        cgroup.Join();
        const int files[] = {other.Open("nvidiactl"), other.Open("nvidiactl")};
        ExportInto(other, files);
        peer.Send(static_cast<uint32_t>(getpid()));
        peer.Send(static_cast<uint32_t>(files[0]));
        peer.Send(static_cast<uint32_t>(files[1]));
        peer.Receive();  // not before they are taken
      },
      [&](const Peer& peer) {
        const auto pid = static_cast<pid_t>(peer.Receive());
        const int files[] = {TakeFd(pid, peer.Receive()), TakeFd(pid, peer.Receive())};
        ImportFrom(actor, files);
        peer.Send(0);
      });
}

void ImportBenign(Actor& actor) {
  actor.Beside(
      [&](Actor& other, const Peer& peer) {
        const int files[] = {other.Open("nvidiactl"), other.Open("nvidiactl")};
        ExportInto(other, files);
        peer.SendFd(files[0]);
        peer.SendFd(files[1]);
      },
      [&](const Peer& peer) {
        const int files[] = {peer.ReceiveFd(), peer.ReceiveFd()};
        ImportFrom(actor, files);
      });
}

void ExportObject(Actor& actor) {
  const int files[] = {actor.Open("nvidiactl"), actor.Open("nvidiactl")};
  ExportInto(actor, files);
}
void ExportObjectBenign(Actor& actor) {
  Rm rm(actor, actor.Open("nvidiactl"));
  rm.Control(rm.client(), NV0000_CTRL_CMD_OS_UNIX_CREATE_EXPORT_OBJECT_FD);
  rm.Control(rm.client(), NV0000_CTRL_CMD_OS_UNIX_GET_EXPORT_OBJECT_INFO);
}

void ExportDmabuf(Actor& actor) {
  const Rm rm(actor, actor.Open("nvidiactl"));
  actor.Escaped(actor.Open("nvidia0"), NV_ESC_EXPORT_TO_DMABUF_FD,
                nv_ioctl_export_to_dma_buf_fd_t{
                    .fd = -1, .hClient = rm.client(), .totalObjects = 1, .numObjects = 1, .totalSize = 2 << 20});
}
void ExportDmabufBenign(Actor& actor) {
  const int ctl = actor.Open("nvidiactl");
  struct Gpus {
    uint32_t id[1];
  };
  actor.Escaped(ctl, NV_ESC_ATTACH_GPUS_TO_FD, Gpus{});
  actor.Escaped(actor.Open("nvidia0"), NV_ESC_REGISTER_FD, nv_ioctl_register_fd_t{.ctl_fd = ctl});
}

void ExportFabric(Actor& actor) {
  Rm rm(actor, actor.Open("nvidiactl"));
  const uint32_t exported = rm.Alloc(NV_MEMORY_EXPORT, rm.client(), NV00E0_ALLOCATION_PARAMETERS{.numMaxHandles = 1});
  rm.Control(exported, NV00E0_CTRL_CMD_EXPORT_MEM);
}
void ImportFabric(Actor& actor) {
  Rm rm(actor, actor.Open("nvidiactl"));
  rm.Alloc(NV_MEMORY_FABRIC_IMPORT_V2, rm.client(), NV00F9_ALLOCATION_PARAMETERS{});
  const uint32_t imported = rm.Alloc(NV_MEMORY_FABRIC_IMPORTED_REF, rm.client(), NV00FB_ALLOCATION_PARAMETERS{});
  rm.Control(imported, NV00E0_CTRL_CMD_IMPORT_MEM);
}
void FabricBenign(Actor& actor) {
  Rm rm(actor, actor.Open("nvidiactl"));
  const uint32_t fabric = rm.Alloc(NV_MEMORY_FABRIC, rm.client(), NV00F8_ALLOCATION_PARAMETERS{.allocSize = 2 << 20});
  rm.Control(fabric, NV00F8_CTRL_CMD_ATTACH_MEM);
  rm.Control(fabric, NV00F8_CTRL_CMD_GET_INFO);
  rm.Control(fabric, NV00E0_CTRL_CMD_GET_INFO);
  rm.Alloc(NV_MEMORY_MULTICAST_FABRIC, rm.client(), NV00FD_ALLOCATION_PARAMETERS{.allocSize = 2 << 20, .numGpus = 2});
}

void ShareWith(Actor& actor, uint16_t type) {
  Rm rm(actor, actor.Open("nvidiactl"));
  const RS_SHARE_POLICY policy{.accessMask = {{1}}, .type = type};
  actor.Escaped(rm.fd(), NV_ESC_RM_SHARE,
                NVOS57_PARAMETERS{.hClient = rm.client(), .hObject = rm.client(), .sharePolicy = policy});
  rm.Control(rm.client(), NV0000_CTRL_CMD_CLIENT_SET_INHERITED_SHARE_POLICY,
             NV0000_CTRL_CLIENT_SET_INHERITED_SHARE_POLICY_PARAMS{.sharePolicy = policy});
  rm.Control(rm.client(), NV0000_CTRL_CMD_CLIENT_SHARE_OBJECT,
             NV0000_CTRL_CLIENT_SHARE_OBJECT_PARAMS{.hObject = rm.client(), .sharePolicy = policy});
}
void ShareAll(Actor& actor) { ShareWith(actor, RS_SHARE_TYPE_ALL); }
void ShareBenign(Actor& actor) {
  ShareWith(actor, RS_SHARE_TYPE_PID);
  ShareWith(actor, RS_SHARE_TYPE_CLIENT);
}

void DupFrom(Actor& actor, const Rm& rm, uint32_t client) {
  actor.Escaped(rm.fd(), NV_ESC_RM_DUP_OBJECT,
                NVOS55_PARAMETERS{.hClient = rm.client(),
                                  .hParent = rm.client(),
                                  .hObject = actor.NewHandle(),
                                  .hClientSrc = client,
                                  .hObjectSrc = 0x5c000001});
}
void Dup(Actor& actor) {
  actor.Beside(
      [](Actor& other, const Peer& peer) {
        const uint32_t whose = peer.Receive();
        const Rm rm(other, other.Open("nvidiactl"));
        DupFrom(other, rm, whose);
      },
      [&](const Peer& peer) { peer.Send(Rm(actor, actor.Open("nvidiactl")).client()); });
}
void DupBenign(Actor& actor) {
  const int ctl = actor.Open("nvidiactl");
  const Rm first(actor, ctl), second(actor, ctl);
  DupFrom(actor, first, second.client());
  DupFrom(actor, first, first.client());
}

void PrimeExport(Actor& actor) { actor.Do(actor.Open("drm"), DRM_IOCTL_PRIME_HANDLE_TO_FD, drm_prime_handle{.handle = 1}); }
void PrimeImport(Actor& actor) { actor.Do(actor.Open("drm"), DRM_IOCTL_PRIME_FD_TO_HANDLE, drm_prime_handle{.fd = -1}); }
void PrimeBenign(Actor& actor) {
  const int drm = actor.Open("drm");
  actor.Do(drm, DRM_IOCTL_VERSION);
  actor.Do(drm, DRM_IOCTL_GEM_CLOSE);
}
// One that has a driver with numbers of its own has those of all DRM devices too.
void PrimeAmdgpu(Actor& actor) {
  const int amdgpu = actor.Open("amdgpu");
  actor.Do(amdgpu, DRM_IOCTL_PRIME_HANDLE_TO_FD, drm_prime_handle{.handle = 1});
  actor.Do(amdgpu, DRM_IOCTL_PRIME_FD_TO_HANDLE, drm_prime_handle{.fd = -1});
}
void PrimeAccel(Actor& actor) {
  const int accel = actor.Open("accel");
  actor.Do(accel, DRM_IOCTL_PRIME_HANDLE_TO_FD, drm_prime_handle{.handle = 1});
  actor.Do(accel, DRM_IOCTL_PRIME_FD_TO_HANDLE, drm_prime_handle{.fd = -1});
}
void KfdExport(Actor& actor) {
  const int kfd = actor.Open("kfd");
  actor.Do(kfd, AMDKFD_IOC_EXPORT_DMABUF, kfd_export_dmabuf{.handle = 1});
  actor.Do(kfd, AMDKFD_IOC_IPC_EXPORT_HANDLE, kfd_ipc_export_handle{.handle = 1});
}
void KfdImport(Actor& actor) {
  const int kfd = actor.Open("kfd");
  actor.Do(kfd, AMDKFD_IOC_IMPORT_DMABUF);
  actor.Do(kfd, AMDKFD_IOC_IPC_IMPORT_HANDLE);
}
void KfdBenign(Actor& actor) {
  const int kfd = actor.Open("kfd");
  actor.Do(kfd, AMDKFD_IOC_GET_DMABUF_INFO);
  actor.Do(kfd, AMDKFD_IOC_ALLOC_MEMORY_OF_GPU, kfd_alloc_memory_of_gpu{.size = 2 << 20, .flags = 1});
}
void NeuronExport(Actor& actor) { actor.Do(actor.Open("neuron"), NEURON_IOCTL_DMABUF_FD); }
void NeuronExportBenign(Actor& actor) { actor.Do(actor.Open("neuron"), NEURON_IOCTL_MEM_GET_INFO); }
void HabanaExport(Actor& actor) {
  actor.Do(actor.Open("habanalabs"), DRM_IOCTL_HL_MEMORY, hl_mem_in{.op = HL_MEM_OP_EXPORT_DMABUF_FD});
}
void HabanaExportBenign(Actor& actor) {
  const int habanalabs = actor.Open("habanalabs");
  actor.Do(habanalabs, DRM_IOCTL_HL_INFO);
  for (const uint32_t op : {HL_MEM_OP_ALLOC, HL_MEM_OP_MAP, HL_MEM_OP_FREE}) {
    actor.Do(habanalabs, DRM_IOCTL_HL_MEMORY, hl_mem_in{.what = {HL_MEM_OP_EXPORT_DMABUF_FD}, .op = op});
  }
}
void Storage(Actor& actor) { actor.Do(actor.Open("nvidia-fs"), NVFS_IOCTL_WRITE); }
void StorageBenign(Actor& actor) {
  const int fs = actor.Open("nvidia-fs");
  actor.Do(fs, NVFS_IOCTL_MAP);
  actor.Do(fs, NVFS_IOCTL_READ);
}

constexpr Scenario kScenarios[] = {
    {"export-object",
     kSuspicious,
     "memory into files that any process may be given, by both calls",
     {.exported = 2},
     "",
     ExportObject},
    {"export-object-benign", kBenign, "a file for it, and what is in one", {}, "", ExportObjectBenign},
    {"export-dmabuf", kSuspicious, "memory into a dma-buf", {.exported = 1}, "", ExportDmabuf},
    {"export-dmabuf-benign", kBenign, "other calls that take descriptors", {}, "", ExportDmabufBenign},
    {"export-fabric", kSuspicious, "memory to other nodes", {.exported = 2}, "", ExportFabric},
    {"import-fabric", kSuspicious, "memory of other nodes", {.foreign_memory = 3}, "", ImportFabric},
    {"fabric-benign", kBenign, "memory that NVLink can reach, as NVLS has it", {}, "", FabricBenign},
    {"import-stolen",
     kSuspicious,
     "an export of another cgroup, by files taken with pidfd_getfd",
     {.foreign_memory = 2, .exported = 2},
     "",
     ImportStolen},
    {"import-benign",
     kBenign,
     "the same from a process of its own cgroup, which passed them: exports are told, imports not",
     {.exported = 2},
     "",
     ImportBenign},
    {"share-all", kSuspicious, "objects opened to every process, by all three calls", {.exported = 3}, "", ShareAll},
    {"share-benign", kBenign, "the same for its own process, and for one client", {}, "", ShareBenign},
    {"dup", kSuspicious, "an object of another process's client", {.foreign_memory = 1}, "", Dup},
    {"dup-benign", kBenign, "the same of its own clients", {}, "", DupBenign},
    {"prime-export", kSuspicious, "memory of a DRM device into a descriptor", {.exported = 1}, "drm", PrimeExport},
    {"prime-import", kSuspicious, "memory of a descriptor", {.foreign_memory = 1}, "drm", PrimeImport},
    {"prime-benign", kBenign, "other calls of all DRM devices", {}, "drm", PrimeBenign},
    {"prime-amdgpu",
     kSuspicious,
     "the same two, of a driver with numbers of its own",
     {.foreign_memory = 1, .exported = 1},
     "amdgpu",
     PrimeAmdgpu},
    {"prime-accel", kSuspicious, "the same two, of an accel device", {.foreign_memory = 1, .exported = 1}, "accel", PrimeAccel},
    {"kfd-export", kSuspicious, "AMD's memory into a dma-buf, and by a secret", {.exported = 2}, "kfd", KfdExport},
    {"kfd-import", kSuspicious, "the other end of both", {.foreign_memory = 2}, "kfd", KfdImport},
    {"kfd-sharing-benign", kBenign, "what is in a dma-buf", {}, "kfd", KfdBenign},
    {"neuron-export", kSuspicious, "a Neuron device's memory into a dma-buf", {.exported = 1}, "neuron", NeuronExport},
    {"neuron-export-benign", kBenign, "what memory it is", {}, "neuron", NeuronExportBenign},
    {"habanalabs-export", kSuspicious, "a Gaudi's memory into a dma-buf", {.exported = 1}, "habanalabs", HabanaExport},
    {"habanalabs-export-benign", kBenign, "other operations of the same call", {}, "habanalabs", HabanaExportBenign},
    {"storage", kSuspicious, "GPU memory into a file, past every write", {.exported = 1}, "nvidia-fs", Storage},
    {"storage-benign", kBenign, "a file into GPU memory", {}, "nvidia-fs", StorageBenign},
};

}  // namespace

std::span<const Scenario> SharingScenarios() { return kScenarios; }

}  // namespace moat::gpu
