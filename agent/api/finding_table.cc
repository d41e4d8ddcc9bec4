// SPDX-License-Identifier: Apache-2.0
#include "agent/api/finding_table.h"

#include <algorithm>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>

namespace moat::api {
namespace {

class FindingTableImpl final : public FindingTable {
 public:
  explicit FindingTableImpl(size_t max) : max_(max) {}

  void OnBatch(const event::BatchPtr& batch) override {
    for (const event::Event& event : batch->events) {
      if (const auto* finding = std::get_if<event::FindingPtr>(&event.body); finding != nullptr && *finding != nullptr) {
        Take(*finding);
      }
    }
  }

  FindingRows Get() const override {
    const std::lock_guard lock(mutex_);
    return {.rows = {order_.rbegin(), order_.rend()}, .forgotten = forgotten_};
  }

  std::vector<FindingTotal> Totals() const override {
    const std::lock_guard lock(mutex_);
    std::vector<FindingTotal> totals;
    totals.reserve(totals_.size());
    for (const auto& [key, total] : totals_) {
      totals.push_back(total);
    }
    return totals;
  }

 private:
  void Take(const event::FindingPtr& finding) {
    const std::lock_guard lock(mutex_);
    FindingTotal& total = totals_[{finding->kind, finding->severity}];
    total.kind = finding->kind;
    total.severity = finding->severity;
    total.news += finding->revision == 1 ? 1 : 0;
    const auto known = by_id_.find(finding->id);
    total.seen += finding->count - (known == by_id_.end() ? 0 : std::min(finding->count, (*known->second)->count));
    if (known != by_id_.end()) {
      order_.erase(known->second);
      known->second = order_.insert(order_.end(), finding);
      return;
    }
    if (order_.size() >= max_) {
      by_id_.erase(order_.front()->id);
      order_.pop_front();
      ++forgotten_;
    }
    by_id_[finding->id] = order_.insert(order_.end(), finding);
  }

  const size_t max_;
  mutable std::mutex mutex_;
  std::list<event::FindingPtr> order_;  // the one told last is the last
  std::unordered_map<std::string, std::list<event::FindingPtr>::iterator> by_id_;
  std::map<std::pair<event::FindingKind, event::Severity>, FindingTotal> totals_;
  uint64_t forgotten_ = 0;
};

}  // namespace

std::unique_ptr<FindingTable> FindingTable::Create(size_t max_findings) {
  return std::make_unique<FindingTableImpl>(max_findings > 0 ? max_findings : 1);
}

}  // namespace moat::api
