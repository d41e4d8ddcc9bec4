// SPDX-License-Identifier: Apache-2.0
// What happened, as plain values. Produced by decode, completed by the pipeline, read by everyone else. No allocation but in
// exec: an Event is copied and recycled by the hundred thousand per second.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace moat::event {

// Numbered as enum moat_kind (bpf/abi/event.h); decode holds the two together by static_assert.
enum class Kind : uint8_t {
  kNone = 0,
  kFork = 1,
  kExec = 2,
  kExit = 3,
  kScan = 4,
  kProcessAccess = 5,
  kPrivilege = 6,
  kLogin = 7,
  kFileOpen = 8,
  kFileMap = 9,
  kFileTamper = 10,
  kFileIo = 11,
  kGpuOpen = 16,
  kGpuIoctl = 17,
  kGpuMap = 18,
  kNetDns = 22,
  kFinding = 23,  // what the agent concludes; no record has it
  kNetConnect = 24,
  kNetSend = 25,
  kNetListen = 26,
  kNetAccept = 27,
  kNetClose = 28,
  kNetFlow = 29,
  kGap = 30,
  kVerdict = 31,
  kCount = 32,
};
const char* KindName(Kind kind);  // "exec", "file_open", ...; "unknown"
Kind KindFromName(std::string_view name);  // kNone when there is no such kind

// Kinds as users name them: "exec" for one, "process" for all of a group. Bit n: Kind n.
constexpr uint32_t KindBit(Kind kind) { return 1u << static_cast<uint32_t>(kind); }
uint32_t KindsFromName(std::string_view name);  // 0: there is no such kind or group
std::vector<std::string_view> KindWords();      // all that KindsFromName() knows, groups first

// Header::flags, Process::exec_flags and asset numbers, as bpf/abi has them (MOAT_F_*, MOAT_EXEC_*, MOAT_NO_ASSET), for those who
// may not include it; decode holds them together by static_assert.
inline constexpr uint32_t kFlagTruncated = 0x1;  // a string or array was cut at its stated limit
inline constexpr uint32_t kFlagUnreadable = 0x2;  // some memory could not be read
inline constexpr uint32_t kFlagNoOwner = 0x4;  // seen outside the context of a process: no pid
inline constexpr uint32_t kFlagLabelLost = 0x8;  // labels may be incomplete
inline constexpr uint32_t kFlagNoResult = 0x10;  // seen before it was carried out
inline constexpr uint32_t kFlagCanary = 0x10000;  // about an asset of class canary; set by the pipeline, no record has it
inline constexpr uint32_t kExecMemfd = 0x1;
inline constexpr uint32_t kExecDeleted = 0x2;
inline constexpr uint32_t kExecArgvTruncated = 0x4;
inline constexpr uint32_t kExecPathTruncated = 0x8;
inline constexpr uint32_t kExecArgvUnreadable = 0x10;
inline constexpr uint32_t kExecSetuid = 0x20;
inline constexpr uint32_t kExecStdinSocket = 0x40, kExecStdoutSocket = 0x80, kExecStderrSocket = 0x100;
inline constexpr uint32_t kExecStdioSocket = kExecStdinSocket | kExecStdoutSocket | kExecStderrSocket;
inline constexpr uint32_t kExecStdioInet = 0x200;  // one of these is of another family than AF_UNIX
inline constexpr uint32_t kExecTty = 0x400;  // a controlling terminal
inline constexpr uint32_t kExecPreload = 0x800, kExecAudit = 0x1000, kExecLibraryPath = 0x2000;  // LD_...: not of a scan
inline constexpr uint32_t kExecEnvTruncated = 0x4000;  // not all of the environment was looked at for these
inline constexpr uint32_t kExecEnvUnreadable = 0x8000;
inline constexpr uint32_t kNoAsset = 0xffffffff;
inline constexpr uint32_t kMaxAssets = 64;  // any other asset number in an event is below this

// A process is (pid, start time), never a pid alone. start_ns: CLOCK_BOOTTIME of the thread group leader.
struct ProcessKey {
  uint32_t pid = 0;
  uint64_t start_ns = 0;
  auto operator<=>(const ProcessKey&) const = default;
};

// A string of at most N-1 bytes, stored in place. Not necessarily UTF-8.
template <size_t N>
struct FixedString {
  std::array<char, N> bytes{};
  uint16_t length = 0;
  std::string_view view() const { return {bytes.data(), length}; }
};

