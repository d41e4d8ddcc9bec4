// SPDX-License-Identifier: Apache-2.0
// Where a peer is.
#pragma once

#include <string>

#include "agent/event/event.h"

namespace moat::detect {

bool IsHere(const event::Endpoints& ep);  // loopback, this socket's own address, or no address at all
bool IsInternal(const event::Endpoints& ep);  // RFC 1918, RFC 6598, RFC 4193 (ULA), link-local; vsock and frames, too
// The service of clouds that tells a machine its credentials: 169.254.169.254 and 169.254.170.2, fd00:ec2::254, 100.100.100.200. On port 53
// of the first, clouds have a DNS server, which is none.
bool IsMetadata(const event::Endpoints& ep);
std::string PeerAddress(const event::Endpoints& ep);  // "203.0.113.9", "[2001:db8::1]", "vsock:3", "interface:2"
std::string PeerName(const event::Endpoints& ep);  // the same with the port where there is one

}  // namespace moat::detect
