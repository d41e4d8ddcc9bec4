// SPDX-License-Identifier: Apache-2.0
#include "agent/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "agent/config/yaml.h"
#include "agent/event/event.h"

namespace moat::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ConfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "moat-config-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = dir_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  Loaded LoadText(const std::string& text) { return Load(Write("moatd.yaml", text)); }
  // The problems without the directory, "moatd.yaml:1:2: message".
  std::vector<std::string> ProblemsOf(const Loaded& loaded) {
    std::vector<std::string> out;
    for (const Problem& problem : loaded.problems) {
      std::string text = ToString(problem);
      for (size_t at; (at = text.find(dir_ + "/")) != std::string::npos;) {
        text.erase(at, dir_.size() + 1);
      }
      out.push_back(text);
    }
    return out;
  }
  std::vector<std::string> ProblemsIn(const std::string& text) { return ProblemsOf(LoadText(text)); }

  std::string dir_;
};

constexpr const char* kShipped = MOAT_SOURCE_DIR "/deploy/config/moatd.yaml";

TEST_F(ConfigTest, ShippedFileSaysTheDefaults) {
  const Loaded loaded = Load(kShipped);
  EXPECT_THAT(ProblemsOf(loaded), IsEmpty());
  EXPECT_EQ(loaded.config, Config{});
}

TEST_F(ConfigTest, ShippedFileHasEverySetting) {
  std::vector<Problem> problems;
  const std::vector<Node> documents = ParseYaml(ReadFile(kShipped, problems), kShipped, problems);
  ASSERT_EQ(documents.size(), 1u);
  std::set<std::string> written;
  const std::function<void(const Node&, const std::string&)> note = [&](const Node& node, const std::string& section) {
    for (size_t i = 0; node.type == Node::Type::kMap && i < node.items.size(); i += 2) {
      const std::string setting = section + node.items[i].value;
      written.insert(setting);
      note(node.items[i + 1], setting + ".");
    }
  };
  note(documents[0], "");
  const std::vector<std::string> settings = Settings();
  EXPECT_GE(settings.size(), 25u);
  EXPECT_EQ(written, std::set<std::string>(settings.begin(), settings.end()));
}

TEST_F(ConfigTest, EmptyFileIsTheDefaults) {
  const Loaded loaded = LoadText("");
  EXPECT_THAT(ProblemsOf(loaded), IsEmpty());
  EXPECT_EQ(loaded.config, Config{});
}

TEST_F(ConfigTest, ReadsEverySetting) {
  const std::string assets = Write("assets.yaml", R"(apiVersion: moat/v1
kind: Asset
metadata: {name: from-file}
spec:
  class: dataset
  paths: [/data/a, "/data/with space"]
---
apiVersion: moat/v1
kind: Asset
metadata: {name: second}
spec: {paths: [/b]}
)");
  const Loaded loaded = LoadText(R"(scope: /moat.test
domains: {process: false, file: false, gpu: false, net: false}
assets:
  files: [)" + assets + R"(]
  inline:
    - {name: in-place, class: canary, paths: [/c]}
gpu:
  devices: [{path: /dev/null, class: nvidia}, {path: /dev/zero}]
  watch: [{class: nvidia, command: 0x2a}, {command: 3222292010, whole: true}]
api: {socket: /run/x.sock, socket_group: moat, max_subscribers: 3, subscriber_queue_events: 1024, resume_events: 0}
process: {scan: false}
runtimes: {cri: [/run/a.sock], docker: "", slurm: /opt/slurm/bin/scontrol}
backends: {avoid: [lsm, kprobe]}
rings: {urgent: 64KiB, bulk: 8388608}
pipeline: {queue_batches: 8, poll_ms: 1, flush_ms: 2, sums_ms: 100}
log: {level: debug}
metrics: {address: "[::1]:9464"}
)");
  EXPECT_THAT(ProblemsOf(loaded), IsEmpty());
  Config want;
  want.scope = "/moat.test";
  want.process = want.file = want.gpu = want.net = false;
  want.asset_files = {assets};
  want.assets = {
      {"in-place", "canary", {"/c"}}, {"from-file", "dataset", {"/data/a", "/data/with space"}}, {"second", "weights", {"/b"}}};
  want.devices = {{"/dev/null", "nvidia"}, {"/dev/zero", "other"}};
  want.watch = {{"nvidia", 0x2a, false}, {"", 3222292010, true}};
  want.avoid = {"lsm", "kprobe"};
  want.socket = "/run/x.sock";
  want.socket_group = "moat";
  want.max_subscribers = 3;
  want.subscriber_queue_events = 1024;
  want.resume_events = 0;
  want.scan_processes = false;
  want.cri_sockets = {"/run/a.sock"};
  want.docker_socket = "";
  want.scontrol = "/opt/slurm/bin/scontrol";
  want.ring_urgent_bytes = 65536;
  want.ring_bulk_bytes = 8388608;
  want.queue_batches = 8;
  want.poll_ms = 1;
  want.flush_ms = 2;
  want.sums_ms = 100;
  want.log_level = "debug";
  want.metrics_address = "[::1]:9464";
  EXPECT_EQ(loaded.config, want);
}

