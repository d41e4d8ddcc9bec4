// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/tamper_watch.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "agent/probe/real_path.h"
#include "bpf/abi/label.h"

namespace moat::probe {
namespace {

constexpr uint64_t kDirectoryEvents = FAN_CREATE | FAN_DELETE | FAN_RENAME | FAN_ONDIR;
constexpr uint64_t kTopEvents = FAN_MOVE_SELF | FAN_DELETE_SELF | FAN_ONDIR;  // nobody watches the names around it
constexpr uint64_t kFileEvents = FAN_MODIFY | FAN_ATTRIB | FAN_DELETE_SELF;

// A record waits this long at most: for the rings to tell who its process was, when that has ended meanwhile, and, when a file
// shrank, for the record of ftruncate or O_TRUNC, which the kernel side tells by itself (fanotify's event is queued inside the
// system call, the record is submitted at its end). Same process and file: told already.
constexpr uint64_t kWaitNs = 100'000'000;
constexpr uint64_t kToldNs = 2'000'000'000;

}  // namespace

Status TamperWatch::Open() {
  MOAT_ASSIGN(Fan fan, Fan::Open());
  fan_ = std::make_unique<Fan>(std::move(fan));
  return {};
}

void TamperWatch::Refused(const Error& error) {
  if (refused_++ == 0) {
    first_refusal_ = error.message;
    spdlog::warn("tamper watch: {}", error.message);
  }
}

std::string TamperWatch::why() const {
  return refused_ == 0 ? "" : std::to_string(refused_) + " files or directories cannot be watched, first: " + first_refusal_;
}

// path: without symlinks, marks are set on what is there.
void TamperWatch::AddNode(const std::string& path, uint32_t asset, bool top) {
  Found found;
  auto handle = Fan::HandleOf(path);
  if (!handle) {
    Refused(handle.error());
    return;
  }
  if (!FindFile(*mounts_, AT_FDCWD, path.c_str(), /*follow=*/false, found)) {
    return;  // gone again
  }
  const uint64_t mask = found.directory ? kDirectoryEvents | (top ? kTopEvents : 0) : kFileEvents;
  if (Status status = fan_->Mark(path, mask); !status) {
    Refused(status.error());
    return;
  }
  marks_[path] |= mask;
  Node& node = nodes_[*handle];
  node = {.id = found.id,
          .asset = asset,
          .directory = found.directory,
          .whole = found.directory,
          .path = path,
          .bytes = found.bytes,
          .links = found.links};
  const std::string parent = ParentOf(path);
  if (last_handle_.first != parent) {
    auto parent_handle = Fan::HandleOf(parent);
    last_handle_ = {parent, parent_handle ? *parent_handle : FileHandle()};
  }
  names_[{last_handle_.second, NameOf(path)}] = *handle;
}

// The directory of a file that is an asset by itself.
void TamperWatch::AddParent(const std::string& path, uint32_t asset) {
  const std::string directory = ParentOf(path);
  auto handle = Fan::HandleOf(directory);
  if (!handle) {
    Refused(handle.error());
    return;
  }
  wanted_[{*handle, NameOf(path)}] = asset;
  if (const auto known = nodes_.find(*handle); known != nodes_.end()) {
    return;  // watched already
  }
  if (Status status = fan_->Mark(directory, kDirectoryEvents); !status) {
    Refused(status.error());
    return;
  }
  marks_[directory] |= kDirectoryEvents;
  Node& node = nodes_[*handle];
  node = {.id = {}, .asset = MOAT_NO_ASSET, .directory = true, .whole = false, .path = directory, .bytes = 0, .links = 0};
}

void TamperWatch::Set(const std::vector<ResolvedAsset>& assets) {
  if (!fan_) {
    return;
  }
  const auto before = std::move(marks_);
  marks_.clear();
  nodes_.clear();
  names_.clear();
  wanted_.clear();
  refused_ = 0;
  real_ = {};
  last_handle_ = {};
  mounts_ = std::make_unique<MountDevices>();
  for (const ResolvedAsset& asset : assets) {
    std::set<std::string> directories;
    for (const auto& file : asset.files) {
      const std::string path = file.left ? "" : real_.Of(file.path);
      if (path.empty()) {
        continue;  // gone since it was resolved: its directory's events tell
      }
      const bool inside = directories.contains(ParentOf(path));
      AddNode(path, asset.id, /*top=*/!inside);
      if (file.directory) {
        directories.insert(path);  // listed before what it holds
      } else if (!inside) {
        AddParent(path, asset.id);
      }
    }
  }
  for (const auto& [path, mask] : before) {
    const auto kept = marks_.find(path);
    if (const uint64_t extra = kept == marks_.end() ? mask : mask & ~kept->second; extra != 0) {
      (void)fan_->Mark(path, extra & ~static_cast<uint64_t>(FAN_ONDIR),
                       /*add=*/false);  // fails when the file is gone, and its mark with it
    }
  }
}

void TamperWatch::Note(const moat_file_tamper& record) {
  if (record.op == MOAT_TAMPER_TRUNCATE) {
    told_[next_told_++ % told_.size()] = {record.hdr.pid, {record.dev, record.inode}, record.hdr.time_ns};
  }
}

void TamperWatch::Tell(const FanEvent& event, const Node& node, moat_tamper_op op, const std::string& name, uint64_t bytes,
                       uint64_t now_ns) {
  if (event.pid == static_cast<uint32_t>(getpid()) || !tells_.contains(op)) {
    return;
  }
  Pending pending{};
  pending.pid = event.pid;
  pending.due_ns = now_ns + kWaitNs;
  moat_file_tamper& record = pending.record;
  record.hdr.time_ns = now_ns;
  record.inode = node.id.second;
  record.dev = node.id.first;
  record.asset = node.asset;
  record.bytes = bytes;
  record.op = op;
  record.fd = static_cast<uint32_t>(-1);
  record.hdr.flags = name.size() >= sizeof(record.name) ? MOAT_F_TRUNCATED : 0;
  std::memcpy(record.name, name.data(), std::min(name.size(), sizeof(record.name) - 1));
  pending_.push_back(pending);
}

// Finds the owner, or gives up; decides whether a truncation was told already.
void TamperWatch::Settle(Pending& pending, uint64_t now_ns) {
  moat_hdr& header = pending.record.hdr;
  const bool due = now_ns >= pending.due_ns;
  if (pending.pid != 0) {
    const uint32_t flags = header.flags;
    const uint64_t time_ns = header.time_ns;
    moat_hdr owner{};
    const Owners::Who who = owners_.Find(pending.pid, owner);
    if (who == Owners::Who::kBeside) {
      pending.drop = true;
      return;
    }
    if (who == Owners::Who::kGone && !due) {
      return;
    }
    // An asset was changed and nobody is left to say who did it: told without an owner, silence would be worse.
    header = who == Owners::Who::kKnown ? owner : moat_hdr{};
    header.flags = flags | (who == Owners::Who::kKnown ? 0 : MOAT_F_NO_OWNER);
    header.size = sizeof(pending.record);
    header.version = MOAT_ABI_VERSION;
    header.kind = MOAT_KIND_FILE_TAMPER;
    header.time_ns = time_ns;
    const moat_proc_key key{.start_ns = header.start_ns, .pid = header.pid, .pad = 0};
    moat_proc_val held{};
    header.labels = bpf_map_lookup_elem(procs_fd_, &key, &held) == 0 ? held.labels : 0;
    pending.pid = 0;
  }
  if (pending.record.op != MOAT_TAMPER_TRUNCATE) {
    pending.ready = true;
  } else if (due) {
    pending.drop = std::ranges::any_of(told_, [&](const Told& told) {
      return told.pid == header.pid && told.id == InodeId(pending.record.dev, pending.record.inode) &&
             told.time_ns + kToldNs > header.time_ns;
    });
    pending.ready = true;
  }
}

// A file or directory that is new to an asset: into the kernel's map first, then watched.
void TamperWatch::Adopt(const std::string& path, uint32_t asset, std::vector<ResolvedAsset>& assets) {
  if (asset >= assets.size()) {
    return;
  }
  real_ = {};
  last_handle_ = {};
  const config::Asset one{.name = "", .asset_class = "", .paths = {path}};
  for (const ResolvedAsset& resolved : ResolveAssets({one})) {
    for (const auto& file : resolved.files) {
      if (Status status = inodes_.Add({file.dev, file.inode}, asset, file.directory, file.path); !status) {
        spdlog::error("asset {}: {}: {}", assets[asset].name, file.path, status.error().message);
        return;
      }
      AddNode(real_.Of(file.path), asset, /*top=*/false);
      assets[asset].files.push_back(file);
    }
    assets[asset].bytes += resolved.bytes;
  }
}

void TamperWatch::Appeared(const FanEvent::Place& place, const FileHandle& target, std::vector<ResolvedAsset>& assets) {
  const auto directory = nodes_.find(place.directory);
  if (directory == nodes_.end()) {
    return;
  }
  const Place key(place.directory, place.name);
  const std::string path = directory->second.path + "/" + place.name;
  const auto wanted = wanted_.find(key);
  const bool here = directory->second.whole;
  if (!here && wanted == wanted_.end()) {
    return;  // a neighbour of a file that is an asset by itself
  }
  if (const auto known = nodes_.find(target); known != nodes_.end()) {
    known->second.path = path;  // a second name (told by its link count), or it was moved here
    names_[key] = target;
    return;
  }
  Adopt(path, wanted != wanted_.end() ? wanted->second : directory->second.asset, assets);
}

void TamperWatch::Renamed(const FanEvent& event, uint64_t now_ns, std::vector<ResolvedAsset>& assets) {
  const Place from(event.place.directory, event.place.name), to(event.renamed.directory, event.renamed.name);
  // What had the new name is gone with it.
  if (const auto victim = names_.find(to); victim != names_.end() && victim->second != event.target) {
    if (const auto node = nodes_.find(victim->second); node != nodes_.end() && node->second.asset != MOAT_NO_ASSET) {
      Tell(event, node->second, MOAT_TAMPER_REPLACE, to.second, 0, now_ns);
    }
    names_.erase(victim);
  }
  const auto moved = nodes_.find(event.target);
  if (moved != nodes_.end() && moved->second.asset != MOAT_NO_ASSET) {
    names_.erase(from);
    Tell(event, moved->second, MOAT_TAMPER_RENAME, from.second, 0, now_ns);
    rescan_ |= moved->second.directory;  // the paths of all that it holds have changed
  }
  Appeared(event.renamed, event.target, assets);
}

// Compares size and link count with what they should be by the events so far. By handle: the file may have another name by now.
// A link made and the first name removed at once leaves the count as it was: only the removal, once counted, shows the link.
void TamperWatch::Changed(const FanEvent& event, Node& node, uint64_t now_ns) {
  Found now;
  const auto file = Fan::OpenHandle(event.target, ParentOf(node.path));
  if (!file || !FindFile(*mounts_, file->get(), "", /*follow=*/false, now) || now.id != node.id) {
    return;  // no more: its removal comes as an event of its own
  }
  if (now.links > node.links) {
    Tell(event, node, MOAT_TAMPER_LINK, NameOf(node.path), 0, now_ns);
  }
  if (event.mask & FAN_MODIFY && now.bytes < node.bytes) {
    Tell(event, node, MOAT_TAMPER_TRUNCATE, NameOf(node.path), now.bytes, now_ns);
  }
  // Fewer: the removal's own event may follow and is counted then; if none does, the name was one that we do not watch.
  if (now.links < node.links) {
    later_.emplace_back(event.target, now_ns + kWaitNs);
  }
  node.links = std::max(node.links, now.links);
  node.bytes = now.bytes;
}

void TamperWatch::Later(const FileHandle& handle) {
  const auto node = nodes_.find(handle);
  if (node == nodes_.end()) {
    return;
  }
  Found now;
  const auto file = Fan::OpenHandle(handle, ParentOf(node->second.path));
  if (file && FindFile(*mounts_, file->get(), "", /*follow=*/false, now)) {
    node->second.links = now.links;
  } else if (!file && file.error().code == Code::kNotFound && node->second.ended) {
    nodes_.erase(node);
  }
}

void TamperWatch::Handle(const FanEvent& event, uint64_t now_ns, std::vector<ResolvedAsset>& assets) {
  // Of itself a directory tells as of a name in it, ".", and has no target.
  const bool itself = event.target.empty() && (event.mask & FAN_MOVE_SELF) != 0;
  const auto target = nodes_.find(itself ? event.place.directory : event.target);
  const bool ours = target != nodes_.end() && target->second.asset != MOAT_NO_ASSET;
  if (event.mask & FAN_RENAME) {
    Renamed(event, now_ns, assets);
    return;
  }
  if (event.mask & FAN_CREATE) {
    Appeared(event.place, event.target, assets);
  }
  if (event.mask & FAN_MOVE_SELF && ours) {
    Tell(event, target->second, MOAT_TAMPER_RENAME, NameOf(target->second.path), 0, now_ns);
    rescan_ = true;
  }
  if (event.mask & FAN_DELETE && ours) {
    Tell(event, target->second, MOAT_TAMPER_UNLINK, event.place.name, 0, now_ns);
    names_.erase({event.place.directory, event.place.name});
    target->second.links -= target->second.links > 0 ? 1 : 0;
  }
  if (event.mask & (FAN_MODIFY | FAN_ATTRIB | FAN_DELETE) && ours && !target->second.directory) {
    Changed(event, target->second, now_ns);
  }
  // The inode itself has ended, after its last name and its last open file: until then its label stays. The kernel tells this
  // before the removal of the name (d_delete_notify), so the node is kept a while.
  if (event.mask & FAN_DELETE_SELF && ours) {
    inodes_.Remove(target->second.id);
    const InodeId id = target->second.id;
    ResolvedAsset& asset = assets[target->second.asset];
    asset.bytes -= std::min(asset.bytes, target->second.bytes);
    std::erase_if(asset.files, [&id](const auto& file) { return InodeId(file.dev, file.inode) == id; });
    target->second.ended = true;
    later_.emplace_back(event.target, now_ns + kWaitNs);
  }
}

size_t TamperWatch::Poll(RecordSink& sink, uint64_t now_ns, std::vector<ResolvedAsset>& assets) {
  if (!fan_) {
    return 0;
  }
  bool overflow = false;
  for (int i = 0; i < 16 && fan_->Read(events_, overflow); ++i) {
    for (const FanEvent& event : events_) {
      Handle(event, now_ns, assets);
    }
    events_.clear();
  }
  if (overflow) {
    ++lost_;
    rescan_ = true;
  }
  std::erase_if(later_, [&](const auto& later) {
    const bool due = now_ns >= later.second;
    if (due) {
      Later(later.first);
    }
    return due;
  });
  size_t count = 0;
  for (Pending& pending : pending_) {
    Settle(pending, now_ns);
    if (pending.ready && !pending.drop) {
      sink.OnRecord(std::as_bytes(std::span(&pending.record, 1)));
      ++count;
    }
  }
  std::erase_if(pending_, [](const Pending& pending) { return pending.ready || pending.drop; });
  return count;
}

}  // namespace moat::probe
