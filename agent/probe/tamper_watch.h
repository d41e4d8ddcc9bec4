// SPDX-License-Identifier: Apache-2.0
// Renames, removals, links, replacements and truncations by path of asset files, from fanotify; and new files in asset
// directories, which it hands to the inode map at once. For what no program of the kernel side can see (Backend::kFanotify).
//
// Marks: each asset directory (names), the directory of each file that was named alone or is reached by a symlink (that name
// only), each asset file (size and link count).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/probe/fan.h"
#include "agent/probe/inode_map.h"
#include "agent/probe/owners.h"
#include "agent/probe/probe.h"
#include "agent/probe/real_path.h"
#include "agent/probe/resolve.h"
#include "bpf/abi/file.h"

namespace moat::probe {

// The caller serialises Set and Poll. inodes, owners and procs_fd stay the caller's and must live as long.
class TamperWatch {
 public:
  // tells: what no kernel program tells; the rest is followed all the same, for the tables.
  TamperWatch(InodeMap& inodes, Owners& owners, int procs_fd, std::set<moat_tamper_op> tells)
      : inodes_(inodes), owners_(owners), procs_fd_(procs_fd), tells_(std::move(tells)) {}

  Status Open();
  int fd() const { return fan_ ? fan_->fd() : -1; }
  // Watches these and nothing else. What cannot be watched is counted and told by why().
  void Set(const std::vector<ResolvedAsset>& assets);

  // A tamper record of the kernel side passes: a truncation that it told is not told again. Ring thread.
  void Note(const moat_file_tamper& record);
  // Reads what fanotify has and emits records. Ring thread. Returns how many.
  size_t Poll(RecordSink& sink, uint64_t now_ns, std::vector<ResolvedAsset>& assets);

  // Events that the kernel dropped because nobody read them in time: at least this many.
  uint64_t lost() const { return lost_; }
  // The tables may no longer be true (events lost, a directory moved): resolve again, then Set. Reading clears it.
  bool TakeRescanWanted() { return std::exchange(rescan_, false); }
  std::string why() const;

 private:
  struct Node {  // an asset's file or directory
    InodeId id;
    uint32_t asset = 0;
    bool directory = false;
    bool whole = false;  // a directory all of whose names belong to the asset; else only those in wanted_
    std::string path;
    uint64_t bytes = 0;
    uint32_t links = 0;  // as the events so far make it
    bool ended = false;  // the inode is no more
  };
  using Place = std::pair<FileHandle, std::string>;  // directory, name
  struct Pending {
    moat_file_tamper record;
    uint32_t pid = 0;  // as fanotify gave it; 0: the owner is filled in
    uint64_t due_ns = 0;
    bool ready = false, drop = false;
  };

  void AddNode(const std::string& path, uint32_t asset, bool top);
  void AddParent(const std::string& path, uint32_t asset);
  void Adopt(const std::string& path, uint32_t asset, std::vector<ResolvedAsset>& assets);
  void Handle(const FanEvent& event, uint64_t now_ns, std::vector<ResolvedAsset>& assets);
  void Settle(Pending& pending, uint64_t now_ns);
  void Appeared(const FanEvent::Place& place, const FileHandle& target, std::vector<ResolvedAsset>& assets);
  void Renamed(const FanEvent& event, uint64_t now_ns, std::vector<ResolvedAsset>& assets);
  void Changed(const FanEvent& event, Node& node, uint64_t now_ns);
  void Tell(const FanEvent& event, const Node& node, moat_tamper_op op, const std::string& name, uint64_t bytes, uint64_t now_ns);
  void Later(const FileHandle& handle);
  void Refused(const Error& error);

  InodeMap& inodes_;
  Owners& owners_;
  int procs_fd_;
  std::set<moat_tamper_op> tells_;
  std::unique_ptr<Fan> fan_;  // null until Open()
  std::unique_ptr<MountDevices> mounts_;  // of the last Set()
  std::unordered_map<FileHandle, Node> nodes_;
  std::map<Place, FileHandle> names_;   // where an asset's file is found
  std::map<Place, uint32_t> wanted_;    // names whose next file is the asset again (files named alone)
  std::unordered_map<std::string, uint64_t> marks_;  // path -> mask
  RealPaths real_;
  std::pair<std::string, FileHandle> last_handle_;   // directory -> its handle
  std::vector<FanEvent> events_;
  std::vector<Pending> pending_;
  std::vector<std::pair<FileHandle, uint64_t>> later_;  // looked at again at that time
  struct Told {
    uint32_t pid = 0;
    InodeId id;
    uint64_t time_ns = 0;
  };
  std::array<Told, 64> told_{};
  size_t next_told_ = 0;
  uint64_t lost_ = 0;
  size_t refused_ = 0;
  std::string first_refusal_;
  bool rescan_ = false;
};

}  // namespace moat::probe
