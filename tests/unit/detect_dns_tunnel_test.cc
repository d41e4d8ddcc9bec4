// SPDX-License-Identifier: Apache-2.0
// Data in the names of DNS questions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "tests/unit/detect_kit.h"

namespace moat::detect {
namespace {

using event::Severity;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr const char* kHex = "0123456789abcdef";
constexpr const char* kBase32 = "abcdefghijklmnopqrstuvwxyz234567";
constexpr const char* kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr const char* kLetters = "abcdefghijklmnopqrstuvwxyz";

class DnsTunnel : public testing::Test, public DetectKit {
 protected:
  DnsTunnel() { detector = MakeDnsTunnel({}); }
  void TearDown() override {
    for (const Draft& draft : raised) {
      EXPECT_EQ(Unfit(draft), "");
    }
  }
  void Ask(const Who& who, std::string_view name, uint64_t labels = 0, const std::string& server = "10.96.0.10",
           uint16_t type = 16) {
    event::Dns dns{.cookie = 1, .ep = To(server, 53, 17), .payload = 60, .id = 1, .type = type, .name = {}};
    ASSERT_LT(name.size(), dns.name.bytes.size());
    std::ranges::copy(name, dns.name.bytes.begin());
    dns.name.length = static_cast<uint16_t>(name.size());
    Happens(event::Kind::kNetDns, who, dns, labels);
  }
  std::string Random(std::string_view alphabet, size_t length) {
    std::string text;
    while (text.size() < length) {
      text += alphabet[random_() % alphabet.size()];
    }
    return text;
  }

 private:
  std::mt19937 random_{11};
};

TEST_F(DnsTunnel, AttackFiftyEncodedNames) {
  const auto thief = Process("/usr/bin/python3");
  for (int i = 0; i < 49; ++i) {
    const std::string name = Random(kHex, 60) + ".evil.example";
    Ask(thief, name);
    Ask(thief, name);  // and once more: it counts once
  }
  EXPECT_THAT(raised, IsEmpty());
  Ask(thief, Random(kHex, 60) + ".evil.example");
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].kind, event::FindingKind::kDnsTunnel);
  EXPECT_EQ(raised[0].severity, Severity::kHigh);
  EXPECT_EQ(raised[0].cause, "evil.example");
  EXPECT_THAT(raised[0].title, HasSubstr("asked DNS for 50 names below evil.example that look encoded: 2.9 KiB within 600 s"));
  EXPECT_THAT(raised[0].peers, ElementsAre("10.96.0.10:53"));
  EXPECT_THAT(raised[0].evidence[2], HasSubstr("50 of them look encoded, 3."));
  EXPECT_THAT(raised[0].techniques[0].id, HasSubstr("T1071.004"));
}

TEST_F(DnsTunnel, AttackInEveryEncoding) {
  for (const char* alphabet : {kHex, kBase32, kBase64}) {
    for (const size_t length : {24, 32, 63}) {
      raised.clear();
      const std::string domain = ".d" + std::to_string(length) + std::to_string(std::strlen(alphabet)) + ".example";
      for (int i = 0; i < 60; ++i) {
        Ask(Process("/usr/bin/dig"), Random(alphabet, length) + domain);  // a process each
      }
      EXPECT_THAT(raised, SizeIs(1)) << alphabet << " " << length;
    }
  }
  raised.clear();
  std::string bytes;  // as iodine sends them where the way is clear
  for (int byte = 128; byte < 256; ++byte) {
    bytes += static_cast<char>(byte);
  }
  for (int i = 0; i < 60; ++i) {
    Ask(Process("/usr/bin/iodine"), Random(bytes, 60) + "." + Random(bytes, 60) + ".raw.example");
    Ask(Process("/usr/bin/iodine"), Random(kLetters, 60) + "." + Random(kLetters, 60) + ".letters.example");
  }
  EXPECT_THAT(raised, SizeIs(2));
}