TEST_F(ConfigTest, AnAddressToListenOn) {
  for (const char* good : {"127.0.0.1:9464", "0.0.0.0:0", "[::]:65535", ""}) {
    const Loaded loaded = LoadText("metrics: {address: \"" + std::string(good) + "\"}\n");
    EXPECT_THAT(ProblemsOf(loaded), IsEmpty());
    EXPECT_EQ(loaded.config.metrics_address, good);
  }
  for (const char* bad : {"9464", "127.0.0.1", ":9464", "localhost:9464", "127.0.0.1:65536", "127.0.0.1:0x10", "127.0.0.1:-1",
                          "::1:9464", "[::1:9464", "[]:1", "127.0.0.1:9464,0.0.0.0:80", "127.0.0.1:9464s", "127.0.0.1:"}) {
    const Loaded loaded = LoadText("metrics: {address: \"" + std::string(bad) + "\"}\n");
    EXPECT_THAT(ProblemsOf(loaded), ElementsAre(HasSubstr("metrics.address must be an address and a port"))) << bad;
    EXPECT_EQ(loaded.config.metrics_address, "") << bad;
  }
}

TEST_F(ConfigTest, TellsAllProblemsInFileOrder) {
  EXPECT_THAT(
      ProblemsIn(R"(scope: kubepods
ap: {}
api:
  soket: /run/x
  max_subscribers: 0
  resume_events: many
rings:
  urgent: 3000KiB
  bulk: 1KiB
domains:
  gpu: yes
pipeline: 7
log: {level: inof}
)"),
      ElementsAre("moatd.yaml:1:8: scope must be an absolute path, not \"kubepods\"",
                  HasSubstr("moatd.yaml:2:1: unknown key \"ap\" (did you mean 'api'?)"),
                  "moatd.yaml:4:3: unknown key \"soket\" in api (did you mean 'socket'?)",
                  "moatd.yaml:5:20: api.max_subscribers must be a number from 1 to 1024, not \"0\"",
                  "moatd.yaml:6:18: api.resume_events must be a number from 0 to 16777216, not \"many\"",
                  "moatd.yaml:8:11: rings.urgent must be a power of two, as 64KiB or 4MiB; \"3000KiB\" is not",
                  HasSubstr("moatd.yaml:9:9: rings.bulk must be a size from 4096 to 1073741824 bytes"),
                  "moatd.yaml:11:8: domains.gpu must be true or false, not \"yes\"",
                  "moatd.yaml:12:11: pipeline must be a mapping (key: value)",
                  HasSubstr("moatd.yaml:13:14: log.level must be one of trace, debug, info, warn, error, off, not \"inof\" "
                            "(did you mean 'info'?)")));
}

