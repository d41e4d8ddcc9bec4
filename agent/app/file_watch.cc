// SPDX-License-Identifier: Apache-2.0
#include "agent/app/file_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string_view>
#include <utility>

namespace moat::app {

Result<FileWatch> FileWatch::Open(const std::vector<std::string>& paths) {
  Fd fd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd) {
    return FailErrno(errno, "watch files");
  }
  FileWatch watch(std::move(fd));
  constexpr uint32_t kWhat = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_ATTRIB;
  const auto add = [&watch](const std::string& directory) {
    return inotify_add_watch(watch.fd_.get(), directory.c_str(), kWhat);
  };
  std::error_code error;
  bool any = false;
  for (const std::string& path : paths) {
    // Of a directory, too, the one around it: it may be replaced as a whole.
    const std::filesystem::path whole(path);
    if (const int around = add(whole.parent_path().string()); around >= 0) {
      watch.names_[around].insert(whole.filename().string());
      any = true;
    }
  }
  for (const std::string& path : paths) {
    if (std::filesystem::is_directory(path, error)) {
      if (const int inside = add(path); inside >= 0) {
        watch.names_[inside].clear();
        any = true;
      }
    }
  }
  if (!any) {
    return FailErrno(errno, "watch " + (paths.empty() ? std::string("nothing") : paths.front()));
  }
  return watch;
}

bool FileWatch::Take() {
  alignas(inotify_event) char buffer[16384];
  bool matters = false;
  for (ssize_t got = 0; (got = read(fd_.get(), buffer, sizeof(buffer))) > 0;) {
    for (const char* at = buffer; at < buffer + got;) {
      const auto* event = reinterpret_cast<const inotify_event*>(at);
      const std::string_view name = event->len > 0 ? std::string_view(static_cast<const char*>(event->name)) : std::string_view();
      const auto found = names_.find(event->wd);
      if ((event->mask & (IN_Q_OVERFLOW | IN_DELETE_SELF)) != 0) {
        matters = true;
      } else if (found == names_.end()) {
        // of a watch that is gone
      } else if (found->second.empty()) {
        // "..data" is the link that the kubelet exchanges when a ConfigMap changes.
        matters = matters || name.ends_with(".yaml") || name.ends_with(".yml") || name == "..data";
      } else {
        matters = matters || found->second.contains(std::string(name));
      }
      at += sizeof(inotify_event) + event->len;
    }
  }
  return matters;
}

}  // namespace moat::app
