// SPDX-License-Identifier: Apache-2.0
#include "agent/api/encode.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>

#include "agent/api/encode_parts.h"
#include "agent/api/finding_message.h"
#include "agent/base/status.h"
#include "moat/v1/services.pb.h"

namespace moat::api {

namespace {

using event::Kind;

// The proto's numbers are the agent's: a cast is the conversion.
static_assert(int{v1::KIND_FORK} == int(Kind::kFork) && int{v1::KIND_EXEC} == int(Kind::kExec));
static_assert(int{v1::KIND_EXIT} == int(Kind::kExit) && int{v1::KIND_SCAN} == int(Kind::kScan));
static_assert(int{v1::KIND_FILE_OPEN} == int(Kind::kFileOpen) && int{v1::KIND_FILE_MAP} == int(Kind::kFileMap));
static_assert(int{v1::KIND_FILE_TAMPER} == int(Kind::kFileTamper) && int{v1::KIND_FILE_IO} == int(Kind::kFileIo));
static_assert(int{v1::KIND_GPU_OPEN} == int(Kind::kGpuOpen) && int{v1::KIND_GPU_IOCTL} == int(Kind::kGpuIoctl));
static_assert(int{v1::KIND_GPU_MAP} == int(Kind::kGpuMap));
static_assert(int{v1::KIND_NET_CONNECT} == int(Kind::kNetConnect) && int{v1::KIND_NET_SEND} == int(Kind::kNetSend));
static_assert(int{v1::KIND_NET_LISTEN} == int(Kind::kNetListen) && int{v1::KIND_NET_ACCEPT} == int(Kind::kNetAccept));
static_assert(int{v1::KIND_NET_CLOSE} == int(Kind::kNetClose) && int{v1::KIND_NET_FLOW} == int(Kind::kNetFlow));
static_assert(int{v1::KIND_NET_DNS} == int(Kind::kNetDns));
static_assert(int{v1::KIND_FINDING} == int(Kind::kFinding));
static_assert(int{v1::KIND_GAP} == int(Kind::kGap) && int{v1::KIND_VERDICT} == int(Kind::kVerdict));
static_assert(int{v1::VERDICT_ACTION_WOULD_DENY} == int(event::VerdictAction::kWouldDeny));
static_assert(int{v1::VERDICT_OPERATION_TRUNCATE} == int(event::VerdictOperation::kTruncate));
static_assert(int{v1::VERDICT_OPERATION_GUARD} == int(event::VerdictOperation::kGuard));
static_assert(int{v1::VERDICT_WHY_BUDGET} == int(event::VerdictWhy::kBudget));
static_assert(int{v1::TAMPER_OP_WRITE} == int(event::TamperOp::kWrite));
static_assert(int{v1::TAMPER_OP_REPLACE} == int(event::TamperOp::kReplace));
static_assert(int{v1::LOST_REASON_QUEUE_FULL} == int(LostReason::kQueueFull) && int(LostReason::kCount) == 4);

// "10.0.0.1" at about a tenth of inet_ntop's price.
void PutAddress(Wire& wire, int field, const event::Address& address, bool ipv6) {
  char text[INET6_ADDRSTRLEN] = "";
  if (ipv6) {
    inet_ntop(AF_INET6, address.bytes.data(), text, sizeof(text));
    wire.Text(field, text);
    return;
  }
  char* at = text;
  for (size_t i = 0; i < 4; ++i) {
    at = std::to_chars(at, text + sizeof(text), address.bytes[i]).ptr;
    *at++ = '.';
  }
  wire.Bytes(field, {text, static_cast<size_t>(at - text - 1)});
}

// Protobuf writes a negative number as one of 64 bits.
void PutFd(Wire& wire, int field, int32_t fd) { wire.Varint(field, static_cast<uint64_t>(int64_t{fd})); }

// Sockets that know no internet address.
void PutOther(Wire& wire, const event::Endpoints& from) {
  using To = v1::Endpoints;
  uint32_t words[2];
  std::memcpy(words, from.remote.bytes.data(), sizeof(words));
  const bool vsock = from.other_family == AF_VSOCK;
  std::string address = vsock ? "vsock:" + std::to_string(words[1]) : "interface:" + std::to_string(words[0]);
  const size_t hardware = vsock ? 0 : std::min<size_t>(from.remote.port, 8);  // bytes of the address
  for (size_t i = 0; i < hardware; ++i) {
    constexpr const char* kHex = "0123456789abcdef";
    const uint8_t byte = from.remote.bytes[sizeof(uint32_t) + i];
    address += i == 0 ? '/' : ':';
    address += kHex[byte >> 4];
    address += kHex[byte & 15];
  }
  address += !vsock && from.remote.port > hardware ? ":..." : "";  // longer than what is kept of it
  wire.Text(To::kRemoteAddressFieldNumber, address);
  wire.Varint(To::kRemotePortFieldNumber, vsock ? words[0] : 0);
  wire.Varint(To::kProtocolFieldNumber, 65536u + from.other_family);
}

void PutEndpoints(Wire& wire, int field, const event::Endpoints& from) {
  using To = v1::Endpoints;
  auto mark = wire.Begin(field);
  if (from.other_family != 0) {
    PutOther(wire, from);
    wire.End(mark);
    return;
  }
  PutAddress(wire, To::kLocalAddressFieldNumber, from.local, from.ipv6);
  wire.Varint(To::kLocalPortFieldNumber, from.local.port);
  PutAddress(wire, To::kRemoteAddressFieldNumber, from.remote, from.ipv6);
  wire.Varint(To::kRemotePortFieldNumber, from.remote.port);
  wire.Varint(To::kProtocolFieldNumber, from.protocol);
  wire.Varint(To::kMappedFieldNumber, from.mapped);
  wire.End(mark);
}

template <typename To, typename File>
void PutFile(Wire& wire, const File& from, const event::Names* names) {
  PutAsset(wire, To::kAssetFieldNumber, from.asset, names);
  if (names) {
    if (auto found = names->paths.find({from.dev, from.inode}); found != names->paths.end()) {
      wire.Text(To::kPathFieldNumber, found->second);
    }
  }
  wire.Text(To::kNameFieldNumber, from.name.view());
  wire.Varint(To::kInodeFieldNumber, from.inode);
  wire.Varint(To::kDevFieldNumber, from.dev);
}

template <typename To, typename Gpu>
void PutDevice(Wire& wire, const Gpu& from, const event::Names* names) {
  if (names) {
    if (auto found = names->devices.find(from.rdev); found != names->devices.end()) {
      wire.Text(To::kDeviceFieldNumber, found->second);
    }
  }
  wire.Bytes(To::kDeviceClassFieldNumber, event::GpuClassName(from.device_class));
  wire.Varint(To::kRdevFieldNumber, from.rdev);
}

// One overload per body: a new alternative of event::Body does not compile until it has its own.
struct PutBody {
  Wire& wire;
  const event::Names* names;