TEST_F(ConfigTest, DoorsOfTheApi) {
  const Loaded loaded = LoadText(R"(api:
  tcp:
    address: "[::]:7443"
    certificate: /tls/tls.crt
    key: /tls/tls.key
    client_ca: /tls/ca.crt
    crl: /tls/crl.pem
    max_connections: 9
    handshake_ms: 1000
    max_age_s: 60
    roles:
      - {san: "spiffe://cluster/ns/moat/*", role: viewer}
      - {san: admin.example, role: policy-admin}
    rate: {per_second: 5, burst: 6}
    accept: {per_second: 7, burst: 8}
  health: 127.0.0.1:7444
  audit: {file: /var/log/moat/audit.json, max_bytes: 1MiB, keep: 2}
)");
  EXPECT_THAT(ProblemsOf(loaded), IsEmpty());
  Config want;
  want.tcp = {.address = "[::]:7443",
              .certificate = "/tls/tls.crt",
              .key = "/tls/tls.key",
              .client_ca = "/tls/ca.crt",
              .crl = "/tls/crl.pem",
              .max_connections = 9,
              .handshake_ms = 1000,
              .max_age_s = 60,
              .roles = {{"spiffe://cluster/ns/moat/*", "viewer"}, {"admin.example", "policy-admin"}},
              .rate = {5, 6},
              .accept = {7, 8}};
  want.health_address = "127.0.0.1:7444";
  want.audit = {"/var/log/moat/audit.json", 1 << 20, 2};
  EXPECT_EQ(loaded.config, want);
}

TEST_F(ConfigTest, DoorsOfTheApiThatAreNone) {
  EXPECT_THAT(ProblemsIn("api: {tcp: {address: '0.0.0.0:7443', key: /k}}"),
              ElementsAre(HasSubstr("api.tcp.certificate is missing"), HasSubstr("api.tcp.client_ca is missing")));
  for (const char* address :
       {"7443", "localhost:7443", "0.0.0.0", "0.0.0.0:", "0.0.0.0:65536", "0.0.0.0:http", "::1:7443", "[::1:7443", ":7443"}) {
    EXPECT_THAT(ProblemsIn("api: {health: \"" + std::string(address) + "\"}"),
                ElementsAre(HasSubstr("must be an address and a port")))
        << address;
  }
  for (const char* san :
       {"*", "moat.*", "*.example", "spiffe://*", "spiffe:///*", "spiffe://a/b*", "spiffe://a/*/b", "a b", ""}) {
    EXPECT_THAT(ProblemsIn("api: {tcp: {roles: [{san: \"" + std::string(san) + "\", role: viewer}]}}"),
                ElementsAre(HasSubstr("api.tcp.roles[].san")))
        << san;
  }
  EXPECT_THAT(ProblemsIn("api: {tcp: {roles: [{san: a.example, role: admin}]}}"), ElementsAre(HasSubstr("viewer, policy-admin")));
  EXPECT_THAT(ProblemsIn("api: {tcp: {roles: [{role: viewer}, {san: a.example}]}}"),
              ElementsAre(HasSubstr("\"api.tcp.roles[].san\" is missing"), HasSubstr("\"api.tcp.roles[].role\" is missing")));
}

TEST_F(ConfigTest, RuntimesAreOneOrMoreOrNobody) {
  EXPECT_THAT(LoadText("runtimes: {cri: /run/a.sock}\n").config.cri_sockets, ElementsAre("/run/a.sock"));
  EXPECT_THAT(LoadText("runtimes: {cri: [/run/a.sock, /run/b.sock]}\n").config.cri_sockets,
              ElementsAre("/run/a.sock", "/run/b.sock"));
  for (const char* nobody : {"[]", "\"\""}) {
    EXPECT_THAT(LoadText(std::string("runtimes: {cri: ") + nobody + "}\n").config.cri_sockets, IsEmpty()) << nobody;
  }
  EXPECT_EQ(LoadText("runtimes: {slurm: \"\"}\n").config.scontrol, "");
  EXPECT_EQ(LoadText("runtimes: {cri: auto, docker: auto, slurm: auto}\n").config, Config{});
}

