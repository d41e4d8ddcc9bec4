// SPDX-License-Identifier: Apache-2.0
// The policy image in the kernel's maps (bpf/abi/policy.h).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/base/error.h"
#include "agent/policy/image.h"
#include "agent/probe/domain.h"
#include "agent/probe/ring.h"
#include "agent/probe/row_book.h"
#include "agent/probe/shared_maps.h"

namespace moat::probe {

// One thread (the control thread). The maps stay the domain's; both must live as long.
class PolicyMaps {
 public:
  static Result<std::unique_ptr<PolicyMaps>> Create(const Domain& enforce, const SharedMaps& maps);

  // A whole image, put into force by one store. On an error nothing has changed: the old one stays in force. The image before this one is
  // removed, once nobody can be using it any more.
  Status Swap(const policy::Rows& rows, const policy::Rules& rules);
  // More rows for the image in force: cgroups that came.
  Status Add(const policy::Rows& rows);
  // Rows of cgroups that are gone.
  void RemoveCgroups(const std::vector<uint64_t>& ids);
  // What somebody else has changed in the tables that the decisions are made by: "3 rows of the table of ports". What was added is removed
  // again, the rest comes back with the next Swap. A millisecond or two for each thousand rows.
  std::vector<std::string> Altered();
  // Puts the generation back that the last Swap or Clear made; whether it was another.
  bool RestoreGeneration();
  // No policy is in force any more.
  Status Clear();

  // Cgroups that came and went since the last call; lost: some were not told, so that all must be looked at again.
  struct News {
    std::vector<uint64_t> made, gone;
    bool lost = false;
  };
  News TakeNews();
  int news_fd() const { return news_.fd(); }  // readable: there is news

  // Whose DNS answers are believed, instead of those before; at most 64.
  Status SetResolvers(const std::vector<policy::Resolver>& resolvers);
  // Addresses whose names had all expired by then (CLOCK_MONOTONIC); how many.
  size_t ForgetExpired(uint64_t before_ns);

  // What holders of an asset have sent in the time that a budget is told for, by subject (moat_pol_cgroup.subject).
  struct Sent {
    uint64_t subject = 0;
    uint32_t label = 0, per_seconds = 0;
    bool dry_run = false;
    uint64_t bytes = 0;
  };
  std::vector<Sent> SentBytes(uint64_t now_ns) const;
  // Those who have sent nothing in that time; how many. What is added meanwhile to one of them may be lost: a packet's worth.
  size_t ForgetSent(uint64_t now_ns);

  // 0: none.
  uint32_t generation() const;
  uint64_t swapped_ns() const { return swapped_ns_; }  // CLOCK_MONOTONIC, when the last image came into force
  // The number of the first rule for the next image: each of two in turn has half of them.
  uint32_t NextFirstRule() const;

  // Whose label each bit is; empty names: nobody's yet. Kept with the other maps.
  std::vector<std::string> Labels() const;
  void SetLabels(const std::vector<std::string>& names);

  // Of rules first to first + count - 1.
  std::vector<moat_pol_count> Counts(uint32_t first, size_t count) const;

 private:
  PolicyMaps(const Domain& enforce, const SharedMaps& maps);
  Status Write(const policy::Rows& rows, uint32_t generation);
  void RemoveAllBut(uint32_t generation);
  template <typename Key, typename Value>
  void Note(const char* name, int map, const policy::Rows::Table<Key, Value>& table, uint32_t generation);
  void NoteAll(const policy::Rows& rows, uint32_t generation);
  void ForgetImage();

  const SharedMaps& maps_;
  Ring news_;
  uint32_t news_lost_ = 0;
  uint64_t swapped_ns_ = 0;
  uint32_t expected_ = 0;  // generation
  std::map<std::string, RowBook> books_;  // by what the table is of; empty: nothing was written yet
  int cgroups_, profiles_, exes_, by_exe_, holdings_, peers_, ports_, masks_, names_, named_, resolvers_, learnt_, sent_, assets_,
      counts_, labels_;  // borrowed
};

}  // namespace moat::probe
