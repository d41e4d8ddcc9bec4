// SPDX-License-Identifier: Apache-2.0
#include "agent/api/convert.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>
#include <string_view>

#include "agent/base/status.h"
#include "agent/base/utf8.h"
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
static_assert(int{v1::KIND_NET_CONNECT} == int(Kind::kNetConnect) && int{v1::KIND_NET_SEND} == int(Kind::kNetSend));
static_assert(int{v1::KIND_NET_LISTEN} == int(Kind::kNetListen) && int{v1::KIND_NET_ACCEPT} == int(Kind::kNetAccept));
static_assert(int{v1::KIND_NET_CLOSE} == int(Kind::kNetClose) && int{v1::KIND_NET_FLOW} == int(Kind::kNetFlow));
static_assert(int{v1::KIND_GAP} == int(Kind::kGap));
static_assert(int{v1::TAMPER_OP_WRITE} == int(event::TamperOp::kWrite));
static_assert(int{v1::TAMPER_OP_REPLACE} == int(event::TamperOp::kReplace));
static_assert(int{v1::LOST_REASON_QUEUE_FULL} == int(LostReason::kQueueFull) && int(LostReason::kCount) == 4);

void Set(std::string* to, std::string_view bytes) {
  if (IsUtf8(bytes)) {
    to->assign(bytes);
  } else {
    AppendUtf8(*to, bytes);
  }
}

// "10.0.0.1" at about a tenth of inet_ntop's price.
void SetIpv4(std::string* to, const uint8_t* bytes) {
  char text[16];
  char* at = text;
  for (int i = 0; i < 4; ++i) {
    at = std::to_chars(at, text + sizeof(text), bytes[i]).ptr;
    *at++ = '.';
  }
  to->assign(text, static_cast<size_t>(at - text - 1));
}

void SetAddress(std::string* to, const event::Address& address, bool ipv6) {
  if (!ipv6) {
    SetIpv4(to, address.bytes.data());
    return;
  }
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(AF_INET6, address.bytes.data(), text, sizeof(text));
  to->assign(text);
}

void SetEndpoints(v1::Endpoints* to, const event::Endpoints& from) {
  SetAddress(to->mutable_local_address(), from.local, from.ipv6);
  to->set_local_port(from.local.port);
  SetAddress(to->mutable_remote_address(), from.remote, from.ipv6);
  to->set_remote_port(from.remote.port);
  to->set_protocol(static_cast<v1::Protocol>(from.protocol));
  to->set_mapped(from.mapped);
}

// An asset that the names do not have (yet) is shown by number: never nameless, never guessed.
void SetAsset(std::string* to, uint32_t asset, const event::Names* names) {
  if (names && asset < names->assets.size()) {
    Set(to, names->assets[asset].name);
  } else if (asset != event::kNoAsset) {
    *to = '#' + std::to_string(asset);
  }
}

template <typename Proto, typename File>
void SetFile(Proto* to, const File& from, const event::Names* names) {
  SetAsset(to->mutable_asset(), from.asset, names);
  if (names) {
    if (auto found = names->paths.find({from.dev, from.inode}); found != names->paths.end()) {
      Set(to->mutable_path(), found->second);
    }
  }
  Set(to->mutable_name(), from.name.view());
  to->set_inode(from.inode);
  to->set_dev(from.dev);
}

template <typename Proto, typename Gpu>
void SetDevice(Proto* to, const Gpu& from, const event::Names* names) {
  if (names) {
    if (auto found = names->devices.find(from.rdev); found != names->devices.end()) {
      Set(to->mutable_device(), found->second);
    }
  }
  to->set_device_class(event::GpuClassName(from.device_class));
  to->set_rdev(from.rdev);
}

// One overload per body: a new alternative of event::Body does not compile until it has its own.
struct SetBody {
  v1::Event* to;
  const event::Names* names;

