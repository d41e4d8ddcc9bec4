# SPDX-License-Identifier: Apache-2.0
"""Writes a container image of one program, as an archive in OCI's layout that containerd imports. No registry, no tool."""

import hashlib
import io
import json
import pathlib
import platform
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def entry(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    archive.addfile(info, io.BytesIO(data))


def write(path: pathlib.Path, name: str, program: pathlib.Path) -> str:
    """name: "localhost/app:1". Returns the digest of the manifest, which is the image's."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        entry(archive, "app", program.read_bytes(), 0o755)
        entry(archive, "image", name.encode())  # so that no two images are one
    blobs = {}

    def blob(kind: str, data: bytes) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    layer_blob = blob("layer.v1.tar", layer.getvalue())
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": ["/app"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_blob["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", json.dumps(config).encode()),
        "layers": [layer_blob],
    }
    described = blob("manifest.v1+json", json.dumps(manifest).encode())
    index = {"schemaVersion": 2, "manifests": [{**described, "annotations": {"io.containerd.image.name": name}}]}
    with tarfile.open(path, mode="w") as archive:
        entry(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        entry(archive, "index.json", json.dumps(index).encode())
        for digest, data in blobs.items():
            entry(archive, f"blobs/sha256/{digest}", data)
    return described["digest"]
