// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/policy_maps.h"

#include <bpf/bpf.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string>

#include "agent/base/clock.h"

namespace moat::probe {
namespace {

// After this no program that began before is still running: the call waits for a grace period of RCU (kernel/sched/membarrier.c).
void WaitForPrograms() { (void)syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0); }

// Whole tables at once where the kernel can (5.6; LPM tries later): a call for each row costs more than the row does.
template <typename Key, typename Value>
Status Put(int map, const char* name, const policy::Rows::Table<Key, Value>& table, uint32_t generation) {
  if (table.empty()) {
    return {};
  }
  std::vector<Key> keys;
  std::vector<Value> values;
  keys.reserve(table.size());
  values.reserve(table.size());
  for (const auto& [key, value] : table) {
    keys.push_back(key);
    keys.back().generation = generation;
    values.push_back(value);
  }
  auto done = static_cast<uint32_t>(table.size());
  LIBBPF_OPTS(bpf_map_batch_opts, options);
  if (bpf_map_update_batch(map, keys.data(), values.data(), &done, &options) == 0) {
    return {};
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    if (bpf_map_update_elem(map, &keys[i], &values[i], BPF_ANY) != 0) {
      const int err = errno;
      return err == E2BIG || err == ENOSPC
                 ? Fail(Code::kResourceExhausted, std::string("the kernel's table ") + name + " has no room for the policy (" +
                                                      std::to_string(table.size()) + " rows)")
                 : FailErrno(err, std::string("write ") + name);
    }
  }
  return {};
}

// Every row whose key says another generation than this one.
template <typename Key>
void Remove(int map, uint32_t but) {
  std::vector<Key> old;
  Key key{}, next{};
  const Key* at = nullptr;
  while (bpf_map_get_next_key(map, at, &next) == 0) {
    key = next;
    at = &key;
    if (key.generation != but) {
      old.push_back(key);
    }
  }
  for (const Key& one : old) {
    (void)bpf_map_delete_elem(map, &one);
  }
}

}  // namespace

PolicyMaps::PolicyMaps(const Domain& enforce, const SharedMaps& maps)
    : maps_(maps),
      cgroups_(enforce.MapFd("moat_pol_cgroups")),
      profiles_(enforce.MapFd("moat_pol_profiles")),
      exes_(enforce.MapFd("moat_pol_exes")),
      by_exe_(enforce.MapFd("moat_pol_by_exe")),
      holdings_(enforce.MapFd("moat_pol_holdings")),
      peers_(enforce.MapFd("moat_pol_peers")),
      ports_(enforce.MapFd("moat_pol_ports")),
      masks_(enforce.MapFd("moat_pol_masks")),
      names_(enforce.MapFd("moat_pol_names")),
      named_(enforce.MapFd("moat_pol_named")),
      resolvers_(enforce.MapFd("moat_pol_resolvers")),
      learnt_(enforce.MapFd("moat_pol_learnt")),
      sent_(enforce.MapFd("moat_pol_sent")),
      assets_(enforce.MapFd("moat_pol_assets")),
      counts_(enforce.MapFd("moat_pol_counts")),
      labels_(enforce.MapFd("moat_pol_labels")) {}

Result<std::unique_ptr<PolicyMaps>> PolicyMaps::Create(const Domain& enforce, const SharedMaps& maps) {
  std::unique_ptr<PolicyMaps> made(new PolicyMaps(enforce, maps));
  constexpr uint32_t kNewsBytes = 1 << 16;  // as bpf/enforce/cgroup.bpf.c has it
  made->expected_ = made->generation();  // of an agent before this one
  MOAT_ASSIGN(made->news_, Ring::Map(enforce.MapFd("moat_pol_news"), kNewsBytes));
  return made;
}

PolicyMaps::News PolicyMaps::TakeNews() {
  News news;
  constexpr size_t kMax = 8192;
  news_.Drain(kMax, [&news](std::span<const std::byte> bytes) {
    moat_pol_news one{};
    if (bytes.size() == sizeof(one)) {
      std::memcpy(&one, bytes.data(), sizeof(one));
      (one.what == MOAT_POL_CGROUP_MADE ? news.made : news.gone).push_back(one.cgroup_id);
    }
  });
  const uint32_t lost = __atomic_load_n(&maps_.control()->policy_news_lost, __ATOMIC_RELAXED);
  news.lost = lost != news_lost_;
  news_lost_ = lost;
  return news;
}