TEST_F(ConfigTest, RuntimesThatNobodyCanAsk) {
  const std::string at_most = "/" + std::string(106, 's');
  EXPECT_THAT(ProblemsIn("runtimes: {cri: [" + at_most + "], docker: " + at_most + "}\n"), IsEmpty());
  EXPECT_THAT(ProblemsIn("runtimes:\n  cri: [run/a.sock, \"\", " + at_most + "s, auto]\n  docker: docker.sock\n  slurm: [x]\n"),
              ElementsAre(HasSubstr("moatd.yaml:2:9: runtimes.cri[] must be an absolute path, not \"run/a.sock\""),
                          HasSubstr("moatd.yaml:2:21: runtimes.cri[] must be a path"),
                          HasSubstr("moatd.yaml:2:25: runtimes.cri[] is longer than a unix socket's path may be"),
                          HasSubstr("runtimes.cri[] must be an absolute path, not \"auto\""),
                          HasSubstr("moatd.yaml:3:11: runtimes.docker must be an absolute path, not \"docker.sock\""),
                          HasSubstr("moatd.yaml:4:10: runtimes.slurm must be a path")));
  EXPECT_THAT(ProblemsIn("runtimes: {cri: {a: b}}\n"), ElementsAre(HasSubstr("moatd.yaml:1:17: runtimes.cri must be a path")));
  EXPECT_THAT(ProblemsIn("runtimes: {docker: " + at_most + "s}\n"),
              ElementsAre(HasSubstr("moatd.yaml:1:20: runtimes.docker is longer than a unix socket's path may be")));
  EXPECT_THAT(ProblemsIn("runtimes: {cri: [/1, /2, /3, /4, /5, /6, /7, /8, /9]}\n"),
              ElementsAre(HasSubstr("moatd.yaml:1:17: runtimes.cri has more than 8 sockets")));
}

TEST_F(ConfigTest, UnknownKeyFarFromAllListsThem) {
  EXPECT_THAT(ProblemsIn("process: {colour: red}\n"),
              ElementsAre("moatd.yaml:1:11: unknown key \"colour\" in process; known keys: scan"));
}

TEST_F(ConfigTest, WrongTypes) {
  EXPECT_THAT(
      ProblemsIn(
          "scope: [a]\nassets: {files: /x, inline: [5]}\napi: {socket: {}, socket_group: [x]}\ngpu: {watch: [{command: 256}, {}]}\n"),
      ElementsAre(HasSubstr("1:8: scope must be \"host\" or a cgroup"), HasSubstr("2:17: assets.files must be a list"),
                  HasSubstr("2:30: assets.inline[] must be a mapping"), HasSubstr("2:30: \"assets.inline[].name\" is missing"),
                  HasSubstr("2:30: an asset needs paths"), HasSubstr("3:15: api.socket must be a path"),
                  HasSubstr("3:33: api.socket_group must be a text"),
                  HasSubstr("4:25: gpu.watch[].command must be a number from 0 to 255"),
                  HasSubstr("4:31: \"gpu.watch[].command\" is missing")));
}

TEST_F(ConfigTest, BadPaths) {
  EXPECT_THAT(ProblemsIn(R"(assets:
  files: [a.yaml, /missing/assets.yaml]
  inline:
    - {name: a, paths: [models, /x/../y, "/x\x01", ""]}
)"),
              ElementsAre(HasSubstr("moatd.yaml:2:11: assets.files[] must be an absolute path, not \"a.yaml\""),
                          HasSubstr("moatd.yaml:4:7: an asset needs paths"),
                          HasSubstr("moatd.yaml:4:25: a path of an asset must be an absolute path, not \"models\""),
                          HasSubstr("moatd.yaml:4:33: a path of an asset must not contain \".\" or \"..\""),
                          HasSubstr("moatd.yaml:4:42: a path of an asset is too long for a path or has control characters"),
                          HasSubstr("moatd.yaml:4:52: a path of an asset must be a path"),
                          "/missing/assets.yaml: cannot be read: No such file or directory"));
}

