// SPDX-License-Identifier: Apache-2.0
#include "agent/detect/lineage.h"

#include <utility>
#include <variant>

namespace moat::detect {

void Lineage::Keep(const event::ProcessKey& key, std::shared_ptr<const event::Process> process) {
  if (processes_.size() >= max_ && !processes_.contains(key)) {
    // Those that ended first; else any one: who is looked for is told with what was known when it acted.
    const auto victim = ended_.empty() ? processes_.begin() : processes_.find(ended_.front().key);
    if (!ended_.empty()) {
      ended_.pop_front();
    }
    if (victim != processes_.end()) {
      processes_.erase(victim);
      ++evicted_;
    }
  }
  if (processes_.size() < max_ || processes_.contains(key)) {
    processes_.insert_or_assign(key, std::move(process));
  }
}

void Lineage::Expire(uint64_t now_ns) {
  while (!ended_.empty() && now_ns > ended_.front().ns + kKeptNs) {
    processes_.erase(ended_.front().key);
    ended_.pop_front();
  }
}

void Lineage::Apply(const event::Event& event) {
  const event::Header& header = event.header;
  switch (header.kind) {
    case event::Kind::kFork:
      if (const auto* fork = std::get_if<event::Fork>(&event.body);
          fork != nullptr && header.info != nullptr && fork->child.pid != 0) {
        auto child = std::make_shared<event::Process>(*header.info);  // until it execs it is what its parent is
        child->key = fork->child;
        child->parent = header.process;
        Keep(fork->child, std::move(child));
      }
      break;
    case event::Kind::kExec:
    case event::Kind::kScan:
      if (const auto* exec = std::get_if<event::Exec>(&event.body); exec != nullptr && exec->image != nullptr) {
        Keep(header.process, exec->image);
      }
      break;
    case event::Kind::kExit:
      Expire(header.time_ns);
      if (processes_.contains(header.process)) {
        ended_.push_back({header.process, header.time_ns});
      }
      break;
    default: break;
  }
}

std::shared_ptr<const event::Process> Lineage::Find(const event::ProcessKey& key) const {
  const auto found = processes_.find(key);
  return found == processes_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const event::Process>> Lineage::Of(const event::ProcessKey& key, size_t limit) const {
  std::vector<std::shared_ptr<const event::Process>> chain;
  event::ProcessKey next = key;
  while (chain.size() < limit && next.pid != 0) {
    auto process = Find(next);
    if (process == nullptr || (!chain.empty() && process->parent == next)) {
      break;
    }
    next = process->parent;
    chain.push_back(std::move(process));
  }
  return chain;
}

}  // namespace moat::detect
