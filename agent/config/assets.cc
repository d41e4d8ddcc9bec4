// SPDX-License-Identifier: Apache-2.0
#include "agent/config/assets.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "agent/base/strings.h"

namespace moat::config {
namespace {

// As Kubernetes names things, so that a name fits a label, a file name and a metric.
bool GoodName(const std::string& name) {
  const auto word = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= 63 && word(name.front()) && word(name.back()) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return word(c) || c == '-' || c == '.'; });
}

}  // namespace

void ReadName(const Reading& reading, Section& section, std::string& name) {
  const Node* node = section.Required("name");
  if (!node) {
    return;
  }
  if (node->type != Node::Type::kScalar || !GoodName(node->value)) {
    reading.Complain(*node,
                     section.Path("name") +
                         " must be 1 to 63 of a-z, 0-9, '-' and '.', and begin and end with a letter or digit, as \"llama-70b\"");
    return;
  }
  name = node->value;
}

AssetReader::AssetReader(std::vector<Asset>& assets) : assets_(assets) {
  for (const Asset& asset : assets) {
    named_.try_emplace(asset.name, "moatd's own configuration");
  }
}

void AssetReader::ReadSpec(const Reading& reading, Section& section, Asset& asset) {
  section.OneOf("class", asset.asset_class, {"weights", "dataset", "adapter", "secret", "canary"});
  section.Each("paths", [&](const Node& node) {
    if (CheckPath(reading, node, "a path of an asset")) {
      asset.paths.push_back(node.value);
    }
  });
}

void AssetReader::Add(const Reading& reading, const Node& at, Asset asset) {
  if (asset.name.empty() || asset.paths.empty()) {
    return;  // its problems are told already
  }
  const auto [known, fresh] = named_.try_emplace(asset.name, reading.file + ":" + std::to_string(at.line));
  if (!fresh) {
    reading.Complain(at, "asset \"" + asset.name + "\" is already defined at " + known->second);
    return;
  }
  if (assets_.size() == kMaxAssets) {
    reading.Complain(at, "asset \"" + asset.name + "\" is one too many: at most " + std::to_string(kMaxAssets) +
                             " assets, as each has one label bit; put several paths into one asset");
    return;
  }
  assets_.push_back(std::move(asset));
}

void AssetReader::ReadInPlace(const Reading& reading, const Node& node) {
  Section section(reading, &node, "assets.inline[]");
  Asset asset;
  ReadName(reading, section, asset.name);
  ReadSpec(reading, section, asset);
  if (asset.paths.empty()) {
    reading.Complain(node, "an asset needs paths: [/file/or/directory, ...]");
  }
  Add(reading, node, std::move(asset));
}

void AssetReader::ReadDocument(const Reading& reading, const Node& document) {
  if (document.type == Node::Type::kNull) {
    return;  // "---" with nothing after it
  }
  Section top(reading, &document, "");
  if (const Node* node = top.Required("apiVersion"); node && node->value != "moat/v1") {
    reading.Complain(*node, "apiVersion must be moat/v1");
  }
  const Node* kind_node = top.Required("kind");
  const Node* metadata_node = top.Required("metadata");
  const Node* spec_node = top.Required("spec");
  if (!kind_node) {
    return;
  }
  if (kind_node->type != Node::Type::kScalar || kind_node->value != "Asset") {
    static constexpr std::string_view kKinds[] = {"Asset", "Policy"};
    const bool known = kind_node->value == "Policy";
    reading.Complain(*kind_node,
                     known ? "a Policy is nothing to protect: assets.files are of kind Asset; moatd --check-policy reads both"
                           : "kind must be Asset or Policy" + DidYouMean(kind_node->value, kKinds));
    return;
  }
  Asset asset;
  if (metadata_node) {
    Section metadata(reading, metadata_node, "metadata");
    ReadName(reading, metadata, asset.name);
  }
  if (spec_node) {
    Section spec(reading, spec_node, "spec");
    ReadSpec(reading, spec, asset);
    if (asset.paths.empty()) {
      reading.Complain(*spec_node, "spec needs paths: [/file/or/directory, ...]");
    }
  }
  Add(reading, document, std::move(asset));
}

std::vector<std::string> YamlFiles(const Reading& reading, const Node& at) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> files;
  if (fs::is_directory(at.value, error)) {
    fs::directory_iterator entry(at.value, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      const std::string extension = entry->path().extension();
      if (extension == ".yaml" || extension == ".yml") {
        files.push_back(entry->path());
      }
    }
    if (error) {
      reading.Complain(at, "directory " + at.value + " cannot be read: " + error.message());
    }
    std::sort(files.begin(), files.end());
  } else {
    files.push_back(at.value);
  }
  return files;
}

void AssetReader::ReadFiles(const Reading& reading, const Node& at) {
  for (const std::string& file : YamlFiles(reading, at)) {
    Reading inner{file, reading.problems, nullptr};
    const std::string text = ReadFile(file, *reading.problems);
    for (const Node& document : ParseYaml(text, file, *reading.problems)) {
      ReadDocument(inner, document);
    }
  }
}

}  // namespace moat::config