uint32_t PolicyMaps::generation() const { return __atomic_load_n(&maps_.control()->policy_generation, __ATOMIC_ACQUIRE); }

Status PolicyMaps::Write(const policy::Rows& rows, uint32_t generation) {
  MOAT_TRY(Put(ports_, "of ports", rows.ports, generation));
  MOAT_TRY(Put(masks_, "of masks", rows.masks, generation));
  MOAT_TRY(Put(peers_, "of peers", rows.peers, generation));
  MOAT_TRY(Put(named_, "of peers by name", rows.named, generation));
  MOAT_TRY(Put(names_, "of names", rows.names, generation));
  MOAT_TRY(Put(holdings_, "of holders", rows.holdings, generation));
  MOAT_TRY(Put(assets_, "of assets", rows.assets, generation));
  MOAT_TRY(Put(profiles_, "of profiles", rows.profiles, generation));
  MOAT_TRY(Put(by_exe_, "of profiles by executable", rows.by_exe, generation));
  MOAT_TRY(Put(exes_, "of executables", rows.exes, generation));
  return Put(cgroups_, "of cgroups", rows.cgroups, generation);  // last: they lead to all others
}

void PolicyMaps::RemoveAllBut(uint32_t generation) {
  Remove<moat_pol_cgroup_key>(cgroups_, generation);
  Remove<moat_pol_profile_key>(profiles_, generation);
  Remove<moat_pol_exe_key>(exes_, generation);
  Remove<moat_pol_by_exe_key>(by_exe_, generation);
  Remove<moat_pol_holding_key>(holdings_, generation);
  Remove<moat_pol_peer_key>(peers_, generation);
  Remove<moat_pol_port_key>(ports_, generation);
  Remove<moat_pol_port_key>(masks_, generation);
  Remove<moat_pol_name_key>(names_, generation);
  Remove<moat_pol_named_key>(named_, generation);
  Remove<moat_pol_asset_key>(assets_, generation);
}

template <typename Key, typename Value>
void PolicyMaps::Note(const char* name, int map, const policy::Rows::Table<Key, Value>& table, uint32_t generation) {
  RowBook& book = books_.try_emplace(name, map, sizeof(Key), sizeof(Value)).first->second;
  for (const auto& [key, value] : table) {
    Key row = key;
    row.generation = generation;
    book.Wrote(&row, &value);
  }
}

void PolicyMaps::NoteAll(const policy::Rows& rows, uint32_t generation) {
  Note("cgroups", cgroups_, rows.cgroups, generation);
  Note("profiles", profiles_, rows.profiles, generation);
  Note("executables", exes_, rows.exes, generation);
  Note("profiles by executable", by_exe_, rows.by_exe, generation);
  Note("holders", holdings_, rows.holdings, generation);
  Note("peers", peers_, rows.peers, generation);
  Note("ports", ports_, rows.ports, generation);
  Note("masks", masks_, rows.masks, generation);
  Note("names", names_, rows.names, generation);
  Note("peers by name", named_, rows.named, generation);
  Note("assets", assets_, rows.assets, generation);
}

void PolicyMaps::ForgetImage() {
  for (auto& [name, book] : books_) {
    if (name != "resolvers") {
      book.Forget();
    }
  }
}

std::vector<std::string> PolicyMaps::Altered() {
  std::vector<std::string> told;
  for (auto& [name, book] : books_) {
    if (const size_t rows = book.Altered(); rows > 0) {
      told.push_back(std::to_string(rows) + " rows of the table of " + name);
    }
  }
  return told;
}

