// SPDX-License-Identifier: Apache-2.0
// The table: one row per goal. Judged by the raw figure; the figure scaled to the reference machine is printed beside it.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace moat::bench {

struct Row {
  std::string name;
  std::string base, empty, ring, moat;  // as measured; empty: does not apply
  std::string change;                   // what is judged: added ns, ratio, percentage, rate
  std::string scaled;                   // the same on the reference machine; empty: not a time
  std::string goal;
  std::optional<bool> meets;  // none: told, no goal
};

// The costs in nanoseconds below are for a machine whose empty system calls take this long (shared reference figures).
constexpr double kReferenceGetppidNs = 181;
constexpr double kReferenceIoctlNs = 265;

class Report {
 public:
  void Add(Row row) { rows_.push_back(std::move(row)); }
  void Note(std::string line) { notes_.push_back(std::move(line)); }
  void Broken(std::string line) { broken_.push_back(std::move(line)); }  // a loss or an equation that does not hold
  void Print() const;
  size_t FallShort() const;
  bool broken() const { return !broken_.empty(); }

 private:
  std::vector<Row> rows_;
  std::vector<std::string> notes_, broken_;
};

std::string Text(const char* format, double value);

// p of 0..1 of values, by linear interpolation; 0 when there are none.
double Quantile(std::vector<double> values, double p);
inline double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

}  // namespace moat::bench