  void operator()(const std::monostate&) const {}
  void operator()(const event::Fork& from) const {
    auto* fork = to->mutable_fork();
    fork->set_child_pid(from.child.pid);
    fork->set_child_start_ns(from.child.start_ns);
  }
  void operator()(const event::Exec& from) const {
    auto* exec = to->mutable_exec();
    if (from.image) {
      Set(exec->mutable_exe(), from.image->exe);
      for (const auto& arg : from.image->args) {
        Set(exec->add_args(), arg);
      }
    }
  }
  void operator()(const event::Exit& from) const {
    auto* exit = to->mutable_exit();
    exit->set_code(from.code);
    exit->set_signal(from.signal);
    exit->set_core(from.core);
  }
  void operator()(const event::FileOpen& from) const {
    auto* open = to->mutable_file_open();
    SetFile(open, from, names);
    open->set_size(from.size);
    open->set_open_flags(from.open_flags);
    open->set_fd(from.fd);
  }
  void operator()(const event::FileMap& from) const {
    auto* map = to->mutable_file_map();
    SetFile(map, from, names);
    map->set_length(from.length);
    map->set_offset(from.offset);
    map->set_prot(from.prot);
    map->set_map_flags(from.map_flags);
  }
  void operator()(const event::FileTamper& from) const {
    auto* tamper = to->mutable_file_tamper();
    SetFile(tamper, from, names);
    tamper->set_op(static_cast<v1::TamperOp>(from.op));
    tamper->set_bytes(from.bytes);
    tamper->set_fd(from.fd);
  }
  void operator()(const event::FileIo& from) const {
    auto* io = to->mutable_file_io();
    SetAsset(io->mutable_asset(), from.asset, names);
    io->set_bytes_read(from.bytes_read);
    io->set_reads(from.reads);
    io->set_bytes_written(from.bytes_written);
    io->set_writes(from.writes);
    io->set_last(from.last);
  }
  void operator()(const event::GpuOpen& from) const {
    auto* open = to->mutable_gpu_open();
    SetDevice(open, from, names);
    open->set_open_flags(from.open_flags);
    open->set_fd(from.fd);
  }
  void operator()(const event::GpuIoctl& from) const {
    auto* ioctl = to->mutable_gpu_ioctl();
    SetDevice(ioctl, from, names);
    ioctl->set_command(from.cmd);
    ioctl->set_size(from.size);
    ioctl->set_result(from.result);
    ioctl->set_count(from.count);
    ioctl->set_first(from.first);
    ioctl->set_watched(from.watched);
    ioctl->set_arg(from.arg);
    ioctl->set_params(from.params.data(), std::min<size_t>(from.params_len, from.params.size()));
  }
  void operator()(const event::Net& from) const {
    auto* net = to->mutable_net();
    SetEndpoints(net->mutable_endpoints(), from.ep);
    net->set_cookie(from.cookie);
  }
  void operator()(const event::NetTotals& from) const {
    auto* totals = to->mutable_net_totals();
    SetEndpoints(totals->mutable_endpoints(), from.ep);
    totals->set_cookie(from.cookie);
    totals->set_bytes_out(from.bytes_out);
    totals->set_bytes_in(from.bytes_in);
    totals->set_sends(from.sends);
    totals->set_receives(from.receives);
    totals->set_opened_monotonic_ns(from.opened_ns);
    totals->set_established(from.established);
    totals->set_passive(from.passive);
    totals->set_shared(from.shared);
  }
  void operator()(const event::Gap& from) const {
    auto* gap = to->mutable_gap();
    gap->set_lost_kind(static_cast<v1::Kind>(from.lost_kind));
    gap->set_reason(static_cast<v1::LostReason>(from.reason));
    gap->set_count(from.count);
  }
};

struct FlagName {
  uint32_t bit;
  int name;
};
constexpr FlagName kFlags[] = {{event::kFlagTruncated, v1::FLAG_TRUNCATED},
                               {event::kFlagUnreadable, v1::FLAG_UNREADABLE},
                               {event::kFlagNoOwner, v1::FLAG_NO_OWNER},
                               {event::kFlagLabelLost, v1::FLAG_LABEL_LOST}};
