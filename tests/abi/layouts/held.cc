// SPDX-License-Identifier: Apache-2.0
// Every literal of what 32-bit programs can reach, as a static_assert. Built twice: for x86-64 with the other tests, and for i386
// by the test abi.layouts32, whose output has the number below.
#include "tests/abi/layouts/drm.h"
#include "tests/abi/layouts/nvidia_alloc.h"
#include "tests/abi/layouts/nvidia_ctrl.h"
#include "tests/abi/layouts/nvidia_ioctl.h"
#include "tests/abi/layouts/nvidia_memory.h"
#include "tests/abi/layouts/nvidia_os.h"
#include "tests/abi/layouts/nvidia_share.h"
#include "tests/abi/layouts/uvm.h"
#include "tests/abi/layouts/uvm_setup.h"
#include "tests/abi/layouts/uvm_tools.h"

namespace moat::layouts {

extern "C" const uint32_t moat_offsets_held;
const uint32_t moat_offsets_held = Offsets(kNvidiaOs) + Offsets(kNvidiaIoctl) + Offsets(kNvidiaAlloc) + Offsets(kNvidiaMemory) +
                                   Offsets(kNvidiaShare) + Offsets(kNvidiaCtrl) + Offsets(kUvm) + Offsets(kUvmSetup) +
                                   Offsets(kUvmTools) + Offsets(kDrm);

}  // namespace moat::layouts