  void operator()(const std::monostate&) const {}
  void operator()(const event::Fork& from) const {
    auto mark = wire.Begin(v1::Event::kForkFieldNumber);
    wire.Varint(v1::Fork::kChildPidFieldNumber, from.child.pid);
    wire.Fixed64(v1::Fork::kChildStartNsFieldNumber, from.child.start_ns);
    wire.End(mark);
  }
  void operator()(const event::Exec& from) const {
    auto mark = wire.Begin(v1::Event::kExecFieldNumber);
    if (from.image) {
      wire.Text(v1::Exec::kExeFieldNumber, from.image->exe);
      for (const auto& arg : from.image->args) {
        wire.TextElement(v1::Exec::kArgsFieldNumber, arg);
      }
    }
    wire.End(mark);
  }
  void operator()(const event::Exit& from) const {
    auto mark = wire.Begin(v1::Event::kExitFieldNumber);
    wire.Varint(v1::Exit::kCodeFieldNumber, from.code);
    wire.Varint(v1::Exit::kSignalFieldNumber, from.signal);
    wire.Varint(v1::Exit::kCoreFieldNumber, from.core);
    wire.End(mark);
  }
  void operator()(const event::ProcessAccess& from) const { PutAccess(wire, from, names); }
  void operator()(const event::Privilege& from) const { PutPrivilege(wire, from); }
  void operator()(const event::Login& from) const { PutLogin(wire, from); }
  void operator()(const event::FileOpen& from) const {
    using To = v1::FileOpen;
    auto mark = wire.Begin(v1::Event::kFileOpenFieldNumber);
    PutFile<To>(wire, from, names);
    wire.Varint(To::kSizeFieldNumber, from.size);
    wire.Varint(To::kOpenFlagsFieldNumber, from.open_flags);
    PutFd(wire, To::kFdFieldNumber, from.fd);
    wire.End(mark);
  }
  void operator()(const event::FileMap& from) const {
    using To = v1::FileMap;
    auto mark = wire.Begin(v1::Event::kFileMapFieldNumber);
    PutFile<To>(wire, from, names);
    wire.Varint(To::kLengthFieldNumber, from.length);
    wire.Varint(To::kOffsetFieldNumber, from.offset);
    wire.Varint(To::kProtFieldNumber, from.prot);
    wire.Varint(To::kMapFlagsFieldNumber, from.map_flags);
    wire.End(mark);
  }
  void operator()(const event::FileTamper& from) const {
    using To = v1::FileTamper;
    auto mark = wire.Begin(v1::Event::kFileTamperFieldNumber);
    PutFile<To>(wire, from, names);
    wire.Varint(To::kOpFieldNumber, static_cast<uint64_t>(from.op));
    wire.Varint(To::kBytesFieldNumber, from.bytes);
    PutFd(wire, To::kFdFieldNumber, from.fd);
    wire.End(mark);
  }
  void operator()(const event::FileIo& from) const {
    using To = v1::FileIo;
    auto mark = wire.Begin(v1::Event::kFileIoFieldNumber);
    PutAsset(wire, To::kAssetFieldNumber, from.asset, names);
    wire.Varint(To::kBytesReadFieldNumber, from.bytes_read);
    wire.Varint(To::kReadsFieldNumber, from.reads);
    wire.Varint(To::kBytesWrittenFieldNumber, from.bytes_written);
    wire.Varint(To::kWritesFieldNumber, from.writes);
    wire.Varint(To::kLastFieldNumber, from.last);
    wire.End(mark);
  }
  void operator()(const event::GpuOpen& from) const {
    using To = v1::GpuOpen;
    auto mark = wire.Begin(v1::Event::kGpuOpenFieldNumber);
    PutDevice<To>(wire, from, names);
    wire.Varint(To::kOpenFlagsFieldNumber, from.open_flags);
    PutFd(wire, To::kFdFieldNumber, from.fd);
    event::EachGpuCategory(from.categories, [this](const char* name) { wire.TextElement(To::kCategoriesFieldNumber, name); });
    if (names) {
      if (auto found = names->opens.find(from.rdev); found != names->opens.end()) {
        wire.Text(To::kObjectFieldNumber, found->second);
      }
    }
    wire.End(mark);
  }
  void operator()(const event::GpuMap& from) const {
    using To = v1::GpuMap;
    auto mark = wire.Begin(v1::Event::kGpuMapFieldNumber);
    wire.Text(To::kDeviceFieldNumber, from.device.view());
    wire.Varint(To::kResourceFieldNumber, from.resource);
    wire.Varint(To::kPciClassFieldNumber, from.pci_class);
    wire.Varint(To::kVendorFieldNumber, from.vendor);
    wire.Varint(To::kProductFieldNumber, from.product);
    wire.Varint(To::kLengthFieldNumber, from.length);
    wire.Varint(To::kProtFieldNumber, from.prot);
    event::EachGpuCategory(from.categories, [this](const char* name) { wire.TextElement(To::kCategoriesFieldNumber, name); });
    wire.End(mark);
  }
  void operator()(const event::GpuCall& from) const {
    using To = v1::GpuCall;
    auto mark = wire.Begin(v1::Event::kGpuCallFieldNumber, 2);
    PutDevice<To>(wire, from, names);
    wire.Varint(To::kCommandFieldNumber, from.cmd);
    wire.Varint(To::kSizeFieldNumber, from.size);
    wire.Signed(To::kResultFieldNumber, from.result);
    wire.Varint(To::kCountFieldNumber, from.count);
    wire.Varint(To::kFirstFieldNumber, from.first);
    wire.Varint(To::kWatchedFieldNumber, from.watched);
    wire.Varint(To::kArgFieldNumber, from.arg);
    wire.Bytes(To::kParamsFieldNumber,
               {reinterpret_cast<const char*>(from.params.data()), std::min<size_t>(from.params_len, from.params.size())});
    wire.Varint(To::kNumberFieldNumber, from.number);
    wire.Varint(To::kWrappedFieldNumber, from.wrapped);
    wire.Varint(To::kDetailFieldNumber, from.detail);
    wire.Text(To::kVerbFieldNumber, from.verb);
    wire.Text(To::kObjectFieldNumber, from.object);
    wire.Text(To::kNameFieldNumber, from.name);
    event::EachGpuCategory(from.categories, [this](const char* name) { wire.TextElement(To::kCategoriesFieldNumber, name); });
    wire.Varint(To::kBytesFieldNumber, from.bytes);
    wire.Text(To::kLocationFieldNumber, event::GpuLocationName(from.location));
    wire.Varint(To::kStatusKnownFieldNumber, from.status_known);
    wire.Varint(To::kStatusFieldNumber, from.status);
    wire.Varint(To::kCompletenessFieldNumber, static_cast<uint64_t>(from.completeness));
    wire.Varint(To::kClientFieldNumber, from.client);
    wire.Varint(To::kHandleFieldNumber, from.handle);
    wire.Varint(To::kTargetPidFieldNumber, from.target.pid);
    wire.Fixed64(To::kTargetStartNsFieldNumber, from.target.start_ns);
    wire.Varint(To::kErrorsFieldNumber, from.errors);
    wire.Varint(To::kFailedFieldNumber, from.failed);
    wire.Varint(To::kUnusualFieldNumber, from.unusual);
    if (from.driver_version != 0) {
      char text[32];
      const int length = std::snprintf(text, sizeof(text), "%u.%u.%u", from.driver_version / 1'000'000,
                                       from.driver_version / 1000 % 1000, from.driver_version % 1000);
      wire.Text(To::kDriverVersionFieldNumber, {text, static_cast<size_t>(length)});
    }
    wire.Bytes(To::kNestedFieldNumber,
               {reinterpret_cast<const char*>(from.nested.data()), std::min<size_t>(from.nested_len, from.nested.size())});
    wire.Varint(To::kDriverCopyFieldNumber, from.copied);
    wire.End(mark);
  }
  void operator()(const event::Net& from) const {
    auto mark = wire.Begin(v1::Event::kNetFieldNumber);
    PutEndpoints(wire, v1::Net::kEndpointsFieldNumber, from.ep);
    wire.Varint(v1::Net::kCookieFieldNumber, from.cookie);
    wire.End(mark);
  }
  void operator()(const event::Dns& from) const {
    using To = v1::Dns;
    auto mark = wire.Begin(v1::Event::kDnsFieldNumber, 2);
    PutEndpoints(wire, To::kEndpointsFieldNumber, from.ep);
    wire.Varint(To::kCookieFieldNumber, from.cookie);
    wire.Text(To::kNameFieldNumber, from.name.view());
    wire.Varint(To::kTypeFieldNumber, from.type);
    wire.Text(To::kTypeNameFieldNumber, event::DnsTypeName(from.type));
    wire.Varint(To::kIdFieldNumber, from.id);
    wire.Varint(To::kPayloadBytesFieldNumber, from.payload);
    wire.End(mark);
  }
  void operator()(const event::NetTotals& from) const {
    using To = v1::NetTotals;
    auto mark = wire.Begin(v1::Event::kNetTotalsFieldNumber);
    PutEndpoints(wire, To::kEndpointsFieldNumber, from.ep);
    wire.Varint(To::kCookieFieldNumber, from.cookie);
    wire.Varint(To::kBytesOutFieldNumber, from.bytes_out);
    wire.Varint(To::kBytesInFieldNumber, from.bytes_in);
    wire.Varint(To::kSendsFieldNumber, from.sends);
    wire.Varint(To::kReceivesFieldNumber, from.receives);
    wire.Fixed64(To::kOpenedMonotonicNsFieldNumber, from.opened_ns);
    wire.Varint(To::kEstablishedFieldNumber, from.established);
    wire.Varint(To::kPassiveFieldNumber, from.passive);
    wire.Varint(To::kSharedFieldNumber, from.shared);
    wire.End(mark);
  }
  void operator()(const event::Verdict& from) const {
    using To = v1::Verdict;
    auto mark = wire.Begin(v1::Event::kVerdictFieldNumber, 2);
    wire.Varint(To::kActionFieldNumber, static_cast<uint64_t>(from.action));
    wire.Varint(To::kOperationFieldNumber, static_cast<uint64_t>(from.operation));
    if (names) {
      if (auto found = names->rules.find(from.rule); found != names->rules.end()) {
        wire.Text(To::kPolicyFieldNumber, found->second.policy);
        wire.Text(To::kRuleFieldNumber, found->second.text);
        wire.Text(To::kRuleAtFieldNumber, found->second.at);
      }
    }
    wire.Varint(To::kRuleNumberFieldNumber, from.rule);
    wire.Varint(To::kGenerationFieldNumber, from.generation);
    wire.Varint(To::kWhyFieldNumber, static_cast<uint64_t>(from.why));
    if (from.has_ep) {
      PutEndpoints(wire, To::kEndpointsFieldNumber, from.ep);
      wire.Varint(To::kCookieFieldNumber, from.cookie);
      wire.Text(To::kNameFieldNumber, from.name.view());
    }
    if (from.inode != 0) {
      PutFile<To>(wire, from, names);
    }
    if (from.rdev != 0) {
      if (names) {
        if (auto found = names->devices.find(from.rdev); found != names->devices.end()) {
          wire.Text(To::kDeviceFieldNumber, found->second);
        }
      }
      wire.Varint(To::kRdevFieldNumber, from.rdev);
      wire.Varint(To::kCommandFieldNumber, from.command);
      if (from.operation != event::VerdictOperation::kGpuUse) {
        wire.Text(To::kCategoryFieldNumber, event::GpuCategoryName(from.category));
      }
    }
    if (from.operation == event::VerdictOperation::kGpuMap) {
      wire.Text(To::kNameFieldNumber, from.name.view());
      wire.Varint(To::kCommandFieldNumber, from.command);
      wire.Text(To::kCategoryFieldNumber, event::GpuCategoryName(from.category));
    }
    wire.End(mark);
  }
  void operator()(const event::Gap& from) const {
    auto mark = wire.Begin(v1::Event::kGapFieldNumber);
    wire.Varint(v1::Gap::kLostKindFieldNumber, static_cast<uint64_t>(from.lost_kind));
    wire.Varint(v1::Gap::kReasonFieldNumber, from.reason);
    wire.Varint(v1::Gap::kCountFieldNumber, from.count);
    wire.End(mark);
  }
  void operator()(const event::FindingPtr& from) const {
    if (from != nullptr) {
      v1::Finding finding;
      SetFinding(&finding, *from);
      wire.Bytes(v1::Event::kFindingFieldNumber, finding.SerializeAsString());
    }
  }
};

struct FlagName {
  uint32_t bit;
  uint8_t name;
};
constexpr FlagName kFlags[] = {{event::kFlagTruncated, v1::FLAG_TRUNCATED}, {event::kFlagUnreadable, v1::FLAG_UNREADABLE},
                               {event::kFlagNoOwner, v1::FLAG_NO_OWNER},    {event::kFlagLabelLost, v1::FLAG_LABEL_LOST},
                               {event::kFlagNoResult, v1::FLAG_NO_RESULT},  {event::kFlagCanary, v1::FLAG_CANARY}};
constexpr FlagName kExecFlags[] = {{event::kExecMemfd, v1::EXEC_FLAG_MEMFD},
                                   {event::kExecDeleted, v1::EXEC_FLAG_DELETED},
                                   {event::kExecArgvTruncated, v1::EXEC_FLAG_ARGS_TRUNCATED},
                                   {event::kExecPathTruncated, v1::EXEC_FLAG_PATH_TRUNCATED},
                                   {event::kExecArgvUnreadable, v1::EXEC_FLAG_ARGS_UNREADABLE},
                                   {event::kExecSetuid, v1::EXEC_FLAG_SETUID},
                                   {event::kExecStdinSocket, v1::EXEC_FLAG_STDIN_SOCKET},
                                   {event::kExecStdoutSocket, v1::EXEC_FLAG_STDOUT_SOCKET},
                                   {event::kExecStderrSocket, v1::EXEC_FLAG_STDERR_SOCKET},
                                   {event::kExecStdioInet, v1::EXEC_FLAG_STDIO_INET},
                                   {event::kExecTty, v1::EXEC_FLAG_TTY},
                                   {event::kExecPreload, v1::EXEC_FLAG_PRELOAD},
                                   {event::kExecAudit, v1::EXEC_FLAG_AUDIT},
                                   {event::kExecLibraryPath, v1::EXEC_FLAG_LIBRARY_PATH},
                                   {event::kExecEnvTruncated, v1::EXEC_FLAG_ENV_TRUNCATED},
                                   {event::kExecEnvUnreadable, v1::EXEC_FLAG_ENV_UNREADABLE}};

// A repeated enum, packed: all its values are below 128, one byte each.
template <size_t N>
void PutFlags(Wire& wire, int field, uint32_t flags, const FlagName (&names)[N]) {
  char values[N];
  size_t count = 0;
  for (const FlagName& flag : names) {
    if (flags & flag.bit) {
      values[count++] = static_cast<char>(flag.name);
    }
  }
  wire.Bytes(field, {values, count});
}

}  // namespace

void Encoder::BeginMessage() {
  wire_.Clear();
  events_ = 0;
  refs_.BeginMessage();
  clock_.Refresh();  // one clock pair per message: up to 10 ms and 512 events share an offset
}

uint32_t Encoder::Process(const event::Header& header, const std::shared_ptr<const event::Process>& info) {
  using To = v1::Process;
  bool fresh = false;
  uint32_t ref = refs_.Find(header.process, info, &fresh);
  if (!fresh) {
    return ref;
  }
  auto mark = wire_.Begin(v1::WatchResponse::kProcessesFieldNumber, 2);
  wire_.Varint(To::kRefFieldNumber, ref);
  wire_.Varint(To::kPidFieldNumber, header.process.pid);
  wire_.Fixed64(To::kStartNsFieldNumber, header.process.start_ns);
  if (info) {
    wire_.Varint(To::kParentPidFieldNumber, info->parent.pid);
    wire_.Fixed64(To::kParentStartNsFieldNumber, info->parent.start_ns);
    wire_.Varint(To::kKnownFieldNumber, 1);
    wire_.Varint(To::kFromScanFieldNumber, info->from_scan);
    wire_.Varint(To::kUidFieldNumber, info->uid);
    wire_.Varint(To::kEuidFieldNumber, info->euid);
    wire_.Varint(To::kGidFieldNumber, info->gid);
    wire_.Fixed64(To::kCapPermittedFieldNumber, info->cap_permitted);
    wire_.Fixed64(To::kCapEffectiveFieldNumber, info->cap_effective);
    wire_.Varint(To::kCgroupIdFieldNumber, info->cgroup_id);
    wire_.Text(To::kCgroupFieldNumber, info->cgroup);
    wire_.Text(To::kExeFieldNumber, info->exe);
    wire_.Text(To::kFilenameFieldNumber, info->filename);
    for (const auto& arg : info->args) {
      wire_.TextElement(To::kArgsFieldNumber, arg);
    }
    wire_.Varint(To::kExeInodeFieldNumber, info->exe_inode);
    wire_.Varint(To::kExeDevFieldNumber, info->exe_dev);
    PutFlags(wire_, To::kExecFlagsFieldNumber, info->exec_flags, kExecFlags);
  }
  wire_.End(mark);
  return ref;
}

bool Encoder::Add(const event::Event& event, const event::Names* names) {
  using To = v1::Event;
  const event::Header& header = event.header;
  if (wire_.size() >= kMaxBytes) {
    return false;
  }
  uint32_t ref = 0;
  if (header.process.pid != 0 && !(header.flags & event::kFlagNoOwner)) {
    const auto* exec = std::get_if<event::Exec>(&event.body);
    ref = Process(header, !header.info && exec ? exec->image : header.info);
    if (ref == 0) {
      return false;
    }
  }
  auto mark = wire_.Begin(v1::WatchResponse::kEventsFieldNumber, 2);
  wire_.Varint(To::kSeqFieldNumber, header.seq);
  wire_.Varint(To::kKindFieldNumber, static_cast<uint64_t>(header.kind));
  wire_.Fixed64(To::kTimeUnixNsFieldNumber, clock_.ToUnixNs(header.time_ns));
  wire_.Fixed64(To::kTimeMonotonicNsFieldNumber, header.time_ns);
  wire_.Varint(To::kProcessFieldNumber, ref);
  wire_.Varint(To::kPidFieldNumber, header.process.pid);
  wire_.Varint(To::kTidFieldNumber, header.tid);
  wire_.Varint(To::kUidFieldNumber, header.uid);
  wire_.Text(To::kCommFieldNumber, header.comm.view());
  PutLabels(wire_, To::kLabelsFieldNumber, header.labels, names);
  if (header.flags) {
    PutFlags(wire_, To::kFlagsFieldNumber, header.flags, kFlags);
  }
  std::visit(PutBody{wire_, names}, event.body);
  wire_.End(mark);
  ++events_;
  return true;
}

std::string_view Encoder::EndMessage(uint64_t lost, std::string_view cursor, bool agent_restarted) {
  using To = v1::WatchResponse;
  wire_.Varint(To::kLostFieldNumber, lost);
  wire_.Text(To::kCursorFieldNumber, cursor);
  wire_.Varint(To::kAgentRestartedFieldNumber, agent_restarted);
  return wire_.bytes();
}

}  // namespace moat::api
