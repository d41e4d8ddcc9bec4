// SPDX-License-Identifier: Apache-2.0
#include "agent/policy/parse.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <map>
#include <utility>

#include "agent/config/assets.h"
#include "agent/config/section.h"
#include "agent/config/yaml.h"
#include "agent/policy/check.h"
#include "agent/policy/reader.h"

namespace moat::policy {
namespace {

using config::Node;
using config::Reading;
using config::Section;

const Node* Value(const Node& map, std::string_view key) {
  for (size_t i = 0; map.type == Node::Type::kMap && i + 1 < map.items.size(); i += 2) {
    if (map.items[i].type == Node::Type::kScalar && map.items[i].value == key) {
      return &map.items[i + 1];
    }
  }
  return nullptr;
}

class Reader {
 public:
  explicit Reader(Parsed& parsed) : parsed_(parsed), assets_(parsed.set.assets) {}

  void ReadFile(const std::string& file) { ReadText(config::ReadFile(file, parsed_.problems), file); }

  void ReadText(const std::string& text, const std::string& file) {
    const Reading reading{file, &parsed_.problems, nullptr};
    for (const Node& document : config::ParseYaml(text, file, parsed_.problems)) {
      if (document.type == Node::Type::kScalar || document.type == Node::Type::kList) {
        reading.Complain(document, "a document must be a mapping with apiVersion, kind, metadata and spec");
        continue;
      }
      const Node* kind = Value(document, "kind");
      if (kind != nullptr && kind->value == "Policy") {
        ReadPolicy(reading, document);
        continue;
      }
      if (const Node* metadata = Value(document, "metadata")) {
        if (const Node* name = Value(*metadata, "name")) {
          parsed_.set.names.push_back(name->value);
        }
      }
      assets_.ReadDocument(reading, document);
    }
  }

 private:
  void ReadPolicy(const Reading& reading, const Node& document) {
    Section top(reading, &document, "");
    if (const Node* version = top.Required("apiVersion"); version != nullptr && version->value != "moat/v1") {
      reading.Complain(*version, "apiVersion must be moat/v1");
    }
    (void)top.Child("kind");
    const Node *metadata = top.Required("metadata"), *spec = top.Required("spec");
    Policy policy{.at = At(reading, document)};
    if (metadata != nullptr) {
      Section section(reading, metadata, "metadata");
      config::ReadName(reading, section, policy.name);
    }
    if (spec != nullptr) {
      ReadSpec(reading, *spec, policy);
    }
    if (!policy.name.empty()) {
      const auto [known, fresh] = named_.try_emplace(policy.name, reading.file + ":" + std::to_string(document.line));
      if (!fresh) {
        reading.Complain(document, "policy \"" + policy.name + "\" is already defined at " + known->second);
      }
    }
    parsed_.set.policies.push_back(std::move(policy));
  }

  Parsed& parsed_;
  config::AssetReader assets_;
  std::map<std::string, std::string> named_;  // policies: name -> "file:line"
};

// Nothing here throws but the standard library for want of memory.
template <typename Body>
Parsed Guarded(const std::string& what, const Body& body) {
  try {
    Parsed parsed;
    body(parsed);
    parsed.problems = config::InFileOrder(std::move(parsed.problems));
    return parsed;
  } catch (const std::exception& e) {
    Parsed parsed;
    parsed.problems.push_back({what, 0, 0, std::string("cannot be read: ") + e.what()});
    return parsed;
  }
}

void Know(const std::vector<config::Asset>& known, Parsed& parsed) {
  parsed.set.assets = known;
  for (const config::Asset& asset : known) {
    parsed.set.names.push_back(asset.name);
  }
}

std::vector<std::string> FilesOf(const std::string& path, std::vector<config::Problem>& problems) {
  Node at;
  at.type = Node::Type::kScalar;
  at.value = path;
  return config::YamlFiles(Reading{path, &problems, nullptr}, at);
}

void ReadAll(const std::vector<std::string>& paths, const std::vector<config::Asset>& known, Parsed& parsed) {
  Know(known, parsed);
  Reader reader(parsed);
  for (const std::string& path : paths) {
    for (const std::string& file : FilesOf(path, parsed.problems)) {
      reader.ReadFile(file);
    }
  }
}

}  // namespace

Parsed Parse(const std::vector<std::string>& paths, const std::vector<config::Asset>& known) {
  return Guarded("policies", [&](Parsed& parsed) { ReadAll(paths, known, parsed); });
}

Parsed ParseText(const std::string& text, const std::string& file) {
  return Guarded(file, [&](Parsed& parsed) {
    Reader(parsed).ReadText(text, file);
    std::ranges::move(Check(parsed.set), std::back_inserter(parsed.problems));
  });
}

Parsed ParseAndCheck(const std::vector<std::string>& paths, const std::vector<config::Asset>& known) {
  return Guarded("policies", [&](Parsed& parsed) {
    ReadAll(paths, known, parsed);
    std::ranges::move(Check(parsed.set), std::back_inserter(parsed.problems));
  });
}

std::vector<Source> ReadSources(const std::vector<std::string>& paths, std::vector<config::Problem>& problems) {
  std::vector<Source> sources;
  for (const std::string& path : paths) {
    for (const std::string& file : FilesOf(path, problems)) {
      sources.push_back({.file = file, .text = config::ReadFile(file, problems)});
    }
  }
  return sources;
}

Parsed ParseAndCheckSources(const std::vector<Source>& sources, const std::vector<config::Asset>& known) {
  return Guarded("policies", [&](Parsed& parsed) {
    Know(known, parsed);
    Reader reader(parsed);
    for (const Source& source : sources) {
      reader.ReadText(source.text, source.file);
    }
    std::ranges::move(Check(parsed.set), std::back_inserter(parsed.problems));
  });
}

}  // namespace moat::policy
