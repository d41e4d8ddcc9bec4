// SPDX-License-Identifier: Apache-2.0
// cuse_gpu FOLDER: the stand-in's devices where its kernel module cannot be built, as processes of user space make devices: CUSE.
// /dev/nvidia0 (195:0), /dev/nvidiactl (195:255) and /dev/nvidia-uvm (a major of the kernel's choice); every open and ioctl
// succeeds and is counted in FOLDER/{opens,ioctls,compat_ioctls,mmaps} before it returns. mmap is refused by the kernel (ENODEV).
// Speaks the protocol of /dev/cuse itself, which is fuse's with another greeting: requests are read, answers written, one each.
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Device {
  const char* name;
  uint32_t major, minor;  // major 0: any
  int fd;
};

struct Counter {
  std::string file;
  uint64_t value = 0;

  void Add(uint64_t n) {
    value += n;
    const std::string text = std::to_string(value) + "\n";
    const int fd = open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
      std::perror(file.c_str());
      _exit(1);
    }
    close(fd);
  }
};

void Answer(const Device& device, uint64_t unique, int error, const void* head, size_t head_size, const void* tail = nullptr,
            size_t tail_size = 0) {
  fuse_out_header out{static_cast<uint32_t>(sizeof(out) + head_size + tail_size), -error, unique};
  const iovec parts[] = {{&out, sizeof(out)}, {const_cast<void*>(head), head_size}, {const_cast<void*>(tail), tail_size}};
  if (writev(device.fd, parts, 3) < 0 && errno != ENOENT) {  // ENOENT: who asked was killed meanwhile
    std::perror(device.name);
    _exit(1);
  }
}

void Greet(const Device& device, uint64_t unique) {
  const std::string info = std::string("DEVNAME=") + device.name;
  cuse_init_out out{};
  out.major = FUSE_KERNEL_VERSION;
  out.minor = FUSE_KERNEL_MINOR_VERSION;
  out.max_read = out.max_write = 65536;
  out.dev_major = device.major;
  out.dev_minor = device.minor;
  Answer(device, unique, 0, &out, sizeof(out), info.c_str(), info.size() + 1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: cuse_gpu FOLDER    (counts opens, ioctls, compat_ioctls and mmaps in files there)\n");
    return 2;
  }
  const std::string folder = std::string(argv[1]) + "/";
  Counter opens{folder + "opens"}, ioctls{folder + "ioctls"}, compat_ioctls{folder + "compat_ioctls"}, mmaps{folder + "mmaps"};
  for (Counter* counter : {&opens, &ioctls, &compat_ioctls, &mmaps}) {
    counter->Add(0);
  }
  Device devices[] = {{"nvidia0", 195, 0, -1}, {"nvidiactl", 195, 255, -1}, {"nvidia-uvm", 0, 0, -1}};
  pollfd polled[3]{};
  for (size_t i = 0; i < 3; ++i) {
    devices[i].fd = open("/dev/cuse", O_RDWR | O_CLOEXEC);
    if (devices[i].fd < 0) {
      std::perror("/dev/cuse (is the module cuse loaded?)");
      return 1;
    }
    polled[i] = {devices[i].fd, POLLIN, 0};
  }
  std::vector<char> buffer(1 << 20);
  for (;;) {
    if (poll(polled, 3, -1) < 0) {
      continue;
    }
    for (size_t i = 0; i < 3; ++i) {
      const Device& device = devices[i];
      if ((polled[i].revents & POLLIN) == 0) {
        continue;
      }
      const ssize_t got = read(device.fd, buffer.data(), buffer.size());
      if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) {
        continue;  // the request was taken back
      }
      fuse_in_header in{};
      std::memcpy(&in, buffer.data(), sizeof(in));
      switch (in.opcode) {
        case CUSE_INIT: Greet(device, in.unique); break;
        case FUSE_OPEN: {
          opens.Add(1);
          const fuse_open_out out{};
          Answer(device, in.unique, 0, &out, sizeof(out));
          break;
        }
        case FUSE_IOCTL: {
          // The kernel has copied what the command's direction and size say; back goes the same, with a status word of 0 at its end:
          // nothing where nothing came. Number 211 carries another call, whose parameters are out of reach here, and the wrapper is not
          // written to.
          fuse_ioctl_in ask{};
          std::memcpy(&ask, buffer.data() + sizeof(in), sizeof(ask));
          ((ask.flags & FUSE_IOCTL_COMPAT) != 0 ? compat_ioctls : ioctls).Add(1);
          std::vector<char> data(std::min(ask.in_size, ask.out_size));
          std::memcpy(data.data(), buffer.data() + sizeof(in) + sizeof(ask), data.size());
          if (data.size() >= 4 && _IOC_NR(ask.cmd) != 211) {
            std::memset(data.data() + data.size() - 4, 0, 4);
          }
          const fuse_ioctl_out out{};
          Answer(device, in.unique, 0, &out, sizeof(out), data.data(), data.size());
          break;
        }
        case FUSE_RELEASE:
        case FUSE_FLUSH: Answer(device, in.unique, 0, nullptr, 0); break;
        case FUSE_INTERRUPT:  // has no answer
        case FUSE_FORGET: break;
        default: Answer(device, in.unique, ENOSYS, nullptr, 0);
      }
    }
  }
}