// What is known of a process. Immutable once published; a new exec makes a new one.
struct Process {
  ProcessKey key;
  ProcessKey parent;
  uint32_t uid = 0, euid = 0, gid = 0;
  uint64_t cap_permitted = 0, cap_effective = 0;
  uint64_t cgroup_id = 0;
  std::string cgroup;  // path below the cgroup2 mount, "/..."; empty: not resolved
  std::string exe;  // absolute path walked in the kernel, or /proc's; no leading '/': its outer part was cut; empty: unknown
  std::string filename;  // as passed to execve
  std::vector<std::string> args;
  uint64_t exe_inode = 0;
  uint32_t exe_dev = 0;
  uint32_t exec_flags = 0;  // MOAT_EXEC_*
  bool from_scan = false;  // ran before the agent
};

struct Header {
  Kind kind = Kind::kNone;
  uint32_t flags = 0;  // MOAT_F_*
  uint64_t seq = 0;  // cursor; given by the pipeline, 1 up, no holes but told gaps
  uint64_t time_ns = 0;  // CLOCK_MONOTONIC
  ProcessKey process;
  uint32_t tid = 0;
  uint32_t uid = 0;
  uint64_t cgroup_id = 0;
  uint64_t labels = 0;  // bit n: asset n
  FixedString<16> comm;
  std::shared_ptr<const Process> info;  // from the process tree; null: not known
};

struct Fork {
  ProcessKey child;
};
struct Exec {
  std::shared_ptr<const Process> image;  // decode fills what the record has
};
struct Exit {
  uint32_t code = 0, signal = 0;
  bool core = false;
};

// One process reaches into another. Numbered as enum moat_access_op (bpf/abi/access.h).
enum class AccessOp : uint8_t { kNone, kAttach, kPoke, kRegisters, kVmWrite, kVmRead, kMemWrite, kMemRead, kCount };
const char* AccessOpName(AccessOp op);  // "attach", "vm_write", ...; "unknown"
struct ProcessAccess {
  ProcessKey target;  // never the process itself
  int64_t result = 0;  // of the call: 0, bytes, or a negative error
  uint64_t count = 0;  // calls of these two, this operation and this outcome (failed or not); an event at 1, 2, 4, 8, ...
  uint64_t target_labels = 0;  // bit n: asset n
  uint32_t target_uid = 0, request = 0;  // request: of ptrace
  AccessOp op = AccessOp::kNone;
  FixedString<16> target_comm;
};

// What changes the world that a process lives in, or the kernel below it. Numbered as enum moat_privilege_op (bpf/abi/privilege.h).
enum class PrivilegeOp : uint8_t {
  kNone,
  kSetns,
  kUnshare,
  kMount,
  kPivotRoot,
  kOpenTree,
  kMoveMount,
  kChroot,
  kInitModule,
  kFinitModule,
  kKexecLoad,
  kKexecFileLoad,
  kFsopen,
  kCount
};
const char* PrivilegeOpName(PrivilegeOp op);  // "setns", "mount", ...; "unknown"
struct Privilege {
  int64_t result = 0;
  uint64_t flags = 0;  // as passed: CLONE_NEW*, MS_*, ...
  uint64_t inode = 0;  // of the file behind the descriptor that was passed; 0: none
  uint32_t mount_ns = 0, pid_ns = 0, net_ns = 0, user_ns = 0;  // of the caller, afterwards
  PrivilegeOp op = PrivilegeOp::kNone;
  FixedString<128> target;
  FixedString<64> source;
  FixedString<16> type;
};

// What PAM has answered. Numbered as enum moat_login_step (bpf/abi/login.h).
enum class LoginStep : uint8_t { kNone, kAuthenticate, kAccount, kSession, kCount };
const char* LoginStepName(LoginStep step);  // "authenticate", "account", "session"; "unknown"
struct Login {
  LoginStep step = LoginStep::kNone;
  int32_t result = 0;  // as PAM numbers it; 0: success
  FixedString<32> service, terminal;
  FixedString<64> user, by;  // by: who asks
  FixedString<128> remote;  // host, as the service names it
};
const char* PamResultName(int32_t result);  // "success", "auth_err", "user_unknown", ...; "other"

struct FileOpen {
  uint64_t inode = 0, size = 0;
  uint32_t dev = 0, asset = 0, open_flags = 0;
  int32_t fd = 0;  // -1: it had none yet
  FixedString<128> name;
};
struct FileMap {
  uint64_t inode = 0, length = 0, offset = 0;
  uint32_t dev = 0, asset = 0, prot = 0, map_flags = 0;
  FixedString<128> name;
};
enum class TamperOp : uint8_t { kNone, kWrite, kTruncate, kRename, kUnlink, kLink, kMapWrite, kReplace };
const char* TamperOpName(TamperOp op);  // "write", "map_write", ...; "unknown"
struct FileTamper {
  uint64_t inode = 0, bytes = 0;
  uint32_t dev = 0, asset = 0;
  int32_t fd = 0;  // -1: none, or not known
  TamperOp op = TamperOp::kNone;
  FixedString<128> name;
};
struct FileIo {  // sums since the process first touched the asset
  uint32_t asset = 0;
  bool last = false;
  uint64_t bytes_read = 0, reads = 0, bytes_written = 0, writes = 0;
};