Status PolicyMaps::Swap(const policy::Rows& rows, const policy::Rules& rules) {
  moat_control* control = maps_.control();
  const uint32_t old = generation(), fresh = control->policy_last == UINT32_MAX ? 1 : control->policy_last + 1;
  const moat_pol_count none{};
  for (size_t i = 0; i < rules.texts.size(); ++i) {
    const uint32_t slot = (rules.first + static_cast<uint32_t>(i)) % MOAT_RULES;
    (void)bpf_map_update_elem(counts_, &slot, &none, BPF_ANY);
  }
  if (Status status = Write(rows, fresh); !status) {
    RemoveAllBut(old);
    return status;
  }
  control->policy_last = fresh;
  expected_ = fresh;
  const bool names_wanted = !rows.names.empty();
  const bool budgets =
      std::ranges::any_of(rows.profiles, [](const auto& row) { return (row.second.flags & MOAT_POL_SPENDS) != 0; });
  // Before: the first decision is to have them, too.
  if (names_wanted) {
    __atomic_store_n(&control->policy_names, 1, __ATOMIC_RELEASE);
  }
  if (budgets) {
    __atomic_store_n(&control->policy_budgets, 1, __ATOMIC_RELEASE);
  }
  __atomic_store_n(&control->policy_generation, fresh, __ATOMIC_RELEASE);
  swapped_ns_ = MonotonicNs();
  WaitForPrograms();
  __atomic_store_n(&control->policy_names, names_wanted ? 1 : 0, __ATOMIC_RELEASE);
  __atomic_store_n(&control->policy_budgets, budgets ? 1 : 0, __ATOMIC_RELEASE);
  RemoveAllBut(fresh);
  ForgetImage();
  NoteAll(rows, fresh);
  return {};
}

Status PolicyMaps::Add(const policy::Rows& rows) {
  if (std::ranges::any_of(rows.profiles, [](const auto& row) { return (row.second.flags & MOAT_POL_SPENDS) != 0; })) {
    __atomic_store_n(&maps_.control()->policy_budgets, 1, __ATOMIC_RELEASE);
  }
  Status status = Write(rows, generation());
  NoteAll(rows, generation());
  return status;
}

std::vector<PolicyMaps::Sent> PolicyMaps::SentBytes(uint64_t now_ns) const {
  std::vector<Sent> all;
  moat_pol_sent_key key{};
  const moat_pol_sent_key* at = nullptr;
  for (moat_pol_sent_key next{}; bpf_map_get_next_key(sent_, at, &next) == 0; at = &key) {
    key = next;
    moat_pol_sent row{};
    if (bpf_map_lookup_elem_flags(sent_, &key, &row, BPF_F_LOCK) != 0) {
      continue;
    }
    Sent sent{.subject = key.subject, .label = key.label, .per_seconds = key.per_seconds, .dry_run = key.part == MOAT_POL_WOULD};
    for (uint32_t i = 0; i < MOAT_POL_BUCKETS; ++i) {
      sent.bytes += moat_pol_bucket(now_ns, key.per_seconds) - row.stamp[i] < MOAT_POL_BUCKETS ? row.bytes[i] : 0;
    }
    all.push_back(sent);
  }
  return all;
}

size_t PolicyMaps::ForgetSent(uint64_t now_ns) {
  std::vector<moat_pol_sent_key> old;
  for (const Sent& sent : SentBytes(now_ns)) {
    if (sent.bytes == 0) {
      old.push_back({.subject = sent.subject,
                     .label = sent.label,
                     .per_seconds = sent.per_seconds,
                     .part = sent.dry_run ? uint32_t{MOAT_POL_WOULD} : uint32_t{MOAT_POL_ENFORCED},
                     .pad = 0});
    }
  }
  for (const moat_pol_sent_key& key : old) {
    (void)bpf_map_delete_elem(sent_, &key);
  }
  return old.size();
}

void PolicyMaps::RemoveCgroups(const std::vector<uint64_t>& ids) {
  for (const uint64_t id : ids) {
    moat_pol_cgroup_key key{};
    key.cgroup_id = id;
    key.generation = generation();
    (void)bpf_map_delete_elem(cgroups_, &key);
    if (const auto book = books_.find("cgroups"); book != books_.end()) {
      book->second.Removed(&key);
    }
  }
}

bool PolicyMaps::RestoreGeneration() {
  if (generation() == expected_) {
    return false;
  }
  __atomic_store_n(&maps_.control()->policy_generation, expected_, __ATOMIC_RELEASE);
  return true;
}

