"""A local S3 server, where moto and s3fs are installed (the extra [remote]; moto is of [dev])."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def s3_server() -> Iterator[tuple[Any, str]]:
    """An S3 client and the address of a bucket; the environment says how to get there."""
    fsspec = pytest.importorskip("fsspec", reason="the extra [remote] is not installed")
    pytest.importorskip("s3fs", reason="the extra [remote] is not installed")
    pytest.importorskip("moto", reason="moto, the local S3 server, is not installed")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
                                "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
                                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
                patch.setenv(name, value)
            client = boto3.client("s3")
            client.create_bucket(Bucket="speech")
            yield client, "s3://speech"
    finally:
        server.stop()
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def new_place(server: Any, name: str) -> tuple[Callable[[], dict[str, bytes]], str]:
    """The names and contents below an address of one test alone, and this address."""
    prefix = f"{uuid.uuid4()}/{name}"

    def found() -> dict[str, bytes]:
        listed = server.list_objects_v2(Bucket="speech", Prefix=prefix + "/").get("Contents", ())
        return {entry["Key"][len(prefix) + 1:]: server.get_object(
            Bucket="speech", Key=entry["Key"])["Body"].read() for entry in listed}

    return found, f"s3://speech/{prefix}"


def contents(folder: Path) -> dict[str, bytes]:
    """The names and contents below a folder, as `new_place` gives those of an address."""
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}
