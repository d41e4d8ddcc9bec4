// SPDX-License-Identifier: Apache-2.0
// The agent's services, without gRPC's headers (they cost seconds of compile time each).
#pragma once

#include <functional>
#include <memory>

#include "agent/api/finding_table.h"
#include "agent/api/hub.h"
#include "agent/api/inventory.h"
#include "agent/api/policy_control.h"
#include "agent/api/server.h"

namespace grpc {
class Service;
}

namespace moat::api {

using StatusSource = std::function<StatusSnapshot()>;

std::unique_ptr<grpc::Service> MakeMonitorService(Hub& hub, StatusSource status);  // watch.cc
std::unique_ptr<grpc::Service> MakeStatusService(StatusSource status);             // status_service.cc
// control: null when no policies are configured; must outlive the service.
std::unique_ptr<grpc::Service> MakePoliciesService(PolicyControl* control);  // policies_service.cc
std::unique_ptr<grpc::Service> MakeFindingsService(
    const FindingTable* table);  // findings_service.cc; null: nothing looks for any
std::unique_ptr<grpc::Service> MakeInventoryService(StatusSource status, InventorySource source);  // inventory_service.cc
// grpc.health.v1 of the health port. moving: events flow; empty: always.
std::unique_ptr<grpc::Service> MakeHealthService(StatusSource status, std::function<bool()> moving);  // health_service.cc

}  // namespace moat::api
