// SPDX-License-Identifier: Apache-2.0
// Where attacks and their ordinary twins are played: a real moatd on a cgroup of its own, assets, a network of its own with peers that listen,
// and what was found. Each scenario says which kind of finding it must raise, or, ordinary, must not.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "agent/event/finding.h"

namespace moat::scenarios {

// In the played process. A step that fails ends the process with status 1.
struct Site {
  std::string weights;  // file of the asset "model", 48 MiB, class weights
  std::string canary;  // file of the asset "bird"
  std::string directory;  // of the asset "model"; writable
  std::string scratch;  // a directory that belongs to no asset
  std::string policies{};  // the agent's file of them, where there is one
  std::vector<uint32_t> links{}, maps{};  // the agent's own in the kernel, by id
};

// Peers of the network that scenarios are played in; each listens on 443 and 8443 and reads whatever comes.
inline constexpr const char* kOutside = "203.0.113.9";
inline constexpr const char* kStore = "10.66.7.7";

struct Scenario {
  const char* name;
  event::FindingKind kind;
  bool attack;
  const char* what;
  void (*play)(const Site&);
  const char* policies = "";  // YAML documents; SCOPE in them stands for the cgroup of the stage
  const char* settings = "";  // of moatd.yaml, beside the stage's own
  std::string (*why_not)() = nullptr;  // for which reason it cannot be played here; empty: it can
  const char* says = "";  // of an attack: part of a finding's title
};
inline constexpr bool kAttack = true, kOrdinary = false;

std::span<const Scenario> Weights();  // weights.cc
std::span<const Scenario> Programs();  // programs.cc
std::span<const Scenario> Accelerators();  // accelerators.cc
std::span<const Scenario> Network();  // network.cc
std::span<const Scenario> Intrusion();  // intrusion.cc
std::span<const Scenario> AgainstTheAgent();  // agent.cc
std::span<const Scenario> Logins();  // logins.cc

// ---- steps ----
void Check(bool ok);  // else _exit(1)
void ReadFile(const std::string& path, double share = 1.0);  // its first part, by read()
void Send(const char* address, uint16_t port, size_t bytes);  // over TCP, from 10.66.0.2; 0: connects only
void Ask(const char* address, const std::string& name);  // a DNS question for a TXT record, over UDP; nobody answers
void TrySend(const char* address, uint16_t port, size_t bytes);  // until it is done, refused, or nothing leaves for half a second
int Call(const char* address, uint16_t port);  // connects in vain or not, and closes; errno
void Run(const std::vector<std::string>& argv);  // in a child, waited for; its status does not matter
void RunAs(const std::string& program, const std::vector<std::string>& argv);  // the same by another file
[[noreturn]] void Execute(const std::string& program, const std::vector<std::string>& argv);  // in place of this process
int Connect(const char* address, uint16_t port);  // a TCP socket from 10.66.0.2, over an exec, too
void RunWith(int input, int output,
             const std::vector<std::string>& argv);  // the same with these as standard input, output and error
void InChild(const std::function<void()>& work);
std::string CopyOf(const Site& site, const std::string& program, const std::string& name);  // an executable in scratch

}  // namespace moat::scenarios