TEST_F(DnsTunnel, AttackByVolume) {
  const auto thief = Process("/usr/bin/python3");
  for (int i = 0; i < 1300; ++i) {
    Ask(thief, "these-are-the-words-of-a-letter-to-someone-" + std::to_string(100000 + i) + ".evil.co.uk");
  }
  EXPECT_THAT(raised, IsEmpty());  // 62.2 KiB
  for (int i = 0; i < 50; ++i) {
    Ask(thief, "these-are-the-words-of-a-letter-to-someone-" + std::to_string(200000 + i) + ".evil.co.uk");
  }
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
  EXPECT_EQ(raised[0].cause, "evil.co.uk");
  EXPECT_THAT(raised[0].title, Not(HasSubstr("encoded")));
}

TEST_F(DnsTunnel, AttackGoesOnAndHoldsWeights) {
  const auto thief = Process("/usr/bin/python3");
  for (int i = 0; i < 600; ++i) {
    Ask(thief, Random(kBase32, 60) + "." + Random(kBase32, 60) + ".evil.example", i < 100 ? 0 : 1);
    now += 100 * kMs;
  }
  // At the 50th, and then each second.
  ASSERT_THAT(raised, SizeIs(56));
  EXPECT_EQ(raised.back().severity, Severity::kCritical);
  EXPECT_EQ(raised.back().confidence, 90);
  EXPECT_THAT(raised.back().assets, ElementsAre("llama-70b"));
}

TEST_F(DnsTunnel, AttackInAReverseZone) {
  for (int i = 0; i < 60; ++i) {
    Ask(Process("/usr/bin/python3"), Random(kHex, 40) + ".8.b.d.0.1.0.0.2.ip6.arpa");
  }
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(DnsTunnel, AttackInTheFormOfReverseLookups) {
  std::string nibbles;
  for (int i = 0; i < 2100; ++i) {
    nibbles.clear();
    for (int nibble = 0; nibble < 32; ++nibble) {
      nibbles += Random(kHex, 1) + ".";
    }
    Ask(Process("/usr/bin/python3"), nibbles + "ip6.arpa");  // for text
  }
  ASSERT_THAT(raised, SizeIs(1)) << "by what they carry";
  EXPECT_EQ(raised[0].severity, Severity::kMedium);
}

TEST_F(DnsTunnel, AttackBelowADomainOfTwoLetters) {
  for (int i = 0; i < 60; ++i) {
    Ask(Process("/usr/bin/python3"), Random(kHex, 40) + ".xy.de");
  }
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].cause, "xy.de");
}

TEST_F(DnsTunnel, HostileNamesAreShown) {
  for (int i = 0; i < 60; ++i) {
    Ask(Process("/usr/bin/python3"), Random(kBase32, 60) + ".evil\n\x1b[31m.ex\xff");
  }
  ASSERT_THAT(raised, SizeIs(1));  // TearDown looks at its texts
  EXPECT_THAT(raised[0].evidence[0], Not(HasSubstr("\x1b")));
  EXPECT_THAT(raised[0].cause, Not(HasSubstr("\n")));
}

TEST_F(DnsTunnel, WhoIsNotKnown) {
  for (int i = 0; i < 60; ++i) {
    Ask(nullptr, Random(kBase32, 60) + ".evil.example");
  }
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_THAT(raised[0].title, HasSubstr("a process that is not known asked"));
}

