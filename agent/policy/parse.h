// SPDX-License-Identifier: Apache-2.0
// Files of documents {apiVersion: moat/v1, kind: Asset | Policy} -> Set.
#pragma once

#include <string>
#include <vector>

#include "agent/config/config.h"
#include "agent/policy/model.h"

namespace moat::policy {

struct Parsed {
  Set set;
  std::vector<config::Problem> problems;  // of all files, in their order; empty: good
};

// paths: files, or directories of which the *.yaml and *.yml files are taken in the order of their names. Reads on after a problem, so that
// all are told at once; a set with problems is good for Check() and for nothing else. Names are checked only there. Never throws; any thread.
// known: assets that were told of elsewhere; they come first.
Parsed Parse(const std::vector<std::string>& paths, const std::vector<config::Asset>& known = {});

// A file and what is in it.
struct Source {
  std::string file;
  std::string text;
  bool operator==(const Source&) const = default;
};

// The files that Parse() would read. Of those that cannot be read there is a problem.
std::vector<Source> ReadSources(const std::vector<std::string>& paths, std::vector<config::Problem>& problems);
Parsed ParseAndCheckSources(const std::vector<Source>& sources, const std::vector<config::Asset>& known = {});

// One text as if it were the only file, and Check().
Parsed ParseText(const std::string& text, const std::string& file);

// Parse() and then Check() of what could be read: the whole answer to "are these files good?".
Parsed ParseAndCheck(const std::vector<std::string>& paths, const std::vector<config::Asset>& known = {});

}  // namespace moat::policy