enum class GpuClass : uint8_t {
  kNone,
  kNvidia,
  kNvidiaUvm,
  kNvidiaCaps,
  kNvidiaSwitch,
  kNvidiaFs,
  kGdrdrv,
  kDrm,
  kAccel,
  kKfd,
  kNeuron,
  kHabanalabs,
  kOther,
  kVfio,
  kCount
};
const char* GpuClassName(GpuClass c);  // "nvidia", "nvidia-uvm", "drm", ...; "none"
GpuClass GpuClassFromName(std::string_view name);  // kNone when there is no such class
struct GpuOpen {
  uint32_t rdev = 0, open_flags = 0;  // rdev: major << 20 | minor
  int32_t fd = 0;  // -1: it had none yet
  uint32_t categories = 0;  // what opening it means; bits: GpuCategoryName
  GpuClass device_class = GpuClass::kNone;
};
// A resource of an accelerator's PCI device, mapped past its driver.
struct GpuMap {
  uint64_t length = 0;
  uint32_t resource = 0, pci_class = 0;  // N of resourceN; 0x030200
  uint16_t vendor = 0, product = 0;
  uint32_t prot = 0, categories = 0;
  FixedString<24> device;  // "0000:81:00.0"
};
// How much of a call is known. kHeader: that it was made; kPartial: all but fields that could not be read, or whose place in this driver's
// version is not known; no field has a value that was guessed.
enum class GpuCompleteness : uint8_t { kHeader, kPartial, kFull };
enum class GpuLocation : uint8_t { kNone, kDevice, kSystem, kUser, kVirtual };  // kUser: the caller's own memory, pinned
const char* GpuLocationName(GpuLocation location);  // "", "device", "system", "user", "virtual"
// A call of an accelerator's driver. Texts are of the tables in agent/decode: they live as long as the program, and are never null.
struct GpuCall {
  const char* verb = "";  // "ALLOC", "CONTROL", "READ", ...; empty: nobody knows this call
  const char* object = "";  // what it is about: "memory.local", "debugger", "clock-power"
  const char* name = "";  // of the call, class or control as its driver has it
  uint64_t arg = 0;  // where its parameters lay
  uint64_t count = 0, errors = 0;  // calls of this (process, device, command, detail) so far, this one included; of those failed
  uint64_t bytes = 0;  // allocated, mapped, exported, moved; 0: it says none
  int64_t result = 0;  // of the system call: a driver may refuse and still return 0
  // Which device a call names by its number with the driver: NVIDIA's device instance, which need not be N of /dev/nvidiaN, KFD's gpu_id. -1: none.
  int64_t device = -1;
  ProcessKey target;  // whose memory, client or address space it is about; pid 0: its own, or not known whose
  uint32_t rdev = 0, cmd = 0;  // cmd: the whole word, as passed
  uint32_t number = 0, size = 0;  // the call's own, unwrapped
  uint32_t detail = 0;  // class or control of NVIDIA's resource manager
  uint32_t status = 0;  // what the driver answered, where status_known
  uint32_t categories = 0;  // bits: GpuCategoryName
  uint32_t driver_version = 0;  // 580159004 for 580.159.04; 0: not known
  // Of NVIDIA's resource manager: who asks; the object it makes, frees or asks, and in which one it is made. Of KFD's memory both halves of
  // its handle.
  uint32_t client = 0, handle = 0, parent = 0;
  uint32_t nested_size = 0;
  GpuClass device_class = GpuClass::kNone;
  uint8_t driver = 0;  // of a DRM or accel device, as bpf/abi/gpu.h numbers them
  GpuCompleteness completeness = GpuCompleteness::kHeader;
  GpuLocation location = GpuLocation::kNone;
  bool first = false, watched = false, failed = false, wrapped = false, status_known = false;
  bool unusual = false;  // a control that serves no ordinary program
  bool copied =
      false;  // params and nested are the driver's own copy: what it acted on, whatever the caller did to them meanwhile
  uint8_t params_len = 0, nested_len = 0;
  std::array<uint8_t, 64> params{}, nested{};  // as far as they were read and fit
};