Status PolicyMaps::Clear() {
  expected_ = 0;
  __atomic_store_n(&maps_.control()->policy_generation, 0, __ATOMIC_RELEASE);
  WaitForPrograms();
  __atomic_store_n(&maps_.control()->policy_names, 0, __ATOMIC_RELEASE);
  __atomic_store_n(&maps_.control()->policy_budgets, 0, __ATOMIC_RELEASE);
  RemoveAllBut(0);
  ForgetImage();
  return {};
}

Status PolicyMaps::SetResolvers(const std::vector<policy::Resolver>& resolvers) {
  RowBook& book = books_.try_emplace("resolvers", resolvers_, sizeof(moat_pol_resolver_key), sizeof(uint32_t)).first->second;
  book.Forget();
  std::vector<moat_pol_resolver_key> gone;
  moat_pol_resolver_key key{};
  const moat_pol_resolver_key* at = nullptr;
  for (moat_pol_resolver_key next{}; bpf_map_get_next_key(resolvers_, at, &next) == 0; at = &key) {
    key = next;
    gone.push_back(key);
  }
  for (const policy::Resolver& resolver : resolvers) {
    moat_pol_resolver_key row{};
    std::memcpy(row.address, resolver.address.data(), sizeof(row.address));
    row.v6 = resolver.v6 ? 1 : 0;
    const uint32_t flags = resolver.local ? MOAT_POL_RESOLVER_LOCAL : 0;
    if (bpf_map_update_elem(resolvers_, &row, &flags, BPF_ANY) != 0) {
      return FailErrno(errno, "write the table of resolvers (" + std::to_string(resolvers.size()) + ")");
    }
    book.Wrote(&row, &flags);
    std::erase_if(gone, [&row](const moat_pol_resolver_key& old) { return std::memcmp(&old, &row, sizeof(row)) == 0; });
  }
  for (const moat_pol_resolver_key& old : gone) {
    (void)bpf_map_delete_elem(resolvers_, &old);
  }
  return {};
}

size_t PolicyMaps::ForgetExpired(uint64_t before_ns) {
  std::vector<moat_pol_learnt_key> old;
  moat_pol_learnt_key key{};
  const moat_pol_learnt_key* at = nullptr;
  for (moat_pol_learnt_key next{}; bpf_map_get_next_key(learnt_, at, &next) == 0; at = &key) {
    key = next;
    moat_pol_learnt learnt{};
    if (bpf_map_lookup_elem_flags(learnt_, &key, &learnt, BPF_F_LOCK) == 0 &&
        std::ranges::all_of(learnt.names, [=](const moat_pol_learnt_name& name) { return name.expires_ns < before_ns; })) {
      old.push_back(key);
    }
  }
  for (const moat_pol_learnt_key& one : old) {
    (void)bpf_map_delete_elem(learnt_, &one);
  }
  return old.size();
}

uint32_t PolicyMaps::NextFirstRule() const { return maps_.control()->policy_last % 2 == 0 ? 1 : MOAT_RULES / 2; }

std::vector<std::string> PolicyMaps::Labels() const {
  std::vector<std::string> names(MOAT_MAX_ASSETS);
  for (uint32_t bit = 0; bit < MOAT_MAX_ASSETS; ++bit) {
    moat_pol_label label{};
    if (bpf_map_lookup_elem(labels_, &bit, &label) == 0) {
      names[bit].assign(label.asset, strnlen(label.asset, sizeof(label.asset)));
    }
  }
  while (!names.empty() && names.back().empty()) {
    names.pop_back();
  }
  return names;
}

void PolicyMaps::SetLabels(const std::vector<std::string>& names) {
  for (uint32_t bit = 0; bit < MOAT_MAX_ASSETS && bit < names.size(); ++bit) {
    moat_pol_label label{};
    names[bit].copy(label.asset, sizeof(label.asset) - 1);
    (void)bpf_map_update_elem(labels_, &bit, &label, BPF_ANY);
  }
}

std::vector<moat_pol_count> PolicyMaps::Counts(uint32_t first, size_t count) const {
  std::vector<moat_pol_count> counts(count);
  for (size_t i = 0; i < count; ++i) {
    const uint32_t slot = (first + static_cast<uint32_t>(i)) % MOAT_RULES;
    (void)bpf_map_lookup_elem(counts_, &slot, &counts[i]);
  }
  return counts;
}

}  // namespace moat::probe