constexpr FlagName kExecFlags[] = {{event::kExecMemfd, v1::EXEC_FLAG_MEMFD},
                                   {event::kExecDeleted, v1::EXEC_FLAG_DELETED},
                                   {event::kExecArgvTruncated, v1::EXEC_FLAG_ARGS_TRUNCATED},
                                   {event::kExecPathTruncated, v1::EXEC_FLAG_PATH_TRUNCATED},
                                   {event::kExecArgvUnreadable, v1::EXEC_FLAG_ARGS_UNREADABLE},
                                   {event::kExecSetuid, v1::EXEC_FLAG_SETUID}};

}  // namespace

void Converter::BeginMessage(v1::WatchResponse* response) {
  response_ = response;
  process_bytes_ = 0;
  refs_.BeginMessage();
  clock_.Refresh();  // one clock pair per message: up to 10 ms and 512 events share an offset
}

uint32_t Converter::Process(const event::Header& header, const std::shared_ptr<const event::Process>& info) {
  bool fresh = false;
  uint32_t ref = refs_.Find(header.process, info, &fresh);
  if (!fresh) {
    return ref;
  }
  auto* to = response_->add_processes();
  to->set_ref(ref);
  to->set_pid(header.process.pid);
  to->set_start_ns(header.process.start_ns);
  if (!info) {
    return ref;
  }
  to->set_known(true);
  to->set_parent_pid(info->parent.pid);
  to->set_parent_start_ns(info->parent.start_ns);
  to->set_from_scan(info->from_scan);
  to->set_uid(info->uid);
  to->set_euid(info->euid);
  to->set_gid(info->gid);
  to->set_cap_permitted(info->cap_permitted);
  to->set_cap_effective(info->cap_effective);
  to->set_cgroup_id(info->cgroup_id);
  Set(to->mutable_cgroup(), info->cgroup);
  Set(to->mutable_exe(), info->exe);
  Set(to->mutable_filename(), info->filename);
  for (const auto& arg : info->args) {
    Set(to->add_args(), arg);
    process_bytes_ += arg.size() + 4;
  }
  to->set_exe_inode(info->exe_inode);
  to->set_exe_dev(info->exe_dev);
  for (const auto& flag : kExecFlags) {
    if (info->exec_flags & flag.bit) {
      to->add_exec_flags(static_cast<v1::ExecFlag>(flag.name));
    }
  }
  process_bytes_ += info->cgroup.size() + info->exe.size() + info->filename.size() + 128;
  return ref;
}

bool Converter::Add(const event::Event& event, const event::Names* names) {
  const event::Header& header = event.header;
  uint32_t ref = 0;
  if (header.process.pid != 0 && !(header.flags & event::kFlagNoOwner)) {
    const auto* exec = std::get_if<event::Exec>(&event.body);
    if (process_bytes_ >= kMaxProcessBytes) {
      return false;
    }
    ref = Process(header, !header.info && exec ? exec->image : header.info);
    if (ref == 0) {
      return false;
    }
  }
  auto* to = response_->add_events();
  to->set_seq(header.seq);
  to->set_kind(static_cast<v1::Kind>(header.kind));
  to->set_time_unix_ns(clock_.ToUnixNs(header.time_ns));
  to->set_time_monotonic_ns(header.time_ns);
  to->set_process(ref);
  to->set_pid(header.process.pid);
  to->set_tid(header.tid);
  to->set_uid(header.uid);
  Set(to->mutable_comm(), header.comm.view());
  for (uint64_t labels = header.labels; labels; labels &= labels - 1) {
    SetAsset(to->add_labels(), static_cast<uint32_t>(__builtin_ctzll(labels)), names);
  }
  if (header.flags) {
    for (const auto& flag : kFlags) {
      if (header.flags & flag.bit) {
        to->add_flags(static_cast<v1::Flag>(flag.name));
      }
    }
  }
  std::visit(SetBody{to, names}, event.body);
  return true;
}

}  // namespace moat::api