TEST_F(ConfigTest, AssetDocuments) {
  const std::string file = Write("assets.yaml", R"(apiVersion: moat/v1
kind: Policy
metadata: {name: p}
spec: {}
---
apiVersion: moat/v2
kind: Asset
metadata: {name: Bad_Name}
spec: {clas: weights, paths: []}
---
kind: Asset
spec: {class: weight, paths: [/x]}
---
apiVersion: moat/v1
kind: Asset
metadata: {name: twice}
spec: {paths: [/x]}
---
apiVersion: moat/v1
kind: Asset
metadata: {name: twice}
spec: {paths: [/y]}
)");
  EXPECT_THAT(
      ProblemsIn("assets: {files: [" + file + "]}\n"),
      ElementsAre(
          "assets.yaml:2:7: a Policy is nothing to protect: assets.files are of kind Asset; moatd --check-policy reads both",
          "assets.yaml:6:13: apiVersion must be moat/v1", HasSubstr("assets.yaml:8:18: metadata.name must be 1 to 63 of a-z"),
          "assets.yaml:9:7: spec needs paths: [/file/or/directory, ...]",
          "assets.yaml:9:8: unknown key \"clas\" in spec (did you mean 'class'?)",
          HasSubstr("assets.yaml:11:1: \"apiVersion\" is missing"), "assets.yaml:11:1: \"metadata\" is missing",
          HasSubstr(
              "assets.yaml:12:15: spec.class must be one of weights, dataset, adapter, secret, canary, not \"weight\" (did you mean 'weights'?)"),
          "assets.yaml:19:1: asset \"twice\" is already defined at assets.yaml:14"));
}

TEST_F(ConfigTest, DirectoryOfAssetFilesInOrderOfNames) {
  std::filesystem::create_directory(dir_ + "/assets");
  const auto document = [](const std::string& name) {
    return "apiVersion: moat/v1\nkind: Asset\nmetadata: {name: " + name + "}\nspec: {paths: [/x]}\n";
  };
  Write("assets/b.yaml", document("b"));
  Write("assets/a.yml", document("a"));
  Write("assets/notes.txt", "not yaml: [");
  const Loaded loaded = LoadText("assets: {files: [" + dir_ + "/assets]}\n");
  EXPECT_THAT(ProblemsOf(loaded), IsEmpty());
  ASSERT_EQ(loaded.config.assets.size(), 2u);
  EXPECT_EQ(loaded.config.assets[0].name, "a");
  EXPECT_EQ(loaded.config.assets[1].name, "b");
}

TEST_F(ConfigTest, SixtyFourAssetsAndNotOneMore) {
  std::string text = "assets:\n  inline:\n";
  for (int i = 0; i < 64; ++i) {
    text += "    - {name: a" + std::to_string(i) + ", paths: [/x]}\n";
  }
  EXPECT_THAT(ProblemsIn(text), IsEmpty());
  EXPECT_THAT(ProblemsIn(text + "    - {name: more, paths: [/x]}\n"),
              ElementsAre(HasSubstr("moatd.yaml:67:7: asset \"more\" is one too many: at most 64 assets")));
}

// yaml-cpp hands out empty documents for ever here: it took 24 GiB and a minute to say so.
TEST_F(ConfigTest, TextThatIsNoDocumentEnds) {
  EXPECT_THAT(ProblemsIn(", a\n"), ElementsAre(HasSubstr("moatd.yaml:1:1: no document can begin here")));
}

TEST_F(ConfigTest, DuplicateKeyAliasAndAnchor) {
  EXPECT_THAT(ProblemsIn("scope: host\nscope: host\n"), ElementsAre("moatd.yaml:2:1: \"scope\" is given twice"));
  EXPECT_THAT(ProblemsIn("assets:\n  files: &a []\n  inline: *a\n"),
              ElementsAre(HasSubstr("moatd.yaml:2:10: an anchor"), HasSubstr("moatd.yaml:3:11: an alias")));
  EXPECT_THAT(ProblemsIn("? [a]\n: 1\n"), ElementsAre("moatd.yaml:1:3: a key must be a plain word"));
}

TEST_F(ConfigTest, SeveralDocumentsAreRefused) {
  EXPECT_THAT(ProblemsIn("scope: host\n---\nscope: host\n"),
              ElementsAre(HasSubstr("moatd.yaml:3:1: moatd.yaml is one document")));
}

