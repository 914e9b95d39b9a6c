"""Sessions of boto3 that share what botocore reads of its own files.

Each session would parse megabytes of JSON anew, which takes longer than most tests.
"""

from __future__ import annotations

import functools
from typing import Any

import boto3
import botocore.loaders
import botocore.session


@functools.cache
def _service_models() -> botocore.loaders.Loader:
    return botocore.loaders.create_loader()


def boto3_session(**settings: Any) -> boto3.session.Session:
    """A session of boto3's own, with the settings of ``boto3.session.Session``."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _service_models())
    return boto3.session.Session(botocore_session=session, **settings)
