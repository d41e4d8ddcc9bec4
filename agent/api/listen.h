// SPDX-License-Identifier: Apache-2.0
// TCP sockets and how their addresses are written.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "agent/base/error.h"
#include "agent/base/fd.h"

namespace moat::api {

// address: "0.0.0.0:7443" or "[::]:7443" (IPv4 too). setting: for errors. Non-blocking; in port what the kernel chose for 0.
Result<Fd> ListenTcp(const std::string& address, const std::string& setting, uint16_t* port);
// "10.0.0.7:51312", "[fd00::1]:51312"; IPv4 in IPv6 as IPv4.
std::string AddressText(const sockaddr_storage& address);
// Whose connections are counted together: an IPv4 address, or the /64 that one host of IPv6 has to itself.
std::string SourceOf(const sockaddr_storage& address);

}  // namespace moat::api
