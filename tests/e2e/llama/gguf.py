# SPDX-License-Identifier: Apache-2.0
"""Writes a small llama model in GGUF version 3, with random weights, that llama.cpp loads and runs."""

import array
import pathlib
import random
import struct

STRING, UINT32, FLOAT32, ARRAY, INT32 = 8, 4, 6, 9, 5  # GGUF value types
ALIGNMENT = 32
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # token types


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def tagged(kind: int, value) -> bytes:
    """A value with its type in front."""
    return struct.pack("<I", kind) + bare(kind, value)


def bare(kind: int, value) -> bytes:
    if kind == STRING:
        return string(value)
    if kind == ARRAY:
        element, items = value
        return struct.pack("<IQ", element, len(items)) + b"".join(bare(element, item) for item in items)
    return struct.pack({UINT32: "<I", FLOAT32: "<f", INT32: "<i"}[kind], value)


def vocabulary() -> list[tuple[str, int]]:
    """Three control tokens, every byte, a space, and letters: enough for any text."""
    control = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    return control + [(f"<0x{b:02X}>", BYTE) for b in range(256)] + [(c, NORMAL) for c in "\u2581abcdefghijklmnopqrstuvwxyz"]


def metadata(width: int, layers: int) -> dict[str, tuple]:
    tokens = vocabulary()
    return {
        "general.architecture": (STRING, "llama"),
        "general.name": (STRING, "tiny"),
        "llama.context_length": (UINT32, 256),
        "llama.embedding_length": (UINT32, width),
        "llama.block_count": (UINT32, layers),
        "llama.feed_forward_length": (UINT32, 2 * width),
        "llama.attention.head_count": (UINT32, width // 32),
        "llama.attention.layer_norm_rms_epsilon": (FLOAT32, 1e-5),
        "llama.rope.dimension_count": (UINT32, 32),
        "llama.vocab_size": (UINT32, len(tokens)),
        "tokenizer.ggml.model": (STRING, "llama"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, [text for text, _ in tokens])),
        "tokenizer.ggml.scores": (ARRAY, (FLOAT32, [-float(n) for n in range(len(tokens))])),
        "tokenizer.ggml.token_type": (ARRAY, (INT32, [kind for _, kind in tokens])),
        "tokenizer.ggml.bos_token_id": (UINT32, 1),
        "tokenizer.ggml.eos_token_id": (UINT32, 2),
        "tokenizer.ggml.unknown_token_id": (UINT32, 0),
    }


def tensors(width: int, layers: int) -> dict[str, tuple[int, ...]]:
    wide, words = 2 * width, len(vocabulary())
    shapes = {"token_embd": (width, words), "output_norm": (width,), "output": (width, words)}
    for n in range(layers):
        shapes |= {f"blk.{n}.attn_{part}": (width, width) for part in ("q", "k", "v", "output")}
        shapes |= {f"blk.{n}.{part}_norm": (width,) for part in ("attn", "ffn")}
        shapes |= {f"blk.{n}.ffn_gate": (width, wide), f"blk.{n}.ffn_up": (width, wide), f"blk.{n}.ffn_down": (wide, width)}
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % ALIGNMENT)


def write(path: pathlib.Path, width: int = 256, layers: int = 2) -> int:
    """Returns the size of the file: about 6 MB as called."""
    values, shapes = metadata(width, layers), tensors(width, layers)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(values))
    head += b"".join(string(key) + tagged(kind, value) for key, (kind, value) in values.items())
    chance = random.Random(1)
    data = b""
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))  # 0: F32
        weights = array.array("f", [1.0] * count if len(shape) == 1 else [chance.uniform(-0.05, 0.05) for _ in range(count)])
        data += padded(weights.tobytes())
    path.write_bytes(padded(head) + data)
    return path.stat().st_size
