// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/tracefs.h"

#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <cerrno>
#include <charconv>

namespace moat::probe {

Result<Tracefs> Tracefs::Open() {
  Fd context(fsopen("tracefs", FSOPEN_CLOEXEC));
  if (!context) {
    return FailErrno(errno, "fsopen tracefs (needs CAP_SYS_ADMIN and a kernel with tracefs)");
  }
  if (fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return FailErrno(errno, "fsconfig tracefs");
  }
  Fd mount(fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  if (!mount) {
    return FailErrno(errno, "fsmount tracefs");
  }
  return Tracefs(std::move(mount));
}

Result<int> Tracefs::EventId(const std::string& name) const {
  const std::string path = "events/" + name + "/id";
  Fd file(openat(mount_.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    return FailErrno(errno, "tracepoint " + name);
  }
  char text[32];
  const ssize_t length = read(file.get(), text, sizeof(text));
  int id = 0;
  if (length <= 0 || std::from_chars(text, text + length, id).ec != std::errc()) {
    return Fail(Code::kInternal, "tracepoint " + name + ": its id could not be read");
  }
  return id;
}

Result<Fd> Tracefs::OpenEvent(const std::string& name) const {
  MOAT_ASSIGN(const int id, EventId(name));
  perf_event_attr attr{};
  attr.type = PERF_TYPE_TRACEPOINT;
  attr.size = sizeof(attr);
  attr.config = static_cast<uint64_t>(id);
  Fd event(static_cast<int>(syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event) {
    return FailErrno(errno, "perf_event_open " + name + " (needs CAP_PERFMON)");
  }
  return event;
}

}  // namespace moat::probe
