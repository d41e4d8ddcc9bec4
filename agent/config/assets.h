// SPDX-License-Identifier: Apache-2.0
// Asset documents: what is protected.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/config/section.h"

namespace moat::config {

// The files that a path of the configuration stands for: itself, or of a directory the *.yaml and *.yml files, by name. A problem at `at`
// when the directory cannot be read.
std::vector<std::string> YamlFiles(const Reading& reading, const Node& at);

// The key "name" of metadata, as Kubernetes names things.
void ReadName(const Reading& reading, Section& section, std::string& name);

// Collects assets from several places and keeps their names apart.
class AssetReader {
 public:
  // assets: those in it already are known from elsewhere, and their names are taken.
  explicit AssetReader(std::vector<Asset>& assets);

  // {name, class, paths}, as given in moatd.yaml.
  void ReadInPlace(const Reading& reading, const Node& node);
  // A file of documents {apiVersion: moat/v1, kind: Asset, metadata: {name}, spec: {class, paths}}.
  void ReadDocument(const Reading& reading, const Node& document);
  // A file, or the *.yaml and *.yml files of a directory in the order of their names. at: where it was named.
  void ReadFiles(const Reading& reading, const Node& at);

 private:
  void ReadSpec(const Reading& reading, Section& section, Asset& asset);
  void Add(const Reading& reading, const Node& at, Asset asset);

  std::vector<Asset>& assets_;
  std::map<std::string, std::string> named_;  // name -> "file:line"
};

}  // namespace moat::config
