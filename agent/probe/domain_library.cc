// SPDX-License-Identifier: Apache-2.0
// What of a domain stands on functions of a library: a file, which an upgrade replaces while the host runs. Programs that have the old one mapped
// go on with it, those that start afterwards have the new one: both are probed.
#include <bpf/libbpf.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "agent/probe/domain.h"
#include "agent/probe/log.h"

namespace moat::probe {

Result<bpf_link*> Domain::AttachToLibrary(const Hook& hook) const {
  LIBBPF_OPTS(bpf_uprobe_opts, options);
  options.func_name = hook.points.front().c_str();
  options.retprobe = std::string_view(bpf_program__section_name(hook.program)).starts_with("uretprobe");
  LogCapture log;
  bpf_link* link = bpf_program__attach_uprobe_opts(hook.program, /*pid=*/-1, library_.c_str(), 0, &options);
  if (link == nullptr) {
    return FailErrno(errno, "attach " + hook.points.front() + " of " + library_);
  }
  return link;
}

void Domain::FollowLibrary() {
  constexpr size_t kMost = 8;  // files, the first one among them: a link keeps its file's inode, also when the file is deleted
  struct stat file{};
  if (!loaded_ || library_.empty() || ::stat(library_.c_str(), &file) != 0) {
    return;  // between two versions there may be none
  }
  const FileId now{file.st_dev, file.st_ino};
  if (std::ranges::find(libraries_, now) != libraries_.end()) {
    return;
  }
  const bool first = libraries_.empty();
  libraries_.push_back(now);
  if (first) {
    return;
  }
  const std::lock_guard lock(late_);
  spdlog::info("{} is another file now: it is probed, too", library_);
  for (Hook& hook : hooks_) {
    if (hook.program == nullptr || hook.candidate->backend != Backend::kUprobe || !hook.attached) {
      continue;
    }
    const Result<bpf_link*> link =
        libraries_.size() > kMost ? Fail(Code::kResourceExhausted, library_ + " was replaced too often") : AttachToLibrary(hook);
    if (link) {
      hook.links.push_back(*link);
    } else {
      hook.attached = false;
      hook.why = "since " + library_ + " was replaced: " + link.error().message;
      spdlog::warn("hook {}: {}", hook.row->event, hook.why);
    }
  }
}

}  // namespace moat::probe
