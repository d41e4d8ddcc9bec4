// SPDX-License-Identifier: Apache-2.0
// Who may call what, and how often.
#include "agent/api/roles.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <set>

#include "agent/api/limit.h"
#include "grpc/health/v1/health.pb.h"
#include "moat/v1/services.pb.h"

namespace moat::api {
namespace {

std::set<std::string> Methods(const google::protobuf::FileDescriptor* file) {
  std::set<std::string> paths;
  for (int i = 0; i < file->service_count(); ++i) {
    for (int j = 0; j < file->service(i)->method_count(); ++j) {
      paths.insert("/" + file->service(i)->full_name() + "/" + file->service(i)->method(j)->name());
    }
  }
  return paths;
}

TEST(Roles, EveryMethodHasOneAndEveryRowItsMethod) {
  std::set<std::string> served = Methods(v1::WatchRequest::descriptor()->file());
  ASSERT_GE(served.size(), 15u);
  served.merge(Methods(grpc::health::v1::HealthCheckRequest::descriptor()->file()));
  served.insert("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");  // its descriptors are in gRPC's own library
  std::set<std::string> rows;
  for (const MethodRole& row : MethodRoles()) {
    EXPECT_TRUE(rows.insert(std::string(row.path)).second) << row.path << " stands twice";
  }
  EXPECT_EQ(rows, served);
}

TEST(Roles, WhatChangesPoliciesIsForAdminsAlone) {
  std::set<std::string> admin;
  for (const MethodRole& row : MethodRoles()) {
    if (row.role == Role::kPolicyAdmin) {
      admin.insert(std::string(row.path));
    }
  }
  EXPECT_THAT(admin, testing::ElementsAre("/moat.v1.Policies/Apply", "/moat.v1.Policies/Clear", "/moat.v1.Policies/Delete",
                                          "/moat.v1.Policies/Rollback"));
  EXPECT_EQ(FindMethod("/moat.v1.Policies/Nothing"), nullptr);
  EXPECT_EQ(FindMethod(""), nullptr);
}

std::optional<Identity> Of(const Bindings& bindings, Names names) { return bindings.Find(names); }

TEST(Bindings, AreOfTheirKindExactOrBelowAPath) {
  const Bindings bindings({{"spiffe://cluster/ns/moat/*", "viewer"},
                           {"spiffe://cluster/ns/moat/sa/admin", "policy-admin"},
                           {"SOC.example", "viewer"},
                           {"ops@example", "policy-admin"}});
  const auto uri = [&](const char* name) { return Of(bindings, {.uris = {name}, .dns = {}, .emails = {}}); };
  EXPECT_EQ(uri("spiffe://cluster/ns/moat/sa/console"), (Identity{"spiffe://cluster/ns/moat/sa/console", Role::kViewer}));
  EXPECT_EQ(uri("spiffe://cluster/ns/moat/sa/admin")->role, Role::kPolicyAdmin) << "the most of all that fit";
  for (const char* other : {"spiffe://cluster/ns/moat/", "spiffe://cluster/ns/moat", "spiffe://cluster/ns/moats/x",
                            "spiffe://cluster/ns/moat/../kube/x", "spiffe://cluster/ns/moat/%2e%2e/x",
                            "spiffe://cluster/ns/moat//x", "spiffe://cluster/ns/moat/x/", "spiffe://cluster/ns/moat/x?a",
                            "spiffe://cluster/ns/moat/x#a", "spiffe://cluster/ns/moat/*", "Spiffe://cluster/ns/moat/x",
                            "spiffe://cluster.evil/ns/moat/x", "soc.example", "ops@example", ""}) {
    EXPECT_FALSE(uri(other)) << other;
  }
  EXPECT_EQ(Of(bindings, {.uris = {}, .dns = {"soc.EXAMPLE"}, .emails = {}})->role, Role::kViewer);
  EXPECT_FALSE(Of(bindings, {.uris = {}, .dns = {"ops@example", "x.soc.example", "spiffe://cluster/ns/moat/x"}, .emails = {}}));
  EXPECT_EQ(Of(bindings, {.uris = {}, .dns = {"soc.example"}, .emails = {"ops@example"}}),
            (Identity{"ops@example", Role::kPolicyAdmin}));
  EXPECT_FALSE(Of(bindings, {.uris = {}, .dns = {}, .emails = {"soc.example"}}));
  EXPECT_FALSE(Of(bindings, {}));
  EXPECT_FALSE(Of(Bindings(), {.uris = {"spiffe://cluster/ns/moat/x"}, .dns = {}, .emails = {}})) << "no binding, nobody";
}

constexpr uint64_t kSecond = 1'000'000'000;

TEST(TokenBucket, GivesTheBurstAndThenTheRate) {
  const config::Rate rate{10, 3};
  TokenBucket bucket;
  uint64_t now = 5 * kSecond;
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(bucket.Take(rate, now));
  }
  EXPECT_FALSE(bucket.Take(rate, now));
  EXPECT_FALSE(bucket.Take(rate, now + kSecond / 10 - 1));
  EXPECT_TRUE(bucket.Take(rate, now + kSecond / 10));
  EXPECT_FALSE(bucket.Take(rate, now + kSecond / 10));
  EXPECT_FALSE(bucket.Take(rate, now)) << "a clock that goes back gives nothing";
  now += 3600 * kSecond;
  EXPECT_TRUE(bucket.Full(rate, now));
  int taken = 0;
  while (bucket.Take(rate, now)) {
    ++taken;
  }
  EXPECT_EQ(taken, 3) << "what is not used is not saved beyond the burst";
}

TEST(TokenBucket, ExactOverALongTime) {
  const config::Rate rate{7, 1};
  TokenBucket bucket;
  int taken = 0;
  for (uint64_t now = kSecond; now <= 101 * kSecond; now += 1'000'000) {
    taken += bucket.Take(rate, now) ? 1 : 0;
  }
  EXPECT_NEAR(taken, 700, 10);
  TokenBucket far;
  const config::Rate most{1'000'000, 1'000'000};
  EXPECT_TRUE(far.Take(most, 1));
  EXPECT_TRUE(far.Take(most, UINT64_MAX)) << "no overflow";
}

TEST(Limiter, KeysHaveBucketsOfTheirOwnAndAreBounded) {
  Limiter limiter({1, 1}, 2);
  EXPECT_TRUE(limiter.Take("a", kSecond));
  EXPECT_FALSE(limiter.Take("a", kSecond));
  EXPECT_TRUE(limiter.Take("b", kSecond));
  EXPECT_FALSE(limiter.Take("c", kSecond)) << "no room, and nobody to forget";
  EXPECT_TRUE(limiter.Take("c", 3 * kSecond)) << "the others are full again, and forgotten";
  limiter.SetRate({1, 2});
  EXPECT_TRUE(limiter.Take("c", 3 * kSecond));
}

}  // namespace
}  // namespace moat::api
