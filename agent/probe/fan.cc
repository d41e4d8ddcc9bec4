// SPDX-License-Identifier: Apache-2.0
#include "agent/probe/fan.h"

#include <fcntl.h>
#include <linux/fanotify.h>
#include <sys/fanotify.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace moat::probe {
namespace {

FileHandle MakeHandle(const void* fsid, int32_t type, std::string_view bytes) {
  FileHandle out(static_cast<const char*>(fsid), 8);
  out.append(reinterpret_cast<const char*>(&type), sizeof(type));
  out.append(bytes);
  return out;
}

// One info record after its header: fsid, handle, and with DFID_NAME kinds a name.
bool ParseFid(std::string_view body, FileHandle& handle, std::string& name) {
  struct Fixed {
    char fsid[8];
    uint32_t bytes;
    int32_t type;
  } fixed;
  if (body.size() < sizeof(fixed)) {
    return false;
  }
  std::memcpy(&fixed, body.data(), sizeof(fixed));
  body.remove_prefix(sizeof(fixed));
  if (fixed.bytes > body.size()) {
    return false;
  }
  handle = fixed.bytes == 0 ? FileHandle() : MakeHandle(fixed.fsid, fixed.type, body.substr(0, fixed.bytes));
  body.remove_prefix(fixed.bytes);
  name = body.substr(0, body.find('\0'));
  return true;
}

bool ParseOne(std::string_view infos, FanEvent& event) {
  while (infos.size() >= sizeof(fanotify_event_info_header)) {
    fanotify_event_info_header header;
    std::memcpy(&header, infos.data(), sizeof(header));
    if (header.len < sizeof(header) || header.len > infos.size()) {
      return false;
    }
    const std::string_view body = infos.substr(sizeof(header), header.len - sizeof(header));
    std::string name;
    switch (header.info_type) {
      case FAN_EVENT_INFO_TYPE_FID:
        if (!ParseFid(body, event.target, name)) {
          return false;
        }
        break;
      case FAN_EVENT_INFO_TYPE_DFID_NAME:
      case FAN_EVENT_INFO_TYPE_OLD_DFID_NAME:
        if (!ParseFid(body, event.place.directory, event.place.name)) {
          return false;
        }
        break;
      case FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
        if (!ParseFid(body, event.renamed.directory, event.renamed.name)) {
          return false;
        }
        break;
      default: break;
    }
    infos.remove_prefix(header.len);
  }
  return true;
}

}  // namespace

Result<Fan> Fan::Open() {
  Fd fd(fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC | FAN_UNLIMITED_MARKS | FAN_REPORT_DFID_NAME_TARGET,
                      O_RDONLY | O_CLOEXEC));
  if (!fd) {
    return FailErrno(errno, "fanotify_init (needs CAP_SYS_ADMIN and kernel 5.17)");
  }
  return Fan(std::move(fd));
}

Status Fan::Mark(const std::string& path, uint64_t mask, bool add) const {
  const unsigned flags = (add ? FAN_MARK_ADD : FAN_MARK_REMOVE) | FAN_MARK_DONT_FOLLOW;
  if (fanotify_mark(fd_.get(), flags, mask, AT_FDCWD, path.c_str()) != 0) {
    return FailErrno(errno, "fanotify_mark " + path);
  }
  return {};
}

Result<FileHandle> Fan::HandleOf(const std::string& path) {
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> room{};
  auto* handle = reinterpret_cast<file_handle*>(room.data());
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  struct statfs fs{};
  if (name_to_handle_at(AT_FDCWD, path.c_str(), handle, &mount, 0) != 0 || statfs(path.c_str(), &fs) != 0) {
    return FailErrno(errno, "file handle of " + path);
  }
  const auto* bytes = reinterpret_cast<const char*>(handle->f_handle);
  return MakeHandle(&fs.f_fsid, handle->handle_type, {bytes, handle->handle_bytes});
}

Result<Fd> Fan::OpenHandle(const FileHandle& handle, const std::string& near) {
  constexpr size_t kPrefix = 8 + sizeof(int32_t);  // fsid, type
  alignas(file_handle) std::array<char, sizeof(file_handle) + MAX_HANDLE_SZ> room{};
  auto* raw = reinterpret_cast<file_handle*>(room.data());
  if (handle.size() < kPrefix || handle.size() - kPrefix > MAX_HANDLE_SZ) {
    return Fail(Code::kInvalidArgument, "not a file handle");
  }
  raw->handle_bytes = static_cast<unsigned>(handle.size() - kPrefix);
  std::memcpy(&raw->handle_type, handle.data() + 8, sizeof(raw->handle_type));
  std::memcpy(raw->f_handle, handle.data() + kPrefix, raw->handle_bytes);
  Fd mount(open(near.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Fd file(mount ? open_by_handle_at(mount.get(), raw, O_PATH | O_CLOEXEC) : -1);
  if (!file) {
    return FailErrno(errno == ESTALE ? ENOENT : errno, "open by handle near " + near);
  }
  return file;
}

bool ParseFanEvents(std::string_view bytes, std::vector<FanEvent>& events, bool& overflow) {
  while (bytes.size() >= sizeof(fanotify_event_metadata)) {
    fanotify_event_metadata meta;
    std::memcpy(&meta, bytes.data(), sizeof(meta));
    if (meta.event_len < sizeof(meta) || meta.event_len > bytes.size() || meta.metadata_len < sizeof(meta) ||
        meta.metadata_len > meta.event_len || meta.vers != FANOTIFY_METADATA_VERSION) {
      return false;
    }
    if (meta.mask & FAN_Q_OVERFLOW) {
      overflow = true;
    } else {
      FanEvent event;
      event.mask = meta.mask;
      event.pid = meta.pid > 0 ? static_cast<uint32_t>(meta.pid) : 0;
      if (!ParseOne(bytes.substr(meta.metadata_len, meta.event_len - meta.metadata_len), event)) {
        return false;
      }
      events.push_back(std::move(event));
    }
    bytes.remove_prefix(meta.event_len);
  }
  return bytes.empty();
}

bool Fan::Read(std::vector<FanEvent>& events, bool& overflow) const {
  alignas(fanotify_event_metadata) std::array<char, 1 << 16> room;
  const ssize_t length = read(fd_.get(), room.data(), room.size());
  if (length <= 0) {
    return false;
  }
  if (!ParseFanEvents({room.data(), static_cast<size_t>(length)}, events, overflow)) {
    overflow = true;  // what could not be parsed is lost
  }
  return true;
}

}  // namespace moat::probe
