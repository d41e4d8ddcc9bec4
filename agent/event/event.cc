// SPDX-License-Identifier: Apache-2.0
#include "agent/event/event.h"

#include <arpa/inet.h>

namespace moat::event {

namespace {

constexpr std::array<const char*, static_cast<size_t>(Kind::kCount)> kKindNames = [] {
  std::array<const char*, static_cast<size_t>(Kind::kCount)> names{};
  auto set = [&](Kind kind, const char* name) { names[static_cast<size_t>(kind)] = name; };
  set(Kind::kFork, "fork");
  set(Kind::kExec, "exec");
  set(Kind::kExit, "exit");
  set(Kind::kScan, "scan");
  set(Kind::kProcessAccess, "process_access");
  set(Kind::kPrivilege, "privilege");
  set(Kind::kLogin, "login");
  set(Kind::kFileOpen, "file_open");
  set(Kind::kFileMap, "file_map");
  set(Kind::kFileTamper, "file_tamper");
  set(Kind::kFileIo, "file_io");
  set(Kind::kGpuOpen, "gpu_open");
  set(Kind::kGpuIoctl, "gpu_ioctl");
  set(Kind::kGpuMap, "gpu_map");
  set(Kind::kNetConnect, "net_connect");
  set(Kind::kNetSend, "net_send");
  set(Kind::kNetListen, "net_listen");
  set(Kind::kNetAccept, "net_accept");
  set(Kind::kNetClose, "net_close");
  set(Kind::kNetFlow, "net_flow");
  set(Kind::kNetDns, "net_dns");
  set(Kind::kFinding, "finding");
  set(Kind::kGap, "gap");
  set(Kind::kVerdict, "verdict");
  return names;
}();

constexpr const char* kTamperNames[] = {"unknown", "write", "truncate", "rename", "unlink", "link", "map_write", "replace"};

constexpr const char* kGpuClassNames[] = {"none", "nvidia", "nvidia-uvm", "nvidia-caps", "nvidia-switch", "nvidia-fs", "gdrdrv",
                                          "drm",  "accel",  "kfd",        "neuron",      "habanalabs",    "other",     "vfio"};
static_assert(std::size(kGpuClassNames) == static_cast<size_t>(GpuClass::kCount));

constexpr const char* kAccessNames[] = {"unknown", "attach", "poke", "registers", "vm_write", "vm_read", "mem_write", "mem_read"};
static_assert(std::size(kAccessNames) == static_cast<size_t>(AccessOp::kCount));

constexpr const char* kPrivilegeNames[] = {"unknown",    "setns",           "unshare", "mount",       "pivot_root",
                                           "open_tree",  "move_mount",      "chroot",  "init_module", "finit_module",
                                           "kexec_load", "kexec_file_load", "fsopen"};
static_assert(std::size(kPrivilegeNames) == static_cast<size_t>(PrivilegeOp::kCount));

constexpr const char* kLoginNames[] = {"unknown", "authenticate", "account", "session"};
static_assert(std::size(kLoginNames) == static_cast<size_t>(LoginStep::kCount));

// _pam_types.h
constexpr const char* kPamNames[] = {"success",
                                     "open_err",
                                     "symbol_err",
                                     "service_err",
                                     "system_err",
                                     "buf_err",
                                     "perm_denied",
                                     "auth_err",
                                     "cred_insufficient",
                                     "authinfo_unavail",
                                     "user_unknown",
                                     "maxtries",
                                     "new_authtok_reqd",
                                     "acct_expired",
                                     "session_err",
                                     "cred_unavail",
                                     "cred_expired",
                                     "cred_err",
                                     "no_module_data",
                                     "conv_err",
                                     "authtok_err",
                                     "authtok_recovery_err",
                                     "authtok_lock_busy",
                                     "authtok_disable_aging",
                                     "try_again",
                                     "ignore",
                                     "abort",
                                     "authtok_expired",
                                     "module_unknown",
                                     "bad_item",
                                     "conv_again",
                                     "incomplete"};
static_assert(std::size(kPamNames) == 32);

template <size_t N, typename Number>
const char* NameOf(const char* const (&names)[N], Number number) {
  const auto index = static_cast<size_t>(number);
  return index < N ? names[index] : "unknown";
}

constexpr const char* kVerdictNames[] = {"unknown", "allow", "deny", "would_deny"};

}  // namespace

const char* GpuCategoryName(size_t bit) {
  static constexpr const char* kNames[] = {"debug",       "profile",  "foreign-memory", "export",
                                           "reconfigure", "internal", "raw-access"};
  return bit < std::size(kNames) ? kNames[bit] : "";
}

const char* GpuLocationName(GpuLocation location) {
  static constexpr const char* kNames[] = {"", "device", "system", "user", "virtual"};
  const auto index = static_cast<size_t>(location);
  return index < std::size(kNames) ? kNames[index] : "";
}

const char* AccessOpName(AccessOp op) { return NameOf(kAccessNames, op); }
const char* PrivilegeOpName(PrivilegeOp op) { return NameOf(kPrivilegeNames, op); }
const char* LoginStepName(LoginStep step) { return NameOf(kLoginNames, step); }

const char* PamResultName(int32_t result) {
  return result >= 0 && static_cast<size_t>(result) < std::size(kPamNames) ? kPamNames[result] : "other";
}

std::string DnsTypeName(uint16_t type) {
  struct Name {
    uint16_t type;
    const char* name;
  };
  static constexpr Name kNames[] = {{1, "A"},      {2, "NS"},      {5, "CNAME"}, {6, "SOA"},    {10, "NULL"},  {12, "PTR"},
                                    {15, "MX"},    {16, "TXT"},    {28, "AAAA"}, {33, "SRV"},   {35, "NAPTR"}, {43, "DS"},
                                    {46, "RRSIG"}, {48, "DNSKEY"}, {64, "SVCB"}, {65, "HTTPS"}, {255, "ANY"},  {257, "CAA"}};
  for (const Name& name : kNames) {
    if (name.type == type) {
      return name.name;
    }
  }
  return "TYPE" + std::to_string(type);
}

const char* VerdictActionName(VerdictAction action) {
  auto index = static_cast<size_t>(action);
  return index < std::size(kVerdictNames) ? kVerdictNames[index] : "unknown";
}

const char* VerdictOperationName(VerdictOperation operation) {
  switch (operation) {
    case VerdictOperation::kNone: break;
    case VerdictOperation::kConnect: return "connect";
    case VerdictOperation::kSend: return "send";
    case VerdictOperation::kPacket: return "packet";
    case VerdictOperation::kSocket: return "socket";
    case VerdictOperation::kRead: return "read";
    case VerdictOperation::kWrite: return "write";
    case VerdictOperation::kMap: return "map";
    case VerdictOperation::kExec: return "exec";
    case VerdictOperation::kRename: return "rename";
    case VerdictOperation::kUnlink: return "unlink";
    case VerdictOperation::kLink: return "link";
    case VerdictOperation::kSetattr: return "setattr";
    case VerdictOperation::kTruncate: return "truncate";
    case VerdictOperation::kGpuUse: return "gpu_use";
    case VerdictOperation::kGpuCall: return "gpu_call";
    case VerdictOperation::kGpuOpen: return "gpu_open";
    case VerdictOperation::kGpuMap: return "gpu_map";
    case VerdictOperation::kGuard: return "guard";
  }
  return nullptr;
}

const char* KindName(Kind kind) {
  auto index = static_cast<size_t>(kind);
  const char* name = index < kKindNames.size() ? kKindNames[index] : nullptr;
  return name ? name : "unknown";
}

Kind KindFromName(std::string_view name) {
  for (size_t i = 0; i < kKindNames.size(); ++i) {
    if (kKindNames[i] && name == kKindNames[i]) {
      return static_cast<Kind>(i);
    }
  }
  return Kind::kNone;
}

namespace {

struct Group {
  std::string_view name;
  uint32_t kinds;
};
constexpr Group kGroups[] = {
    {"process", KindBit(Kind::kFork) | KindBit(Kind::kExec) | KindBit(Kind::kExit) | KindBit(Kind::kScan) |
                    KindBit(Kind::kProcessAccess) | KindBit(Kind::kPrivilege)},
    {"auth", KindBit(Kind::kLogin)},
    {"file", KindBit(Kind::kFileOpen) | KindBit(Kind::kFileMap) | KindBit(Kind::kFileTamper) | KindBit(Kind::kFileIo)},
    {"gpu", KindBit(Kind::kGpuOpen) | KindBit(Kind::kGpuIoctl) | KindBit(Kind::kGpuMap)},
    {"net", KindBit(Kind::kNetConnect) | KindBit(Kind::kNetSend) | KindBit(Kind::kNetListen) | KindBit(Kind::kNetAccept) |
                KindBit(Kind::kNetClose) | KindBit(Kind::kNetFlow) | KindBit(Kind::kNetDns)},
    {"policy", KindBit(Kind::kVerdict)},
};
static_assert(static_cast<size_t>(Kind::kCount) <= 32, "kinds are bits of 32");

}  // namespace

uint32_t KindsFromName(std::string_view name) {
  for (const Group& group : kGroups) {
    if (name == group.name) {
      return group.kinds;
    }
  }
  const Kind kind = KindFromName(name);
  return kind == Kind::kNone ? 0 : KindBit(kind);
}

std::vector<std::string_view> KindWords() {
  std::vector<std::string_view> words;
  for (const Group& group : kGroups) {
    words.push_back(group.name);
  }
  for (const char* name : kKindNames) {
    if (name != nullptr) {
      words.emplace_back(name);
    }
  }
  return words;
}

const char* TamperOpName(TamperOp op) {
  auto index = static_cast<size_t>(op);
  return index < std::size(kTamperNames) ? kTamperNames[index] : "unknown";
}

const char* GpuClassName(GpuClass c) {
  auto index = static_cast<size_t>(c);
  return index < std::size(kGpuClassNames) ? kGpuClassNames[index] : "unknown";
}

GpuClass GpuClassFromName(std::string_view name) {
  for (size_t i = 0; i < std::size(kGpuClassNames); ++i) {
    if (name == kGpuClassNames[i]) {
      return static_cast<GpuClass>(i);
    }
  }
  return GpuClass::kNone;
}

std::string AddressToString(const Address& address, bool ipv6) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(ipv6 ? AF_INET6 : AF_INET, address.bytes.data(), text, sizeof(text));
  std::string port = ":" + std::to_string(address.port);
  return ipv6 ? "[" + std::string(text) + "]" + port : text + port;
}

uint32_t AssetOf(const Event& event) {
  return std::visit(
      [](const auto& body) {
        if constexpr (requires { body.asset; }) {
          return body.asset;
        } else {
          return kNoAsset;
        }
      },
      event.body);
}

}  // namespace moat::event
