// SPDX-License-Identifier: Apache-2.0
#include "agent/sink/spool.h"

#include <unistd.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/base/utf8.h"
#include "agent/sink/holes.h"
#include "agent/sink/record.h"
#include "agent/sink/spool_dir.h"

namespace moat::sink {
namespace {

// What is larger than any that moatd writes is not read: it could take all memory.
constexpr uint64_t kLargestSegment = 4 * kMaxBody;

struct Segment {
  uint64_t first = 0, end = 0;  // seqs [first, end)
  uint64_t bytes = 0;           // that may be read
  uint64_t first_time = 0;
  Holes lost{};  // seqs that were damaged

  uint64_t GoodFrom(uint64_t seq) const {
    const uint64_t from = std::max(seq, first);
    return from < end ? end - from - lost.Count(from, end) : 0;
  }
};

// The records of some bytes in order, good ones and those whose body alone is damaged. Numbers are believed only from `from` on and below
// `limit`. each(record, end) -> false: no more. Returns where the last one ended.
template <typename Each>
size_t EachRecord(std::string_view bytes, uint64_t from, uint64_t limit, bool want_message, const Each& each) {
  size_t end = 0;
  for (size_t at = NextRecord(bytes, 0); at < bytes.size();) {
    const Record record = ReadRecord(bytes.substr(at), want_message);
    const bool is = record.is == Record::Is::kGood || record.is == Record::Is::kBroken;
    if (!is || record.seq < from || record.seq >= limit) {
      at = NextRecord(bytes, at + 1);
      continue;
    }
    if (!each(record, at + record.bytes)) {
      return end;
    }
    from = record.seq + 1;
    at += record.bytes;
    end = at;
    at = NextRecord(bytes, at);
  }
  return end;
}

class SpoolImpl final : public Spool {
 public:
  SpoolImpl(SpoolDir dir, const SpoolOptions& options) : dir_(std::move(dir)), options_(options) {}

  Status Recover();
  Result<size_t> Append(std::span<const Message> messages) override;
  Result<std::vector<Message>> Take(size_t max_messages, size_t max_bytes) override;
  void Settle(size_t n) override;
  void Bury(const Message& message, std::string_view why) override;
  SpoolStats stats() const override;

 private:
  struct Lent {
    uint64_t seq = 0, time = 0;
    size_t end = 0;  // in ahead_, behind it
  };
  struct Parsed {
    std::vector<Message> messages;
    std::vector<Lent> lent;
    Holes lost;
    uint64_t upto = 0;  // all before it was looked at
  };

  Status RecoverSegment(uint64_t number, uint64_t limit);
  std::vector<uint64_t> MakeRoom(uint64_t bytes);
  Status Write(const std::string& bytes, uint64_t committed);
  Status Load(const Segment& front, uint64_t read_at);
  Parsed Parse(const Segment& front, uint64_t from, size_t max_messages, size_t max_bytes) const;
  void Lose(Segment& segment, const Holes& found);
  void Less(uint64_t messages) { stats_.depth -= std::min(stats_.depth, messages); }
  std::vector<uint64_t> DropDelivered();
  void Remove(const std::vector<uint64_t>& segments) const;

  const SpoolDir dir_;
  const SpoolOptions options_;

  // Of the thread that appends.
  Fd active_;  // the last segment, while it is written to
  uint64_t next_ = 1;  // seq of the next message

  // Of the thread that takes: bytes of the segment ahead_of_ from ahead_at_ on.
  std::string ahead_;
  uint64_t ahead_of_ = 0, ahead_at_ = 0;
  uint64_t saved_cursor_ = 0;

