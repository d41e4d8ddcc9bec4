// SPDX-License-Identifier: Apache-2.0
// Findings/List: what is remembered, the newest first.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "agent/api/finding_message.h"
#include "agent/api/services.h"
#include "moat/v1/services.grpc.pb.h"

namespace moat::api {
namespace {

constexpr int kMaxKinds = 64;
constexpr size_t kMaxBytes = 3 << 20;  // a gRPC client takes 4 MiB by default

class FindingsService final : public v1::Findings::CallbackService {
 public:
  explicit FindingsService(const FindingTable* table) : table_(table) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context, const v1::ListFindingsRequest* request,
                                 v1::ListFindingsResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(Answer(*request, response));
    return reactor;
  }

 private:
  grpc::Status Answer(const v1::ListFindingsRequest& request, v1::ListFindingsResponse* response) const {
    if (table_ == nullptr) {
      return {grpc::StatusCode::FAILED_PRECONDITION, "nothing looks for findings: detect.enabled is false in moatd.yaml"};
    }
    if (request.kinds_size() > kMaxKinds) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "more than 64 kinds"};
    }
    for (const std::string& kind : request.kinds()) {
      if (event::FindingKindFromName(kind) == event::FindingKind::kNone) {
        return {grpc::StatusCode::INVALID_ARGUMENT, "there is no kind of finding \"" + kind + "\""};
      }
    }
    const FindingRows all = table_->Get();
    response->set_remembered(all.rows.size());
    response->set_forgotten(all.forgotten);
    size_t bytes = 0;
    for (const event::FindingPtr& finding : all.rows) {
      const bool wanted = request.kinds_size() == 0 ||
                          std::ranges::find(request.kinds(), event::FindingKindName(finding->kind)) != request.kinds().end();
      if (!wanted || !finding->id.starts_with(request.id()) ||
          static_cast<int>(finding->severity) < static_cast<int>(request.min_severity())) {
        continue;
      }
      if ((request.limit() != 0 && static_cast<uint32_t>(response->findings_size()) >= request.limit()) || bytes > kMaxBytes) {
        break;  // `remembered` says that there are more
      }
      v1::Finding* to = response->add_findings();
      SetFinding(to, *finding);
      bytes += to->ByteSizeLong();
    }
    return grpc::Status::OK;
  }

  const FindingTable* const table_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeFindingsService(const FindingTable* table) { return std::make_unique<FindingsService>(table); }

}  // namespace moat::api
