// SPDX-License-Identifier: Apache-2.0
#include "agent/event/event.h"

#include <gtest/gtest.h>

#include <set>

namespace moat::event {
namespace {

TEST(Event, KindsHaveNamesBothWays) {
  constexpr std::pair<Kind, const char*> kAll[] = {{Kind::kFork, "fork"},
                                                   {Kind::kExec, "exec"},
                                                   {Kind::kExit, "exit"},
                                                   {Kind::kScan, "scan"},
                                                   {Kind::kProcessAccess, "process_access"},
                                                   {Kind::kPrivilege, "privilege"},
                                                   {Kind::kLogin, "login"},
                                                   {Kind::kFileOpen, "file_open"},
                                                   {Kind::kFileMap, "file_map"},
                                                   {Kind::kFileTamper, "file_tamper"},
                                                   {Kind::kFileIo, "file_io"},
                                                   {Kind::kGpuOpen, "gpu_open"},
                                                   {Kind::kGpuIoctl, "gpu_ioctl"},
                                                   {Kind::kGpuMap, "gpu_map"},
                                                   {Kind::kNetConnect, "net_connect"},
                                                   {Kind::kNetSend, "net_send"},
                                                   {Kind::kNetListen, "net_listen"},
                                                   {Kind::kNetAccept, "net_accept"},
                                                   {Kind::kNetClose, "net_close"},
                                                   {Kind::kNetFlow, "net_flow"},
                                                   {Kind::kNetDns, "net_dns"},
                                                   {Kind::kFinding, "finding"},
                                                   {Kind::kGap, "gap"},
                                                   {Kind::kVerdict, "verdict"}};
  std::set<std::string> names;
  for (auto [kind, name] : kAll) {
    EXPECT_STREQ(KindName(kind), name);
    EXPECT_EQ(KindFromName(name), kind);
    names.insert(name);
  }
  EXPECT_EQ(names.size(), 24u);
  // No other number has a name.
  for (int i = 0; i < 256; ++i) {
    auto kind = static_cast<Kind>(i);
    if (!names.contains(KindName(kind))) {
      EXPECT_STREQ(KindName(kind), "unknown");
    } else {
      EXPECT_EQ(KindFromName(KindName(kind)), kind);
    }
  }
  EXPECT_EQ(KindFromName("unknown"), Kind::kNone);
  EXPECT_EQ(KindFromName(""), Kind::kNone);
  EXPECT_EQ(KindFromName("Exec"), Kind::kNone);
}

TEST(Event, TamperOps) {
  EXPECT_STREQ(TamperOpName(TamperOp::kWrite), "write");
  EXPECT_STREQ(TamperOpName(TamperOp::kTruncate), "truncate");
  EXPECT_STREQ(TamperOpName(TamperOp::kRename), "rename");
  EXPECT_STREQ(TamperOpName(TamperOp::kUnlink), "unlink");
  EXPECT_STREQ(TamperOpName(TamperOp::kLink), "link");
  EXPECT_STREQ(TamperOpName(TamperOp::kMapWrite), "map_write");
  EXPECT_STREQ(TamperOpName(TamperOp::kReplace), "replace");
  EXPECT_STREQ(TamperOpName(static_cast<TamperOp>(8)), "unknown");
}

TEST(Event, GpuClassesHaveNamesBothWays) {
  constexpr const char* kNames[] = {"none", "nvidia", "nvidia-uvm", "nvidia-caps", "nvidia-switch", "nvidia-fs", "gdrdrv",
                                    "drm",  "accel",  "kfd",        "neuron",      "habanalabs",    "other",     "vfio"};
  for (size_t i = 0; i < std::size(kNames); ++i) {
    EXPECT_STREQ(GpuClassName(static_cast<GpuClass>(i)), kNames[i]);
    EXPECT_EQ(GpuClassFromName(kNames[i]), static_cast<GpuClass>(i));
  }
  EXPECT_STREQ(GpuClassName(static_cast<GpuClass>(14)), "unknown");
  EXPECT_EQ(GpuClassFromName("radeon"), GpuClass::kNone);
}

TEST(Event, Addresses) {
  EXPECT_EQ(AddressToString({.bytes = {10, 0, 0, 1}, .port = 443}, false), "10.0.0.1:443");
  EXPECT_EQ(AddressToString({}, false), "0.0.0.0:0");
  EXPECT_EQ(AddressToString({.bytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, .port = 65535}, true), "[::1]:65535");
  EXPECT_EQ(AddressToString({.bytes = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff}, .port = 1}, true),
            "[2001:db8::ff]:1");
}

}  // namespace
}  // namespace moat::event