  mutable std::mutex mutex_;
  std::deque<Segment> segments_;  // each ends where the next begins
  bool last_is_active_ = false;
  bool active_gone_ = false;  // its file was removed by somebody: the next message is in another
  uint64_t cursor_ = 1;  // all before it are done with
  uint64_t total_ = 0;  // bytes of all segments
  uint64_t read_at_ = 0;  // in the first segment: the cursor's message is there or behind
  std::vector<Lent> lent_;
  SpoolStats stats_;
};

Status SpoolImpl::RecoverSegment(uint64_t number, uint64_t limit) {
  MOAT_ASSIGN(const uint64_t size, dir_.Size(number));
  std::string bytes;
  if (size > 0 && size <= kLargestSegment) {
    MOAT_ASSIGN(bytes, dir_.Read(number, 0, size));
    if (bytes.size() != size) {  // nobody else may write there
      return Fail(Code::kUnavailable, "a segment of the spool changed while it was read");
    }
  }
  Segment segment{.first = number, .end = number, .bytes = size};
  const size_t end = EachRecord(bytes, number, limit, false, [&](const Record& record, size_t) {
    const bool good = record.is == Record::Is::kGood;
    segment.lost.Add(segment.end, record.seq + (good ? 0 : 1));
    segment.end = record.seq + 1;
    segment.first_time = segment.first_time == 0 ? record.message.time_unix_ns : segment.first_time;
    return true;
  });
  if (limit != UINT64_MAX) {
    segment.lost.Add(segment.end, limit);
    segment.end = limit;
  } else if (size > std::max(end, kSegmentMagic.size()) || (end == 0 && size > 0 && bytes != kSegmentMagic)) {
    ++stats_.torn;  // what was being written last: how many messages no number says, and nobody was told that they were on disk
    dir_.Cut(number, end);
    segment.bytes = end;
  }
  if (segment.end == number) {
    dir_.Remove(number);
    return {};
  }
  total_ += segment.bytes;
  segments_.push_back(std::move(segment));
  return {};
}

Status SpoolImpl::Recover() {
  MOAT_ASSIGN(const std::vector<uint64_t> numbers, dir_.Segments());
  for (size_t i = 0; i < numbers.size(); ++i) {
    MOAT_TRY(RecoverSegment(numbers[i], i + 1 < numbers.size() ? numbers[i + 1] : UINT64_MAX));
  }
  const uint64_t first = segments_.empty() ? 1 : segments_.front().first;
  cursor_ = std::max(dir_.Cursor().value_or(first), first);
  next_ = std::max(cursor_, segments_.empty() ? 1 : segments_.back().end);
  for (const Segment& segment : segments_) {
    stats_.depth += segment.GoodFrom(cursor_);
    stats_.corrupt += segment.lost.Count(std::max(cursor_, segment.first), segment.end);
  }
  Remove(DropDelivered());
  stats_.oldest_unix_ns = segments_.empty() ? 0 : segments_.front().first_time;
  return {};
}

// With the lock. The files to remove.
std::vector<uint64_t> SpoolImpl::MakeRoom(uint64_t bytes) {
  std::vector<uint64_t> gone;
  while (!segments_.empty() && total_ + bytes > options_.max_bytes) {
    const Segment& front = segments_.front();
    if (segments_.size() == 1) {
      active_.Reset();
      last_is_active_ = false;
    }
    // Those that are lent may yet arrive: Settle() counts them.
    const uint64_t lost = front.GoodFrom(lent_.empty() ? cursor_ : lent_.back().seq + 1);
    stats_.dropped_by_cap += lost;
    Less(lost);
    cursor_ = lent_.empty() ? std::max(cursor_, front.end) : cursor_;
    total_ -= front.bytes;
    read_at_ = 0;
    gone.push_back(front.first);
    segments_.pop_front();
    stats_.oldest_unix_ns = segments_.empty() ? 0 : segments_.front().first_time;
  }
  return gone;
}

Status SpoolImpl::Write(const std::string& bytes, uint64_t committed) {
  if (WriteAll(active_.get(), bytes) && ::fdatasync(active_.get()) == 0) {
    return {};
  }
  auto failed = FailErrno(errno, "the spool cannot be written");
  if (committed == 0) {
    dir_.Remove(next_);
    active_.Reset();
  } else if (::ftruncate(active_.get(), static_cast<off_t>(committed)) != 0) {
    // What is left behind has numbers that the next segment has, too: nobody believes it.
    active_.Reset();
  }
  return failed;
}

Result<size_t> SpoolImpl::Append(std::span<const Message> messages) {
  std::string bytes;
  size_t taken = 0, too_large = 0;
  for (const Message& message : messages) {
    const size_t more = RecordBytes(message);
    if (more > kRecordHead + kMaxBody || more + kSegmentMagic.size() > options_.max_bytes) {
      ++too_large;
    } else if (!bytes.empty() && bytes.size() + more > options_.segment_bytes) {
      break;
    } else {
      AppendRecord(bytes, next_ + taken - too_large, message);
    }
    ++taken;
  }
  const uint64_t kept = taken - too_large;
  uint64_t committed = 0;
  {
    std::unique_lock lock(mutex_);
    stats_.spooled += too_large;
    stats_.dropped_by_cap += too_large;
    if (last_is_active_ && (active_gone_ || segments_.back().bytes + bytes.size() > options_.segment_bytes)) {
      last_is_active_ = false;
    }
    active_gone_ = false;
    const std::vector<uint64_t> gone = MakeRoom(bytes.size() + kSegmentMagic.size());
    committed = last_is_active_ ? segments_.back().bytes : 0;
    lock.unlock();
    Remove(gone);
  }
  if (kept == 0) {
    return taken;
  }
  if (committed == 0) {
    MOAT_ASSIGN(active_, dir_.Create(next_));
    bytes.insert(0, kSegmentMagic);
  }
  const Status written = Write(bytes, committed);
  std::lock_guard lock(mutex_);
  if (!written) {
    last_is_active_ = last_is_active_ && active_;
    return std::unexpected(written.error());
  }
  if (committed == 0) {
    segments_.push_back({.first = next_, .end = next_, .bytes = 0, .first_time = messages.front().time_unix_ns});
    last_is_active_ = true;
  }
  next_ += kept;
  segments_.back().end = next_;
  segments_.back().bytes += bytes.size();
  total_ += bytes.size();
  stats_.oldest_unix_ns = stats_.depth == 0 ? messages.front().time_unix_ns : stats_.oldest_unix_ns;
  stats_.depth += kept;
  stats_.spooled += kept;
  return taken;
}

Status SpoolImpl::Load(const Segment& front, uint64_t read_at) {
  if (ahead_of_ != front.first || ahead_at_ != read_at) {
    ahead_.clear();
    ahead_of_ = front.first;
    ahead_at_ = read_at;
  }
  const uint64_t have = ahead_at_ + ahead_.size();
  if (have < front.bytes) {
    MOAT_ASSIGN(const std::string more, dir_.Read(front.first, have, front.bytes - have));
    ahead_ += more;
  }
  return {};
}

SpoolImpl::Parsed SpoolImpl::Parse(const Segment& front, uint64_t from, size_t max_messages, size_t max_bytes) const {
  Parsed parsed{.messages = {}, .lent = {}, .lost = {}, .upto = from};
  bool enough = false;
  size_t bytes = 0;
  EachRecord(ahead_, from, front.end, true, [&](const Record& record, size_t end) {
    const bool good = record.is == Record::Is::kGood;
    enough = good && !parsed.lent.empty() && (parsed.lent.size() >= max_messages || bytes + record.bytes > max_bytes);
    if (enough) {
      return false;
    }
    parsed.lost.Add(parsed.upto, record.seq + (good ? 0 : 1));
    parsed.upto = record.seq + 1;
    if (good) {
      bytes += record.bytes;
      parsed.lent.push_back({record.seq, record.message.time_unix_ns, end});
      parsed.messages.push_back(record.message);
    }
    return true;
  });
  if (!enough) {
    parsed.lost.Add(parsed.upto, front.end);
    parsed.upto = front.end;
  }
  return parsed;
}

void SpoolImpl::Lose(Segment& segment, const Holes& found) {
  for (const auto& [begin, end] : found.ranges()) {
    const uint64_t fresh = end - begin - segment.lost.Count(begin, end);
    stats_.corrupt += fresh;
    Less(fresh);
    segment.lost.Add(begin, end);
  }
}

Result<std::vector<Message>> SpoolImpl::Take(size_t max_messages, size_t max_bytes) {
  for (;;) {
    std::unique_lock lock(mutex_);
    lent_.clear();
    if (stats_.depth == 0) {
      return std::vector<Message>();
    }
    const Segment front = segments_.front();
    const uint64_t from = std::max(cursor_, front.first), read_at = read_at_;
    lock.unlock();
    const Status loaded = Load(front, read_at);
    const bool gone_file = !loaded && loaded.error().code == Code::kNotFound;
    if (!loaded && !gone_file) {
      lock.lock();
      if (segments_.empty() || segments_.front().first != front.first) {
        continue;  // it was dropped meanwhile
      }
      return std::unexpected(loaded.error());
    }
    Parsed parsed = Parse(front, from, max_messages, max_bytes);
    lock.lock();
    if (segments_.empty() || segments_.front().first != front.first) {
      continue;
    }
    active_gone_ = active_gone_ || (gone_file && last_is_active_ && segments_.size() == 1);
    Lose(segments_.front(), parsed.lost);
    if (!parsed.messages.empty()) {
      lent_ = std::move(parsed.lent);
      stats_.oldest_unix_ns = lent_.front().time;
      return std::move(parsed.messages);
    }
    cursor_ = parsed.upto;
    if (segments_.size() == 1) {
      stats_.depth = segments_.front().GoodFrom(cursor_);  // not by the way: so that this ends, whatever was counted
    }
    const std::vector<uint64_t> gone = DropDelivered();
    lock.unlock();
    Remove(gone);
  }
}

void SpoolImpl::Settle(size_t n) {
  std::unique_lock lock(mutex_);
  n = std::min(n, lent_.size());
  const uint64_t floor = segments_.empty() ? UINT64_MAX : segments_.front().first;
  Less(n);
  cursor_ = n > 0 ? lent_[n - 1].seq + 1 : cursor_;
  for (size_t i = n; i < lent_.size(); ++i) {
    if (lent_[i].seq < floor) {  // its segment gave way while it was lent, and it did not arrive
      ++stats_.dropped_by_cap;
      Less(1);
      cursor_ = lent_[i].seq + 1;
    }
  }
  if (n > 0 && !segments_.empty() && segments_.front().first == ahead_of_) {
    read_at_ += lent_[n - 1].end;
    ahead_.erase(0, lent_[n - 1].end);
    ahead_at_ = read_at_;
  }
  if (n < lent_.size() && lent_[n].seq >= floor) {
    stats_.oldest_unix_ns = lent_[n].time;
  }
  lent_.clear();
  cursor_ = floor == UINT64_MAX ? cursor_ : std::max(cursor_, floor);
  const uint64_t cursor = cursor_;
  const std::vector<uint64_t> gone = DropDelivered();
  lock.unlock();
  if (cursor != saved_cursor_ && dir_.SetCursor(cursor)) {  // where it cannot be written, a restart delivers again: no loss
    saved_cursor_ = cursor;
  }
  Remove(gone);
}

// With the lock.
std::vector<uint64_t> SpoolImpl::DropDelivered() {
  std::vector<uint64_t> gone;
  while (segments_.size() > (last_is_active_ ? 1 : 0) && segments_.front().end <= cursor_) {
    total_ -= segments_.front().bytes;
    read_at_ = 0;
    gone.push_back(segments_.front().first);
    segments_.pop_front();
  }
  return gone;
}

void SpoolImpl::Remove(const std::vector<uint64_t>& segments) const {
  for (const uint64_t segment : segments) {
    dir_.Remove(segment);
  }
}

void SpoolImpl::Bury(const Message& message, std::string_view why) {
  const nlohmann::ordered_json line = {
      {"time_unix_ns", message.time_unix_ns}, {"id", ToUtf8(message.id)}, {"revision", message.revision},
      {"kind", ToUtf8(message.kind)},         {"why", ToUtf8(why)},       {"text", ToUtf8(message.text)}};
  const bool kept = dir_.AddDead(line.dump(), options_.dead_bytes);
  std::lock_guard lock(mutex_);
  ++(kept ? stats_.dead : stats_.dead_dropped);
}

SpoolStats SpoolImpl::stats() const {
  std::lock_guard lock(mutex_);
  SpoolStats stats = stats_;
  stats.depth_bytes = stats.depth == 0 ? 0 : total_ - read_at_;
  stats.oldest_unix_ns = stats.depth == 0 ? 0 : stats.oldest_unix_ns;
  return stats;
}

}  // namespace

Result<std::unique_ptr<Spool>> Spool::Open(const std::string& path, const SpoolOptions& options) {
  MOAT_ASSIGN(SpoolDir dir, SpoolDir::Open(path));
  SpoolOptions complete = options;
  if (complete.segment_bytes == 0) {
    complete.segment_bytes = std::clamp<uint64_t>(options.max_bytes / 16, 64u << 10, 4u << 20);
  }
  if (complete.dead_bytes == 0) {
    complete.dead_bytes = options.max_bytes / 4;
  }
  auto spool = std::make_unique<SpoolImpl>(std::move(dir), complete);
  if (const Status recovered = spool->Recover(); !recovered) {
    return Fail(recovered.error().code, "the spool " + path + ": " + recovered.error().message);
  }
  return spool;
}

}  // namespace moat::sink
