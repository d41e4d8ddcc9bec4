// SPDX-License-Identifier: Apache-2.0
// What policies decided.
#include "bpf/abi/verdict.h"

#include <algorithm>
#include <span>

#include "agent/decode/domain.h"

namespace moat::decode {
namespace {

using event::VerdictAction;
using event::VerdictOperation;
using event::VerdictWhy;

#define MOAT_SAME(a, b) static_assert(static_cast<unsigned>(a) == static_cast<unsigned>(b))
MOAT_SAME(VerdictAction::kAllow, MOAT_VERDICT_ALLOW);
MOAT_SAME(VerdictAction::kDeny, MOAT_VERDICT_DENY);
MOAT_SAME(VerdictAction::kWouldDeny, MOAT_VERDICT_WOULD_DENY);
MOAT_SAME(VerdictOperation::kConnect, MOAT_VERDICT_CONNECT);
MOAT_SAME(VerdictOperation::kSend, MOAT_VERDICT_SEND);
MOAT_SAME(VerdictOperation::kPacket, MOAT_VERDICT_PACKET);
MOAT_SAME(VerdictOperation::kSocket, MOAT_VERDICT_SOCKET);
MOAT_SAME(VerdictOperation::kRead, MOAT_VERDICT_READ);
MOAT_SAME(VerdictOperation::kWrite, MOAT_VERDICT_WRITE);
MOAT_SAME(VerdictOperation::kMap, MOAT_VERDICT_MAP);
MOAT_SAME(VerdictOperation::kExec, MOAT_VERDICT_EXEC);
MOAT_SAME(VerdictOperation::kRename, MOAT_VERDICT_RENAME);
MOAT_SAME(VerdictOperation::kUnlink, MOAT_VERDICT_UNLINK);
MOAT_SAME(VerdictOperation::kLink, MOAT_VERDICT_LINK);
MOAT_SAME(VerdictOperation::kSetattr, MOAT_VERDICT_SETATTR);
MOAT_SAME(VerdictOperation::kTruncate, MOAT_VERDICT_TRUNCATE);
MOAT_SAME(VerdictOperation::kGpuUse, MOAT_VERDICT_GPU_USE);
MOAT_SAME(VerdictOperation::kGpuCall, MOAT_VERDICT_GPU_CALL);
MOAT_SAME(VerdictOperation::kGpuOpen, MOAT_VERDICT_GPU_OPEN);
MOAT_SAME(VerdictOperation::kGpuMap, MOAT_VERDICT_GPU_MAP);
MOAT_SAME(event::kNoCategory, MOAT_NO_CATEGORY);
MOAT_SAME(VerdictOperation::kGuard, MOAT_VERDICT_GUARD);
MOAT_SAME(VerdictWhy::kNoSni, MOAT_WHY_NO_SNI);
MOAT_SAME(VerdictWhy::kEch, MOAT_WHY_ECH);
MOAT_SAME(VerdictWhy::kOtherName, MOAT_WHY_OTHER_NAME);
MOAT_SAME(VerdictWhy::kNotTcp, MOAT_WHY_NOT_TCP);
MOAT_SAME(VerdictWhy::kBudget, MOAT_WHY_BUDGET);

}  // namespace

Outcome DecodeVerdict(const std::byte* record, event::Event& out) {
  auto& body = Body<event::Verdict>(out);
  body.action = static_cast<VerdictAction>(MOAT_FIELD(record, moat_verdict, action));
  body.operation = static_cast<VerdictOperation>(MOAT_FIELD(record, moat_verdict, operation));
  body.why = static_cast<VerdictWhy>(MOAT_FIELD(record, moat_verdict, why));
  body.category = MOAT_FIELD(record, moat_verdict, category);
  if (body.action == VerdictAction::kNone || body.action > VerdictAction::kWouldDeny ||
      event::VerdictOperationName(body.operation) == nullptr || body.why >= VerdictWhy::kCount) {
    return Outcome::kValue;
  }
  body.rule = MOAT_FIELD(record, moat_verdict, rule);
  body.generation = MOAT_FIELD(record, moat_verdict, generation);
  body.cookie = MOAT_FIELD(record, moat_verdict, cookie);
  body.inode = MOAT_FIELD(record, moat_verdict, inode);
  body.dev = MOAT_FIELD(record, moat_verdict, dev);
  body.asset = MOAT_FIELD(record, moat_verdict, asset);
  body.rdev = MOAT_FIELD(record, moat_verdict, rdev);
  body.command = MOAT_FIELD(record, moat_verdict, command);
  LoadString(record + offsetof(moat_verdict, name), body.name, out.header.flags);
  if (!GoodAsset(body.asset)) {
    return Outcome::kValue;
  }
  auto ep = MOAT_FIELD(record, moat_verdict, ep);
  body.has_ep = ep.family != 0;
  if (body.has_ep) {
    std::ranges::reverse(std::span(body.name.bytes.data(),
                                   body.name.length));  // of a peer: kept backwards (abi/name.h); of a long one this is its end
  }
  if (!body.has_ep) {
    body.ep = {};
    return Outcome::kOk;
  }
  return LoadEndpoints(record + offsetof(moat_verdict, ep), 0, body.ep);
}

}  // namespace moat::decode
