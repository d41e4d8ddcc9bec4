#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What programs do with a GPU: memory on it, on the host and managed, copies, a stream; and, where PyTorch is, a training step."""

import ctypes
import sys

MIB = 1 << 20


def driver_api():
    cuda = ctypes.CDLL("libcuda.so.1")

    def call(name, *args):
        result = getattr(cuda, name)(*args)
        if result:
            sys.exit(f"{name}: error {result}")

    device, context, stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
    on_device, managed, host = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_void_p()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
    call("cuStreamCreate", ctypes.byref(stream), 0)
    call("cuMemAlloc_v2", ctypes.byref(on_device), ctypes.c_size_t(512 * MIB))
    call("cuMemHostAlloc", ctypes.byref(host), ctypes.c_size_t(64 * MIB), 0)
    call("cuMemAllocManaged", ctypes.byref(managed), ctypes.c_size_t(32 * MIB), 1)
    ours = ctypes.create_string_buffer(16 * MIB)
    call("cuMemHostRegister_v2", ours, ctypes.c_size_t(len(ours)), 0)
    call("cuMemcpyHtoD_v2", on_device, ours, ctypes.c_size_t(16 * MIB))
    call("cuMemsetD8_v2", managed, 7, ctypes.c_size_t(32 * MIB))
    call("cuStreamSynchronize", stream)
    call("cuMemHostUnregister", ours)
    call("cuMemFree_v2", managed)
    call("cuMemFreeHost", host)
    call("cuMemFree_v2", on_device)
    call("cuCtxDestroy_v2", context)
    print("driver API: 512 MiB on the device, 64 MiB pinned, 32 MiB managed, 16 MiB registered")


def torch_step():
    try:
        import torch
    except ImportError:
        print("PyTorch: skipped, it is not installed")
        return
    model = torch.nn.Linear(4096, 4096).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = torch.randn(512, 4096).pin_memory().cuda(non_blocking=True)
    for _ in range(5):
        optimizer.zero_grad()
        model(data).square().mean().backward()
        optimizer.step()
    torch.cuda.synchronize()
    print(f"PyTorch {torch.__version__}: {torch.cuda.memory_allocated() // MIB} MiB held")


if __name__ == "__main__":
    driver_api()
    torch_step()
