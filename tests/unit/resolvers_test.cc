// SPDX-License-Identifier: Apache-2.0
#include "agent/app/resolvers.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

namespace moat::app {
namespace {

TEST(Resolvers, OfTheConfigurationAndOfResolvConf) {
  const std::string path = testing::TempDir() + "resolv.conf";
  std::ofstream(path)
      << "# nameserver 1.1.1.1\nsearch x\nnameserver 127.0.0.53\nnameserver\t192.0.2.53\nnameserver fe80::1%eth0\n"
         "nameserver nonsense\nnameserver\nnameserver 10.96.0.10\noptions ndots:5\nnameserver ::1";
  const std::vector<policy::Resolver> found = FindResolvers({"10.96.0.10", "2001:db8::53"}, path);
  std::remove(path.c_str());
  ASSERT_EQ(found.size(), 6u);
  EXPECT_EQ(found[0], (policy::Resolver{.address = {10, 96, 0, 10}, .v6 = false, .local = false}));
  EXPECT_TRUE(found[1].v6);
  EXPECT_EQ(found[2], (policy::Resolver{.address = {127, 0, 0, 53}, .v6 = false, .local = true}));
  EXPECT_EQ(found[3], (policy::Resolver{.address = {192, 0, 2, 53}, .v6 = false, .local = false}));
  EXPECT_EQ(found[4].address[0], 0xfe);
  EXPECT_TRUE(found[5].v6 && found[5].local);
}

TEST(Resolvers, WithoutAFileOnlyThoseOfTheConfiguration) {
  EXPECT_EQ(FindResolvers({"10.0.0.1"}, "/nonexistent").size(), 1u);
  EXPECT_TRUE(FindResolvers({}, "/nonexistent").empty());
  EXPECT_EQ(FindResolvers(std::vector<std::string>(100, "10.0.0.1"), "/nonexistent").size(), 1u);
}

}  // namespace
}  // namespace moat::app
