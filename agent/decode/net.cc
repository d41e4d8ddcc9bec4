// SPDX-License-Identifier: Apache-2.0
// Sockets: connects, sends, listening, accepts, totals.
#include <sys/socket.h>

#include "agent/decode/domain.h"
#include "bpf/abi/net.h"

namespace moat::decode {

Outcome LoadEndpoints(const std::byte* from, uint32_t net_flags, event::Endpoints& to) {
  auto ep = Load<moat_endpoints>(from);
  to.other_family = 0;  // the event is one that was used before
  if (ep.family == AF_PACKET || ep.family == AF_VSOCK) {
    to.other_family = ep.family;
  } else if (ep.family != AF_INET && ep.family != AF_INET6) {
    return Outcome::kValue;
  }
  std::memcpy(to.local.bytes.data(), ep.local, sizeof(ep.local));
  std::memcpy(to.remote.bytes.data(), ep.remote, sizeof(ep.remote));
  to.local.port = ep.local_port;
  to.remote.port = ep.remote_port;
  to.ipv6 = ep.family == AF_INET6;
  to.mapped = (net_flags & MOAT_NET_MAPPED) != 0;
  to.protocol = ep.protocol;
  return Outcome::kOk;
}

Outcome DecodeNet(const std::byte* record, event::Event& out) {
  auto& body = Body<event::Net>(out);
  body.cookie = MOAT_FIELD(record, moat_net_event, cookie);
  return LoadEndpoints(record + offsetof(moat_net_event, ep), MOAT_FIELD(record, moat_net_event, net_flags), body.ep);
}

// Totals belong to the socket's owner, and the labels to those who sent on it. Who happened to hold the last descriptor, or
// whatever ran when the peer's last segment came, says nothing: where the flow knows its owner, the header is the owner's.
Outcome DecodeNetTotals(const std::byte* record, event::Event& out) {
  auto flow = MOAT_FIELD(record, moat_net_close, flow);
  auto& body = Body<event::NetTotals>(out);
  body.cookie = MOAT_FIELD(record, moat_net_close, cookie);
  body.bytes_out = flow.bytes_out;
  body.bytes_in = flow.bytes_in;
  body.sends = flow.sends;
  body.receives = flow.receives;
  body.opened_ns = flow.opened_ns;
  body.established = (flow.net_flags & MOAT_NET_ESTABLISHED) != 0;
  body.passive = (flow.net_flags & MOAT_NET_PASSIVE) != 0;
  body.shared = (flow.net_flags & MOAT_NET_SHARED) != 0;
  if (flow.pid != 0) {
    event::Header& header = out.header;
    event::ProcessKey owner{flow.pid, flow.start_ns};
    if (header.process != owner) {
      header.process = owner;
      header.tid = 0;
    }
    header.flags &= ~event::kFlagNoOwner;
    header.uid = flow.uid;
    header.cgroup_id = flow.cgroup_id;
    header.labels = flow.labels;
    LoadString(reinterpret_cast<const std::byte*>(flow.comm), header.comm, header.flags);
  }
  return LoadEndpoints(record + offsetof(moat_net_close, flow) + offsetof(moat_flow, ep), flow.net_flags, body.ep);
}

}  // namespace moat::decode
