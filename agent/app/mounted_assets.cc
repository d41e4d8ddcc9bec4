// SPDX-License-Identifier: Apache-2.0
#include "agent/app/mounted_assets.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

#include "agent/base/worker.h"

namespace moat::app {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// A pod that starts mounts a dozen volumes within a moment.
constexpr milliseconds kSettle{200};
constexpr int kTries = 3;  // somebody may give the assets anew, who has looked before the mount came
constexpr int kRestTimes = 20;  // looking takes a twentieth of the time at most
constexpr milliseconds kLongestRest{60'000};

class MountedAssetsImpl final : public MountedAssets {
 public:
  MountedAssetsImpl(MountWatch watch, Fd wake, probe::Probe& probe, std::function<void()> found)
      : watch_(std::move(watch)), wake_(std::move(wake)), probe_(probe), found_(std::move(found)) {
    worker_ = Worker("mounts", [this](const std::stop_token& stop) { Run(stop); });
  }
  ~MountedAssetsImpl() override {
    worker_.RequestStop();
    const uint64_t one = 1;
    (void)!::write(wake_.get(), &one, sizeof one);
    worker_.Stop();
  }

 private:
  void Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::array<pollfd, 2> fds{
          {{.fd = wake_.get(), .events = POLLIN, .revents = 0}, {.fd = watch_.fd(), .events = POLLPRI, .revents = 0}}};
      if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
        spdlog::error("mounts are not watched any more: {}", FailErrno(errno, "poll").error().message);
        return;
      }
      if (fds[1].revents == 0) {
        continue;
      }
      Rest(kSettle);
      if (stop.stop_requested() || !watch_.Take(probe_.AssetPaths())) {
        continue;
      }
      const auto began = Clock::now();
      bool found = false;
      for (int i = 0; i < kTries && !found && !stop.stop_requested(); ++i) {
        found = probe_.FindAssetsAgain();
      }
      if (found) {
        Tell();
        found_();
      }
      Rest(std::min(kLongestRest, std::chrono::duration_cast<milliseconds>(Clock::now() - began) * kRestTimes));
    }
  }

  // Until it is over, or somebody wants to end this.
  void Rest(milliseconds time) const {
    pollfd wake{.fd = wake_.get(), .events = POLLIN, .revents = 0};
    (void)::poll(&wake, 1, static_cast<int>(time.count()));
  }

  void Tell() const {
    const std::vector<probe::ResolvedAsset> assets = probe_.Assets();
    size_t files = 0;
    for (const probe::ResolvedAsset& asset : assets) {
      files += asset.files.size();
    }
    spdlog::info("a mount at an asset's path came or went: {} assets have {} files and directories now", assets.size(), files);
  }

  MountWatch watch_;
  const Fd wake_;
  probe::Probe& probe_;
  const std::function<void()> found_;
  Worker worker_;  // last
};

}  // namespace

Result<std::unique_ptr<MountedAssets>> MountedAssets::Start(MountWatch watch, probe::Probe& probe, std::function<void()> found) {
  Fd wake(::eventfd(0, EFD_CLOEXEC));
  if (!wake) {
    return FailErrno(errno, "eventfd");
  }
  return std::make_unique<MountedAssetsImpl>(std::move(watch), std::move(wake), probe, std::move(found));
}

}  // namespace moat::app