TEST_F(DnsTunnel, BenignSlowly) {
  for (int i = 0; i < 2000; ++i) {
    Ask(Process("/usr/bin/clamd"), Random(kHex, 32) + ".hash.example");
    now += 30 * kS;  // reputation of files, 20 within the window
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(DnsTunnel, BenignContentNetworks) {
  std::vector<std::string> names;
  for (int i = 0; i < 40; ++i) {
    names.push_back(Random(kHex, 40) + ".cloudfront.example");
  }
  for (int round = 0; round < 1000; ++round) {
    for (const std::string& name : names) {
      Ask(Process("/usr/bin/python3"), name);
    }
    now += kMinute;
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(DnsTunnel, BenignCaseOfLettersMeansNothing) {
  for (int i = 0; i < 5000; ++i) {
    std::string name = "a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6.example.com";
    for (char& c : name) {
      c = Random("ab", 1) == "a" ? c : static_cast<char>(std::toupper(c));
    }
    Ask(Process("/usr/bin/unbound"), name);
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(DnsTunnel, BenignReverseLookups) {
  for (int i = 0; i < 5000; ++i) {
    std::string v6;
    for (int nibble = 0; nibble < 32; ++nibble) {
      v6 += Random(kHex, 1) + ".";
    }
    Ask(Process("/usr/bin/tcpdump"), v6 + "ip6.arpa", 0, "10.96.0.10", 12);
    Ask(Process("/usr/bin/tcpdump"), std::to_string(i % 256) + "." + std::to_string(i / 256) + ".66.10.in-addr.arpa", 0,
        "10.96.0.10", 12);
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(DnsTunnel, BenignSearchPathsOfACluster) {
  for (int i = 0; i < 1000; ++i) {
    for (const char* path :
         {".prod.svc.cluster.local", ".svc.cluster.local", ".cluster.local", ".eu-west-1.compute.internal", ".gpu", ""}) {
      Ask(Process("/usr/bin/python3"), "llama-70b-worker-" + std::to_string(i) + ".headless-model-server" + path);
      Ask(Process("/usr/bin/python3"), "i-0" + Random(kHex, 16) + ".us-west-2.compute.internal");
      Ask(Process("/usr/bin/python3"), "ip-10-11-" + std::to_string(i % 200) + "-117.payments-gateway" + path);
    }
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(DnsTunnel, AttackByNamesOfTheClusterToSomebodyOutside) {
  for (int i = 0; i < 60; ++i) {
    Ask(Process("/usr/bin/python3"), Random(kHex, 60) + ".svc.cluster.local", 0, "203.0.113.9");
  }
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(DnsTunnel, BenignManyDomains) {
  for (int i = 0; i < 20'000; ++i) {
    Ask(Process("/usr/bin/crawler"), "www.site-" + std::to_string(i) + ".com");
    Ask(Process("/usr/bin/crawler"), Random(kHex, 32) + ".site-" + std::to_string(i) + ".co.uk");
    Ask(Process("/usr/bin/crawler"), "localhost");
    Ask(Process("/usr/bin/crawler"), "");
  }
  EXPECT_THAT(raised, IsEmpty());
}

TEST_F(DnsTunnel, BenignResolverHandsOn) {
  const auto thief = Process("/usr/bin/python3", "/pod"), resolver = Process("/usr/lib/systemd/systemd-resolved", "/resolved");
  for (int i = 0; i < 80; ++i) {
    const std::string name = Random(kHex, 60) + ".evil.example";
    Ask(thief, name, 0, "127.0.0.53");
    Ask(resolver, name, 0, "203.0.113.53");
  }
  ASSERT_THAT(raised, SizeIs(1));
  EXPECT_EQ(raised[0].process, thief->key);
}

TEST_F(DnsTunnel, ThresholdsAreTheConfigurations) {
  config::Detect config;
  config.dns_names = 3;
  detector = MakeDnsTunnel(config);
  for (int i = 0; i < 3; ++i) {
    Ask(Process("/usr/bin/dig"), Random(kHex, 24) + ".evil.example");
  }
  EXPECT_THAT(raised, SizeIs(1));
  raised.clear();
  config.dns_names = 65'536;
  config.dns_kib = 1;
  detector = MakeDnsTunnel(config);
  for (int i = 0; i < 18; ++i) {
    Ask(Process("/usr/bin/dig"), Random(kHex, 60) + ".evil.example");
  }
  EXPECT_THAT(raised, SizeIs(1));
}

TEST_F(DnsTunnel, AMillionDomainsAndStillAwake) {
  const auto thief = Process("/usr/bin/python3");
  for (int i = 0; i < 1'000'000; ++i) {
    Ask(thief, "a.site" + std::to_string(i) + ".example.com"), Ask(thief, "b.site" + std::to_string(i) + ".com");
  }
  EXPECT_GT(detector->forgotten(), 900'000u);
  raised.clear();
  for (int i = 0; i < 60; ++i) {
    Ask(thief, Random(kHex, 60) + ".evil.example");
  }
  EXPECT_THAT(raised, SizeIs(1));
}

}  // namespace
}  // namespace moat::detect
