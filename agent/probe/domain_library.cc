// SPDX-License-Identifier: Apache-2.0
// What of a domain stands on functions of a library: a file, which an upgrade replaces while the host runs. Programs that have the old one mapped
// go on with it, those that start afterwards have the new one: both are probed.
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "agent/probe/domain.h"
#include "agent/probe/log.h"

namespace moat::probe {

// Held while it is probed: the file that is noted is the one that is probed.
Domain::Library Domain::OpenLibrary() const {
  Library library{.file = Fd(library_.empty() ? -1 : ::open(library_.c_str(), O_RDONLY | O_CLOEXEC)), .id = {}};
  struct stat info{};
  if (library.file && ::fstat(library.file.get(), &info) == 0) {
    library.id = {info.st_dev, info.st_ino};
  } else {
    library.file.Reset();
  }
  return library;
}

Result<bpf_link*> Domain::AttachToLibrary(const Hook& hook, const Library& library) const {
  const std::string where = hook.points.front() + " of " + library_;
  if (!library.file) {
    return Fail(Code::kNotFound, "attach " + where + ": it cannot be opened");
  }
  LIBBPF_OPTS(bpf_uprobe_opts, options);
  options.func_name = hook.points.front().c_str();
  options.retprobe = std::string_view(bpf_program__section_name(hook.program)).starts_with("uretprobe");
  const std::string path = "/proc/self/fd/" + std::to_string(library.file.get());
  bpf_link* link = bpf_program__attach_uprobe_opts(hook.program, /*pid=*/-1, path.c_str(), 0, &options);
  return link != nullptr ? Result<bpf_link*>(link) : FailErrno(errno, "attach " + where);
}

void Domain::FollowLibrary() {
  constexpr size_t kMost = 8;  // files that are probed: a link keeps its file's inode, also when the file is deleted
  if (!loaded_ || libraries_.empty()) {
    return;
  }
  const Library library = OpenLibrary();
  // Between two versions there may be none.
  if (!library.file || std::ranges::find(libraries_, library.id) != libraries_.end()) {
    return;
  }
  LogCapture log;
  std::vector<std::pair<Hook*, bpf_link*>> links;
  Status status;
  for (Hook& hook : hooks_) {
    if (hook.program == nullptr || hook.candidate->backend != Backend::kUprobe || hook.links.empty()) {
      continue;
    }
    if (const Result<bpf_link*> link = AttachToLibrary(hook, library); link) {
      links.emplace_back(&hook, *link);
    } else {
      status = std::unexpected(link.error());
      break;
    }
  }
  const std::lock_guard lock(late_);
  if (!status) {  // all or none: it is tried again at the next look
    for (const auto& [hook, link] : links) {
      bpf_link__destroy(link);
    }
    for (Hook& hook : hooks_) {
      if (hook.program != nullptr && hook.candidate->backend == Backend::kUprobe && !hook.links.empty() && hook.attached) {
        hook.attached = false;
        hook.why = "since " + library_ + " was replaced: " + status.error().message;
        spdlog::warn("hook {}: {}", hook.row->event, hook.why);
      }
    }
    return;
  }
  spdlog::info("{} is another file now: it is probed, too", library_);
  libraries_.push_back(library.id);
  const bool full = libraries_.size() > kMost;
  if (full) {
    libraries_.erase(libraries_.begin());
  }
  for (const auto& [hook, link] : links) {
    hook->links.push_back(link);
    if (full) {  // of the oldest: nothing that runs is that old
      bpf_link__destroy(hook->links.front());
      hook->links.erase(hook->links.begin());
    }
    if (!hook->attached) {
      hook->attached = true;
      hook->why = Offered(*hook->candidate).why;
    }
  }
}

}  // namespace moat::probe
