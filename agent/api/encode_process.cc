// SPDX-License-Identifier: Apache-2.0
// What processes do to each other and to the world they live in, and who comes in.
#include <string>

#include "agent/api/encode_parts.h"
#include "moat/v1/event.pb.h"

namespace moat::api {

namespace {

using event::Kind;

static_assert(int{v1::KIND_PROCESS_ACCESS} == int(Kind::kProcessAccess) && int{v1::KIND_PRIVILEGE} == int(Kind::kPrivilege));
static_assert(int{v1::KIND_LOGIN} == int(Kind::kLogin) && int{v1::LOGIN_STEP_SESSION} == int(event::LoginStep::kSession));
static_assert(int{v1::ACCESS_OP_ATTACH} == int(event::AccessOp::kAttach));
static_assert(int{v1::ACCESS_OP_MEM_READ} == int(event::AccessOp::kMemRead));
static_assert(int{v1::PRIVILEGE_OP_SETNS} == int(event::PrivilegeOp::kSetns));
static_assert(int{v1::PRIVILEGE_OP_FSOPEN} == int(event::PrivilegeOp::kFsopen));

}  // namespace

void PutAsset(Wire& wire, int field, uint32_t asset, const event::Names* names) {
  if (names && asset < names->assets.size()) {
    wire.Text(field, names->assets[asset].name);
  } else if (asset != event::kNoAsset) {
    wire.Text(field, '#' + std::to_string(asset));
  }
}

void PutLabels(Wire& wire, int field, uint64_t labels, const event::Names* names) {
  for (; labels; labels &= labels - 1) {
    PutAsset(wire, field, static_cast<uint32_t>(__builtin_ctzll(labels)), names);
  }
}

void PutAccess(Wire& wire, const event::ProcessAccess& from, const event::Names* names) {
  using To = v1::ProcessAccess;
  auto mark = wire.Begin(v1::Event::kProcessAccessFieldNumber, 2);
  wire.Varint(To::kOpFieldNumber, static_cast<uint64_t>(from.op));
  wire.Signed(To::kResultFieldNumber, from.result);
  wire.Varint(To::kCountFieldNumber, from.count);
  wire.Varint(To::kTargetPidFieldNumber, from.target.pid);
  wire.Fixed64(To::kTargetStartNsFieldNumber, from.target.start_ns);
  wire.Varint(To::kTargetUidFieldNumber, from.target_uid);
  wire.Text(To::kTargetCommFieldNumber, from.target_comm.view());
  PutLabels(wire, To::kTargetLabelsFieldNumber, from.target_labels, names);
  wire.Varint(To::kRequestFieldNumber, from.request);
  wire.End(mark);
}

void PutPrivilege(Wire& wire, const event::Privilege& from) {
  using To = v1::Privilege;
  auto mark = wire.Begin(v1::Event::kPrivilegeFieldNumber, 2);
  wire.Varint(To::kOpFieldNumber, static_cast<uint64_t>(from.op));
  wire.Signed(To::kResultFieldNumber, from.result);
  wire.Varint(To::kFlagsFieldNumber, from.flags);
  wire.Text(To::kTargetFieldNumber, from.target.view());
  wire.Text(To::kSourceFieldNumber, from.source.view());
  wire.Text(To::kFsTypeFieldNumber, from.type.view());
  wire.Varint(To::kInodeFieldNumber, from.inode);
  wire.Varint(To::kMountNsFieldNumber, from.mount_ns);
  wire.Varint(To::kPidNsFieldNumber, from.pid_ns);
  wire.Varint(To::kNetNsFieldNumber, from.net_ns);
  wire.Varint(To::kUserNsFieldNumber, from.user_ns);
  wire.End(mark);
}

void PutLogin(Wire& wire, const event::Login& from) {
  using To = v1::Login;
  auto mark = wire.Begin(v1::Event::kLoginFieldNumber, 2);
  wire.Varint(To::kStepFieldNumber, static_cast<uint64_t>(from.step));
  wire.Signed(To::kResultFieldNumber, from.result);
  wire.Bytes(To::kResultNameFieldNumber, event::PamResultName(from.result));
  wire.Text(To::kServiceFieldNumber, from.service.view());
  wire.Text(To::kUserFieldNumber, from.user.view());
  wire.Text(To::kRemoteFieldNumber, from.remote.view());
  wire.Text(To::kByFieldNumber, from.by.view());
  wire.Text(To::kTerminalFieldNumber, from.terminal.view());
  wire.End(mark);
}

}  // namespace moat::api
