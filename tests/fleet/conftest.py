"""Fixtures that several tests of the fleet share."""

from __future__ import annotations

import pytest
from local_s3 import s3_server
from tiny_bundle import write_bundle


@pytest.fixture(scope="module")
def server():
    with s3_server() as found:
        yield found[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> str:
    return str(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.asr"))
