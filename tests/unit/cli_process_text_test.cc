// SPDX-License-Identifier: Apache-2.0
// How moatctl shows what processes do to each other and to the world they live in, and who comes in.
#include <gtest/gtest.h>
#include <sched.h>

#include <nlohmann/json.hpp>
#include <string>

#include "agent/cli/json.h"
#include "agent/cli/process_text.h"

namespace moat::cli {
namespace {

template <typename Fields, typename Body>
nlohmann::json ToJson(const Fields& fields, const Body& body) {
  std::string text;
  Json json(text);
  json.Open('{');
  fields(json, body);
  json.Close('}');
  return nlohmann::json::parse(text);
}

TEST(CliProcessText, Access) {
  v1::ProcessAccess access;
  access.set_op(v1::ACCESS_OP_ATTACH);
  access.set_target_pid(4711);
  access.set_target_comm("vllm\x1b[2J");
  EXPECT_EQ(AccessText(access).find('\x1b'), std::string::npos);
  access.set_target_comm("vllm");
  EXPECT_EQ(AccessText(access), "attach process 4711 (vllm) = 0");
  access.set_op(v1::ACCESS_OP_VM_WRITE);
  access.set_result(-1);
  access.set_count(4);
  access.add_target_labels("mistral");
  EXPECT_EQ(AccessText(access), "vm_write process 4711 (vllm) = EPERM, 4 times, which holds mistral");
  const auto json = ToJson(JsonAccess, access);
  EXPECT_EQ(json["op"], "vm_write");
  EXPECT_EQ(json["result"], -1);
  EXPECT_EQ(json["target_pid"], 4711);
  EXPECT_EQ(json["target_labels"][0], "mistral");
}

TEST(CliProcessText, Privilege) {
  v1::Privilege privilege;
  privilege.set_op(v1::PRIVILEGE_OP_UNSHARE);
  privilege.set_flags(CLONE_NEWUSER | CLONE_NEWNS);
  EXPECT_EQ(PrivilegeText(privilege), "unshare user,mount = 0");
  EXPECT_EQ(ToJson(JsonPrivilege, privilege)["namespaces"], "user,mount");
  privilege.set_op(v1::PRIVILEGE_OP_SETNS);
  privilege.set_flags(0);
  privilege.set_inode(4026531841);
  privilege.set_result(-1);
  EXPECT_EQ(PrivilegeText(privilege), "setns [4026531841] = EPERM");
  privilege.Clear();
  privilege.set_op(v1::PRIVILEGE_OP_MOUNT);
  privilege.set_source("/dev/sda");
  privilege.set_target("/mnt");
  privilege.set_fs_type("ext4");
  privilege.set_flags(1);
  EXPECT_EQ(PrivilegeText(privilege), "mount ext4 /dev/sda on /mnt flags 0x1 = 0");
  privilege.Clear();
  privilege.set_op(v1::PRIVILEGE_OP_FINIT_MODULE);
  privilege.set_target("rootkit.ko");
  EXPECT_EQ(PrivilegeText(privilege), "finit_module rootkit.ko = 0");
}

TEST(CliProcessText, Login) {
  v1::Login login;
  login.set_step(v1::LOGIN_STEP_AUTHENTICATE);
  login.set_service("sshd");
  login.set_user("root");
  login.set_remote("203.0.113.9");
  login.set_terminal("ssh");
  login.set_result(7);
  login.set_result_name("auth_err");
  EXPECT_EQ(LoginText(login), "sshd authenticate root from 203.0.113.9 on ssh: auth_err");
  login.set_by("eve");
  login.set_result(99);
  login.set_result_name("other");
  EXPECT_EQ(LoginText(login), "sshd authenticate root by eve from 203.0.113.9 on ssh: PAM result 99");
  EXPECT_EQ(ToJson(JsonLogin, login)["step"], "authenticate");
}

}  // namespace
}  // namespace moat::cli