TEST_F(ConfigTest, SyntaxErrorHasItsPlace) {
  EXPECT_THAT(ProblemsIn("scope: host\napi: [\n"), ElementsAre(HasSubstr("moatd.yaml:3:1: ")));
}

TEST_F(ConfigTest, MissingAndOddFiles) {
  EXPECT_THAT(ProblemsOf(Load(dir_ + "/none.yaml")), ElementsAre("none.yaml: cannot be read: No such file or directory"));
  EXPECT_THAT(ProblemsOf(Load(dir_)), ElementsAre(HasSubstr("is not a regular file")));
  EXPECT_THAT(ProblemsOf(Load("/dev/zero")), ElementsAre("/dev/zero: is not a regular file"));
  EXPECT_THAT(ProblemsIn("scope: host # " + std::string(kMaxFileBytes, 'x')),
              ElementsAre("moatd.yaml: is larger than 1048576 bytes"));
  EXPECT_THAT(ProblemsIn("scope: host # " + std::string(kMaxFileBytes - 14, 'x')), IsEmpty());
}

TEST_F(ConfigTest, HostileYamlIsRefusedQuickly) {
  std::string bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 30; ++i) {
    std::string n = std::to_string(i), last = "*a" + std::to_string(i - 1);
    bomb += "a" + n + ": &a" + n + " [" + last + "," + last + "," + last + "," + last + "," + last + "," + last + "]\n";
  }
  const size_t big = 200'000;
  const auto repeat = [](const std::string& unit, size_t n) {
    std::string out;
    while (out.size() < n) {
      out += unit;
    }
    return out;
  };
  const std::string texts[] = {bomb,
                               repeat("[", big),
                               repeat("{a: ", big),
                               repeat("- ", big),
                               repeat("? ", big),
                               repeat("a: &b ", big),
                               repeat("!", big),
                               repeat("\"", big - 1),
                               repeat("---\n", big),
                               std::string(big, '\0'),
                               "\xff\xfe" + repeat("x", big),
                               "%YAML 9.9\n---\na: b\n",
                               "scope: \"\\xZZ\"\n",
                               "a: !!binary \"@@@@\"\n"};
  for (const std::string& text : texts) {
    const auto before = std::chrono::steady_clock::now();
    EXPECT_THAT(ProblemsIn(text), ::testing::Not(IsEmpty())) << text.substr(0, 40);
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10)) << text.substr(0, 40);
  }
}

TEST_F(ConfigTest, DeviceClassesAreThoseOfTheEvents) {
  for (int i = 1; i < static_cast<int>(event::GpuClass::kCount); ++i) {
    const std::string name = event::GpuClassName(static_cast<event::GpuClass>(i));
    EXPECT_THAT(ProblemsIn("gpu: {devices: [{path: /dev/x, class: " + name + "}]}\n"), IsEmpty()) << name;
  }
  EXPECT_THAT(ProblemsIn("gpu: {devices: [{path: /dev/x, class: none}]}\n"), ElementsAre(HasSubstr("must be one of nvidia, ")));
}

TEST(ConfigProblem, IsReadBackFromItsText) {
  for (const Problem& problem : {Problem{"/etc/a.yaml", 3, 12, "x: 7:8: y"}, Problem{"/a:b:1/c", 1, 1, ""}}) {
    const Problem read = FromString(ToString(problem));
    EXPECT_EQ(read.file, problem.file);
    EXPECT_EQ(read.line, problem.line);
    EXPECT_EQ(read.column, problem.column);
    EXPECT_EQ(read.message, problem.message);
  }
  for (const char* text : {"", "no place", "a:1", "a:1:", "a:1:2", "a:1:2:b", "a:-1:2: b", "a:99999999999:2: b", "a:x:2: b"}) {
    EXPECT_EQ(FromString(text).line, 0) << text;
    EXPECT_EQ(FromString(text).message, text);
  }
}

}  // namespace
}  // namespace moat::config
