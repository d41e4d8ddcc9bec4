// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

#include "agent/metrics/metrics.h"

namespace moat::metrics {

// Pure; any thread. Families without a row are left out.
std::vector<prometheus::MetricFamily> Families(const Input& input);

}  // namespace moat::metrics
