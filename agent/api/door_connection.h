// SPDX-License-Identifier: Apache-2.0
// One connection of the door: TLS on one side, plaintext for gRPC on the other, and what is on its way between them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/api/admission.h"
#include "agent/base/error.h"
#include "agent/base/fd.h"

namespace moat::api {

// One thread: the door's.
class DoorConnection {
 public:
  enum class State : uint8_t {
    kHandshake,
    kAdmitted,   // the handshake is done: the owner may now call OpenInner()
    kOpen,
    kRefused,    // verdict() says why. The client may still read what TLS told it: Drain() until done
    kDone,
  };
  // What it waits for, as epoll's bits.
  struct Interest {
    uint32_t outer = 0, inner = 0;
    bool again = false;  // it has more to do at once
  };

  DoorConnection(Fd outer, std::string address, std::shared_ptr<const Admission> admission);
  ~DoorConnection();
  DoorConnection(const DoorConnection&) = delete;
  DoorConnection& operator=(const DoorConnection&) = delete;

  // Goes on as far as it can without waiting.
  State Advance();
  // gRPC's end of the plaintext, and in inner_name the name by which gRPC knows its peer.
  Result<Fd> OpenInner(std::string* inner_name);
  // What is refused: reads and forgets, so that no reset overtakes the alert. kDone when the client has gone.
  State Drain();
  // What the poller saw: the other side of outer, or of inner, is gone for good.
  void OuterGone() { outer_gone_ = true; }
  void InnerGone() { inner_gone_ = true; }
  void Refuse(Refusal refusal, std::string detail);
  // Whether a newer admission would let it in.
  Verdict Check(const Admission& admission) const { return admission.Check(tls_); }

  Interest interest() const { return interest_; }
  const Verdict& verdict() const { return verdict_; }
  void SetIdentity(Identity identity) { verdict_.identity = std::move(identity); }
  const std::string& address() const { return address_; }
  int outer() const { return outer_.get(); }
  int inner() const { return inner_.get(); }
  bool inner_gone() const { return inner_gone_; }

 private:
  struct Buffer {
    std::vector<char> bytes = std::vector<char>(size_t{64} << 10);
    size_t begin = 0, end = 0;
    bool empty() const { return begin == end; }
  };
  State Handshake();
  State Pump();
  bool OuterToInner();  // true: something moved
  bool InnerToOuter();
  bool TlsMoved(int result, bool* eof);

  const std::string address_;
  const std::shared_ptr<const Admission> admission_;
  Fd outer_, inner_;
  ssl_st* tls_ = nullptr;
  Verdict verdict_;
  State state_ = State::kHandshake;
  Interest interest_;
  std::unique_ptr<Buffer> in_, out_;  // only of what is open: a handshake that never ends costs little
  bool first_byte_seen_ = false;
  bool outer_eof_ = false, inner_eof_ = false, outer_gone_ = false, inner_gone_ = false, inner_shut_ = false;
  size_t drained_ = 0;
};

}  // namespace moat::api
