// SPDX-License-Identifier: Apache-2.0
// torvalds/linux, uapi/drm.
#pragma once

#include "tests/abi/layouts/layout.h"

namespace moat::layouts {

struct drm_amdgpu_cs_in {
  uint32_t ctx_id, bo_list_handle, num_chunks, flags;
  uint64_t chunks;
};
struct drm_amdgpu_gem_create_in {
  uint64_t bo_size, alignment, domains, domain_flags;
};
struct drm_amdgpu_gem_userptr {
  uint64_t addr, size;
  uint32_t flags, handle;
};
// 64 bytes where a timeline follows; what is in front of it has not moved.
struct drm_amdgpu_gem_va {
  uint32_t handle, _pad, operation, flags;
  uint64_t va_address, offset_in_bo, map_size;
};
struct drm_prime_handle {
  uint32_t handle, flags;
  int32_t fd;
};

inline constexpr Layout kDrm[] = {
    LAYOUT(drm_amdgpu_cs_in, "DRM_AMDGPU_CS", "", "", 24, AT(ctx_id, 0), AT(bo_list_handle, 4), AT(num_chunks, 8),
           AT(chunks, 16)),
    LAYOUT(drm_amdgpu_gem_create_in, "DRM_AMDGPU_GEM_CREATE", "", "", 32, AT(bo_size, 0), AT(alignment, 8), AT(domains, 16),
           AT(domain_flags, 24)),
    LAYOUT(drm_amdgpu_gem_userptr, "DRM_AMDGPU_GEM_USERPTR", "", "", 24, AT(addr, 0), AT(size, 8), AT(flags, 16), AT(handle, 20)),
    LAYOUT(drm_amdgpu_gem_va, "DRM_AMDGPU_GEM_VA", "", "", 40, AT(handle, 0), AT(operation, 8), AT(flags, 12), AT(va_address, 16),
           AT(offset_in_bo, 24), AT(map_size, 32)),
    LAYOUT(drm_prime_handle, "DRM_IOCTL_PRIME_HANDLE_TO_FD", "", "", 12, AT(handle, 0), AT(flags, 4), AT(fd, 8)),
};

}  // namespace moat::layouts