struct Address {
  std::array<uint8_t, 16> bytes{};  // IPv4 in the first four; network byte order
  uint16_t port = 0;  // host byte order
};
std::string AddressToString(const Address& address, bool ipv6);  // "10.0.0.1:443", "[::1]:443"
struct Endpoints {
  Address local, remote;
  bool ipv6 = false;
  bool mapped = false;  // given as ::ffff:a.b.c.d
  uint16_t protocol = 0;  // IPPROTO_*; IPPROTO_MPTCP is 262
  // Neither IPv4 nor IPv6: AF_PACKET, with the interface in the remote address's first four bytes, eight of the hardware address behind
  // it and the length of that as the port, or AF_VSOCK, with the port there and the context id in the next four; host byte order. 0
  // otherwise.
  uint16_t other_family = 0;
};
// connect, unconnected send, listen, accept: the kind says which.
struct Net {
  uint64_t cookie = 0;
  Endpoints ep;
};
// A question to a DNS server.
struct Dns {
  uint64_t cookie = 0;
  Endpoints ep;
  uint32_t payload = 0;  // bytes of the whole message
  uint16_t id = 0, type = 0;  // type: 0 where the name has no end
  FixedString<256> name;  // "www.example.com"; a dot or a 0 within a label is '?'; empty: the root's
};
std::string DnsTypeName(uint16_t type);  // "A", "TXT", ...; "TYPE65280"
// close, and running totals of an open socket.
struct NetTotals {
  uint64_t cookie = 0;
  Endpoints ep;
  uint64_t bytes_out = 0, bytes_in = 0, sends = 0, receives = 0;
  uint64_t opened_ns = 0;  // CLOCK_MONOTONIC
  bool established = false, passive = false, shared = false;
};

// What a policy decided.
enum class VerdictAction : uint8_t { kNone, kAllow, kDeny, kWouldDeny };
const char* VerdictActionName(VerdictAction action);  // "allow", "deny", "would_deny"; "unknown"
enum class VerdictWhy : uint8_t { kRule, kNoSni, kEch, kOtherName, kNotTcp, kBudget, kCount };
// Numbered as enum moat_verdict_operation (bpf/abi/verdict.h).
enum class VerdictOperation : uint8_t {
  kNone = 0,
  kConnect = 1,
  kSend = 2,
  kPacket = 3,
  kSocket = 4,
  kRead = 8,
  kWrite = 9,
  kMap = 10,
  kExec = 11,
  kRename = 12,
  kUnlink = 13,
  kLink = 14,
  kSetattr = 15,
  kTruncate = 16,
  kGpuUse = 24,
  kGpuCall = 25,
  kGpuOpen = 26,
  kGpuMap = 27,
  kGuard = 32,
};
// "connect", "send", "gpu_call", ...; null: there is no such operation.
const char* VerdictOperationName(VerdictOperation operation);
const char* GpuCategoryName(size_t bit);  // "debug", "profile", "foreign-memory", ...; ""
// Those of a mask, by name.
template <typename Take>
void EachGpuCategory(uint32_t categories, const Take& take) {
  for (size_t bit = 0; *GpuCategoryName(bit) != '\0'; ++bit) {
    if ((categories >> bit & 1) != 0) {
      take(GpuCategoryName(bit));
    }
  }
}
inline constexpr uint8_t kNoCategory = 0xff;
struct Verdict {
  VerdictAction action = VerdictAction::kNone;
  VerdictOperation operation = VerdictOperation::kNone;
  VerdictWhy why = VerdictWhy::kRule;
  uint8_t category = 0;  // of a GPU call, open or mapping: bit number; kNoCategory
  uint32_t rule = 0;  // see Names::rules; 0: none
  uint32_t generation = 0;
  uint64_t cookie = 0;  // of the socket
  bool has_ep = false;
  Endpoints ep;
  uint64_t inode = 0;
  uint32_t dev = 0, asset = kNoAsset, rdev = 0, command = 0;  // command: of a call; of a mapping the number of the resource
  FixedString<64> name;  // of the file, the PCI device
};

struct Gap {  // events that are missing from the stream
  Kind lost_kind = Kind::kNone;  // kNone: of any kind
  uint8_t reason = 0;  // LostReason of base/status.h
  uint64_t count = 0;
};

struct Finding;  // finding.h
using FindingPtr = std::shared_ptr<const Finding>;

using Body = std::variant<std::monostate, Fork, Exec, Exit, FileOpen, FileMap, FileTamper, FileIo, GpuOpen, GpuCall, Net,
                          NetTotals, Verdict, Gap, GpuMap, ProcessAccess, Privilege, Login, FindingPtr, Dns>;

struct Event {
  Header header;
  Body body;
};

uint32_t AssetOf(const Event& event);  // the one that it is about; kNoAsset: none

}  // namespace moat::event
