// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/consumer.h"

#include <algorithm>
#include <cstring>

#include "agent/base/utf8.h"
#include "agent/enrich/container.h"
#include "bpf/abi/access.h"
#include "bpf/abi/file.h"
#include "bpf/abi/gpu.h"
#include "bpf/abi/login.h"
#include "bpf/abi/net.h"
#include "bpf/abi/privilege.h"
#include "bpf/abi/process.h"
#include "bpf/abi/verdict.h"
#include "tests/fuzz/check.h"

namespace moat::fuzz {
namespace {

using event::Kind;

constexpr KindSize kKindSizes[] = {
    {Kind::kFork, sizeof(moat_fork), 1},
    {Kind::kExec, sizeof(moat_exec), 2},
    {Kind::kExit, sizeof(moat_exit), 3},
    {Kind::kScan, sizeof(moat_exec), 2},
    {Kind::kProcessAccess, sizeof(moat_access), 15},
    {Kind::kPrivilege, sizeof(moat_privilege), 16},
    {Kind::kLogin, sizeof(moat_login), 17},
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
    {Kind::kNetDns, sizeof(moat_dns), 19},
    {Kind::kVerdict, sizeof(moat_verdict), 12},
};

constexpr enrich::ProcessTreeLimits kTree = {
    .max_processes = 500, .max_bytes = 4 << 20, .max_exited = 100, .reads_per_second = 100};
constexpr enrich::GpuHoldersLimits kHolders = {.holders = 3, .objects = 6};  // few, so that they are reached

bool Known(const char* name) { return std::strcmp(name, "unknown") != 0; }

}  // namespace

std::span<const KindSize> KindSizes() { return kKindSizes; }

const KindSize& SizeOf(Kind kind) {
  const auto* found = std::ranges::find(kKindSizes, kind, &KindSize::kind);
  CHECK(found != std::end(kKindSizes));
  return *found;
}

decode::Outcome Decode(std::span<const std::byte> record, event::Event& event) {
  const decode::Outcome outcome = decode::Decode(record, event);
  CHECK(std::strcmp(decode::OutcomeName(outcome), "unknown") != 0);
  if (outcome == decode::Outcome::kOk) {
    CHECK(decode::ClaimedKind(record) == event.header.kind);
    CHECK(event.body.index() == SizeOf(event.header.kind).body);
  }
  return outcome;
}

Consumer::Consumer(enrich::ProcessReader reader)
    : tree_(enrich::ProcessTree::Create(
          std::move(reader), [](uint64_t id, uint64_t) { return "/" + std::to_string(id % 100); }, kTree)),
      holders_(kHolders) {}

void Consumer::Take(event::Event& event) {
  CheckFields(event);
  tree_->Apply(event);
  CHECK(!event.header.info || event.header.info->key == event.header.process);
  const enrich::ProcessTreeStats stats = tree_->stats();
  CHECK(stats.live + stats.exited <= kTree.max_processes && stats.exited <= kTree.max_exited && stats.bytes <= kTree.max_bytes);
  TakeGpu(event);
}

void Consumer::CheckFields(const event::Event& event) {
  CHECK(event.header.comm.length < 16);
  CHECK(Known(event::KindName(event.header.kind)) &&
        event::KindFromName(event::KindName(event.header.kind)) == event.header.kind);
  auto asset = [](uint32_t a) { CHECK(a < event::kMaxAssets || a == event::kNoAsset); };
  auto name = [this](const auto& n) {
    CHECK(n.length < n.bytes.size());
    text_ = Printable(n.view());
    CHECK(IsUtf8(text_));
  };
  name(event.header.comm);
  if (const auto* exec = std::get_if<event::Exec>(&event.body)) {
    CHECK(exec->image != nullptr);
    CHECK(exec->image->exe.size() <= MOAT_PATH_LEN + 16);
    CHECK(exec->image->filename.size() <= MOAT_FILENAME_LEN);
    CHECK(exec->image->args.size() <= MOAT_ARGV_LEN);
    text_ = ToUtf8(exec->image->exe);
    CHECK(IsUtf8(text_));
    enrich::ParseContainer(exec->image->exe);
  } else if (const auto* exit = std::get_if<event::Exit>(&event.body)) {
    CHECK(exit->code <= 255 && exit->signal <= 127);
  } else if (const auto* access = std::get_if<event::ProcessAccess>(&event.body)) {
    CHECK(Known(event::AccessOpName(access->op)));
    name(access->target_comm);
  } else if (const auto* privilege = std::get_if<event::Privilege>(&event.body)) {
    CHECK(Known(event::PrivilegeOpName(privilege->op)));
    name(privilege->target);
    name(privilege->source);
    name(privilege->type);
  } else if (const auto* login = std::get_if<event::Login>(&event.body)) {
    CHECK(Known(event::LoginStepName(login->step)));
    name(login->service);
    name(login->user);
    name(login->remote);
    name(login->by);
    name(login->terminal);
  } else if (const auto* open = std::get_if<event::FileOpen>(&event.body)) {
    asset(open->asset);
    name(open->name);
  } else if (const auto* map = std::get_if<event::FileMap>(&event.body)) {
    asset(map->asset);
    name(map->name);
  } else if (const auto* tamper = std::get_if<event::FileTamper>(&event.body)) {
    asset(tamper->asset);
    name(tamper->name);
    CHECK(Known(event::TamperOpName(tamper->op)));
  } else if (const auto* io = std::get_if<event::FileIo>(&event.body)) {
    asset(io->asset);
  } else if (const auto* gpu_open = std::get_if<event::GpuOpen>(&event.body)) {
    CHECK(Known(event::GpuClassName(gpu_open->device_class)));
  } else if (const auto* gpu_map = std::get_if<event::GpuMap>(&event.body)) {
    name(gpu_map->device);
  } else if (const auto* call = std::get_if<event::GpuCall>(&event.body)) {
    CheckCall(*call);
  } else if (const auto* net = std::get_if<event::Net>(&event.body)) {
    text_ = AddressToString(net->ep.remote, net->ep.ipv6);
  } else if (const auto* dns = std::get_if<event::Dns>(&event.body)) {
    name(dns->name);
    CHECK(!event::DnsTypeName(dns->type).empty());
  } else if (const auto* totals = std::get_if<event::NetTotals>(&event.body)) {
    text_ = AddressToString(totals->ep.local, totals->ep.ipv6);
  } else if (const auto* verdict = std::get_if<event::Verdict>(&event.body)) {
    asset(verdict->asset);
    name(verdict->name);
    CHECK(event::VerdictOperationName(verdict->operation) != nullptr);
    CHECK(Known(event::VerdictActionName(verdict->action)));
    CHECK(verdict->why < event::VerdictWhy::kCount);
  }
}

void Consumer::CheckCall(const event::GpuCall& call) {
  CHECK(Known(event::GpuClassName(call.device_class)));
  CHECK(call.driver < MOAT_GPU_DRIVER_COUNT);
  CHECK(call.params_len <= call.params.size() && call.nested_len <= call.nested.size());
  CHECK(call.verb != nullptr && call.object != nullptr && call.name != nullptr);
  // A call that is known has a verb and a name; one that is not says nothing else.
  CHECK((*call.verb == '\0') == (*call.name == '\0'));
  CHECK(*call.verb != '\0' || (*call.object == '\0' && call.bytes == 0 && call.location == event::GpuLocation::kNone));
  CHECK(*call.verb != '\0' || call.completeness == event::GpuCompleteness::kHeader);
  CHECK(call.location == event::GpuLocation::kNone || *event::GpuLocationName(call.location) != '\0');
  CHECK(call.status_known || call.status == 0);
  for (size_t i = call.params_len; i < call.params.size(); ++i) {
    CHECK(call.params[i] == 0);  // nothing of the event before
  }
  for (size_t i = call.nested_len; i < call.nested.size(); ++i) {
    CHECK(call.nested[i] == 0);
  }
  event::EachGpuCategory(call.categories, [](const char* category) { CHECK(*category != '\0'); });
}

void Consumer::TakeGpu(const event::Event& event) {
  if (const auto* open = std::get_if<event::GpuOpen>(&event.body)) {
    holders_.Take(event.header, *open);
  } else if (const auto* call = std::get_if<event::GpuCall>(&event.body)) {
    holders_.Take(event.header, *call);
  } else if (const auto* map = std::get_if<event::GpuMap>(&event.body)) {
    holders_.Take(event.header, *map);
  } else if (const auto* exit = std::get_if<event::Exit>(&event.body)) {
    holders_.Take(event.header, *exit);
    processes_.erase(event.header.process);
    allocated_.erase(event.header.process);
  }
  if (event.header.kind != Kind::kGpuOpen && event.header.kind != Kind::kGpuIoctl && event.header.kind != Kind::kGpuMap) {
    return;
  }
  processes_.insert(event.header.process);
  event::Rows<event::GpuActivity> all;
  holders_.Copy(all);
  CHECK(!all.rows.empty() && all.rows.size() <= kHolders.holders && all.rows.front().process == event.header.process);
  std::map<event::ProcessKey, uint64_t> allocated;
  for (const event::GpuActivity& row : all.rows) {
    const auto before = allocated_.find(row.process);
    CHECK(before == allocated_.end() || before->second <= row.allocated_bytes);  // a sum that wraps hides what is held
    allocated[row.process] = row.allocated_bytes;
    CHECK(row.devices.size() <= event::kMaxGpuDevices && row.memory.size() <= event::kMaxGpuDevices && row.last_name != nullptr);
    CHECK(row.freed_bytes <= row.allocated_bytes);
    CHECK(row.seen.first_ns <= row.seen.last_ns || row.seen.first_ns == 0);
    CHECK((row.sensitive == 0) == (row.categories == 0) && (row.last_categories & ~row.categories) == 0);
    for (const uint64_t held : {row.device_bytes, row.system_bytes, row.user_bytes, row.other_bytes}) {
      CHECK(held <= row.allocated_bytes);
    }
    CHECK(std::set(row.verbs.begin(), row.verbs.end()).size() == row.verbs.size());
  }
  allocated_ = std::move(allocated);
}

void Consumer::Finish() {
  event::Header header;
  for (const event::ProcessKey& process : processes_) {
    header.process = process;
    holders_.Take(header, event::Exit{});
  }
  processes_.clear();
  allocated_.clear();
  event::Rows<event::GpuActivity> all;
  holders_.Copy(all);
  CHECK(all.rows.empty());
  header.process = {.pid = 1, .start_ns = 1};
  event::GpuCall call;
  call.verb = "ALLOC";
  call.client = 1;
  for (call.handle = 2; call.handle < 2 + kHolders.objects; ++call.handle) {
    holders_.Take(header, call);
  }
  holders_.Copy(all);
  CHECK(all.rows.size() == 1 && all.rows.front().objects_lost == 0);
  holders_.Take(header, call);
  all.rows.clear();
  holders_.Copy(all);
  CHECK(all.rows.size() == 1 && all.rows.front().objects_lost == 1);  // no more room than there was
  holders_.Take(header, event::Exit{});
}

}  // namespace moat::fuzz
