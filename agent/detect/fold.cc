// SPDX-License-Identifier: Apache-2.0
#include "agent/detect/fold.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace moat::detect {
namespace {

constexpr uint64_t kMs = 1'000'000;
// New findings of one kind and workload in an hour, beyond which they are told as one: whoever can choose what makes a cause (names of
// programs, say) could flood the receiver with them.
constexpr uint64_t kCrowd = 100, kCrowdNs = uint64_t{3600} * 1000 * kMs;
constexpr size_t kMaxCrowds = 4096;
constexpr char kBetween = '\x1f';

std::string Id(const std::string& run, const std::string& key) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  const std::string text = run + kBetween + key;
  std::string id;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1) {
    for (size_t i = 0; i < 16; ++i) {
      constexpr const char* kHex = "0123456789abcdef";
      id += kHex[digest[i] >> 4];
      id += kHex[digest[i] & 15];
    }
  }
  return id;
}

std::string Cut(std::string text) {
  if (text.size() > event::kMaxFindingText) {
    text.resize(event::kMaxFindingText - 3);
    text += "...";
  }
  return text;
}

void Add(std::vector<std::string>& names, std::vector<std::string> more, uint64_t& omitted) {
  for (std::string& name : more) {
    if (std::ranges::find(names, name) != names.end()) {
      continue;
    }
    if (names.size() < event::kMaxNamed) {
      names.push_back(Cut(std::move(name)));
    } else {
      ++omitted;
    }
  }
}

// The first half stays, of the rest the newest.
void AddEvidence(std::vector<std::string>& evidence, std::vector<std::string> more, uint64_t& omitted) {
  for (std::string& line : more) {
    if (!evidence.empty() && evidence.back() == line) {
      continue;
    }
    if (evidence.size() >= event::kMaxEvidence) {
      evidence.erase(evidence.begin() + event::kMaxEvidence / 2);
      ++omitted;
    }
    evidence.push_back(Cut(std::move(line)));
  }
}

}  // namespace

Fold::Fold(const config::Detect& config, std::string run, Tell tell)
    : config_(config), run_(std::move(run)), tell_(std::move(tell)) {}

bool Fold::Crowded(Draft& draft, const std::string& place, uint64_t now_ns) {
  if (crowds_.size() >= kMaxCrowds) {
    std::erase_if(crowds_, [&](const auto& one) { return now_ns - one.second.since_ns > kCrowdNs; });
    if (crowds_.size() >= kMaxCrowds) {
      crowds_.erase(crowds_.begin());
    }
  }
  Crowd& crowd = crowds_[std::string(event::FindingKindName(draft.kind)) + kBetween + place];
  if (now_ns - crowd.since_ns > kCrowdNs) {
    crowd = {.since_ns = now_ns, .news = 0};
  }
  if (++crowd.news <= kCrowd) {
    return false;
  }
  stats_.crowded += draft.times;
  draft.cause = "and more";
  draft.title = "more of the same kind than are told one by one: " + draft.title;
  draft.explanation = "This workload has had more than " + std::to_string(kCrowd) +
                      " different findings of this kind within an hour; from there on "
                      "they are counted here. The last one: " +
                      draft.explanation;
  return true;
}

void Fold::Raise(Draft draft, Subject subject, uint64_t now_ns, uint64_t unix_ns) {
  stats_.raised += draft.times;
  const auto key_of = [&] {
    return std::string(event::FindingKindName(draft.kind)) + kBetween + subject.place + kBetween + draft.cause;
  };
  std::string key = key_of();
  auto found = open_.find(key);
  if (found == open_.end() && Crowded(draft, subject.place, now_ns)) {
    key = key_of();
    found = open_.find(key);
  }
  const bool fresh = found == open_.end();
  if (fresh) {
    if (open_.size() >= config_.max_open) {
      Close();
    }
    Open open;
    open.finding.id = Id(run_, key + kBetween + std::to_string(stats_.closed));
    open.finding.revision = 0;
    open.finding.kind = draft.kind;
    open.finding.first_unix_ns = unix_ns;
    open.finding.workload = std::move(subject.workload);
    open.finding.lineage = std::move(subject.lineage);
    open.place = seen_.insert(seen_.end(), key);
    found = open_.emplace(key, std::move(open)).first;
  } else {
    seen_.splice(seen_.end(), seen_, found->second.place);
  }
  Open& open = found->second;
  const bool worse = !fresh && draft.severity > open.finding.severity;
  Merge(open, std::move(draft), unix_ns);
  if (fresh || worse || now_ns >= open.next_ns) {
    Out(open, now_ns);
  } else if (!open.dirty) {
    open.dirty = true;
    due_.emplace(open.next_ns, key);
  }
}

void Fold::Merge(Open& open, Draft draft, uint64_t unix_ns) {
  event::Finding& finding = open.finding;
  if (draft.severity >= finding.severity) {  // of equals the newest: its figures are the ones that hold
    finding.severity = draft.severity;
    finding.title = Cut(std::move(draft.title));
    finding.explanation = Cut(std::move(draft.explanation));
    finding.action = Cut(std::move(draft.action));
  }
  finding.confidence = std::max(finding.confidence, draft.confidence);
  finding.last_unix_ns = std::max(finding.last_unix_ns, unix_ns);
  finding.count += draft.times;
  Add(finding.assets, std::move(draft.assets), finding.omitted);
  Add(finding.devices, std::move(draft.devices), finding.omitted);
  Add(finding.peers, std::move(draft.peers), finding.omitted);
  AddEvidence(finding.evidence, std::move(draft.evidence), finding.omitted);
  for (const event::Technique& technique : draft.techniques) {
    if (std::ranges::find(finding.techniques, technique.id, &event::Technique::id) == finding.techniques.end()) {
      finding.techniques.push_back(technique);
    }
  }
}

void Fold::Out(Open& open, uint64_t now_ns) {
  const uint64_t shortest = config_.fold_ms * kMs, longest = std::max(config_.fold_ms, config_.fold_max_ms) * kMs;
  // After a rest as long as the longest it is as good as new.
  const bool rested = open.pause_ns == 0 || now_ns >= open.next_ns + longest;
  open.pause_ns = rested ? shortest : std::min(open.pause_ns * 2, longest);
  open.next_ns = now_ns + open.pause_ns;
  open.dirty = false;
  ++open.finding.revision;
  ++stats_.told;
  tell_(std::make_shared<const event::Finding>(open.finding));
}

void Fold::Close() {
  const auto oldest = open_.find(seen_.front());
  if (oldest != open_.end()) {
    if (oldest->second.dirty) {
      Out(oldest->second, oldest->second.next_ns);
    }
    open_.erase(oldest);
  }
  seen_.pop_front();
  ++stats_.closed;
}

void Fold::OnTime(uint64_t now_ns, bool all) {
  while (!due_.empty() && (all || due_.begin()->first <= now_ns)) {
    const auto open = open_.find(due_.begin()->second);
    due_.erase(due_.begin());
    if (open != open_.end() && open->second.dirty) {
      Out(open->second, now_ns);
    }
  }
  stats_.open = open_.size();
}

}  // namespace moat::detect
