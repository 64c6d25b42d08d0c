"""An address such as s3://bucket/key in, a pyarrow filesystem and a path out; and what its errors mean.

Credentials, region and endpoint come from the environment, as AWS' own tools take them.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from rejoinder.errors import StorageError

CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S = 10, 60

# What pyarrow's messages have in them, whichever operation it was.
_DENIED = (
    "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "INVALID_CLIENT_TOKEN_ID", "SIGNATURE_DOES_NOT_MATCH", "EXPIRED_TOKEN",
    "INVALID_SIGNATURE", "MISSING_AUTHENTICATION_TOKEN", "UNRECOGNIZED_CLIENT", "HTTP status 401", "HTTP status 403",
)  # fmt: skip
_NO_BUCKET = ("NO_SUCH_BUCKET", "Bucket '")


def is_address(place: str) -> bool:
    """Whether it is an address and not a path."""
    return "://" in place


def filesystem_of(address: str) -> tuple[Any, str]:
    """The pyarrow filesystem of an address, and the path in it. Raises ValueError for a scheme that nobody knows."""
    parts = urlsplit(address)
    if parts.scheme == "s3" and not parts.query and parts.username is None:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        return _s3(parts.netloc, endpoint(), region), unquote(parts.netloc + parts.path).rstrip("/")
    from pyarrow import fs

    filesystem, path = fs.FileSystem.from_uri(address)
    return filesystem, path


def endpoint() -> str | None:
    """Where S3 is asked for; None: at AWS."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


@lru_cache
def _s3(bucket: str, endpoint: str | None, region: str | None) -> Any:
    from pyarrow import fs  # only where something remote is read: half a second

    return fs.S3FileSystem(
        endpoint_override=endpoint,
        region=region or ("us-east-1" if endpoint else fs.resolve_s3_region(bucket)),
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        allow_delayed_open=True,  # a small file in one request
        background_writes=False,  # which would hold a copy of all that waits to be sent: a checkpoint of 10 GB
    )


def without_options(address: str) -> str:
    """The address as it may be shown: what stands behind `?` can be anything."""
    return address.partition("?")[0]


def refused(error: OSError, address: str) -> StorageError | None:
    """Our sentence for an error that waiting does not cure; None for any other."""
    text = " ".join(str(error).split())
    if any(word in text for word in _DENIED):
        code = next(word for word in _DENIED if word in text)
        return StorageError(
            f"{address}: refused ({code}); are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY set and right, and may "
            "their owner list, read, write and delete there?"
        )
    if any(word in text for word in _NO_BUCKET):
        return no_bucket(address)
    return None


def no_bucket(address: str) -> StorageError:
    """What is said where there is no such bucket."""
    bucket = urlsplit(address).netloc
    return StorageError(f"{address}: there is no bucket {bucket!r}; make it, or set storage.uri to one that is there")


def unreachable(error: OSError, address: str, waited_s: float) -> StorageError:
    """Our sentence when trying again has not helped."""
    return StorageError(
        f"{address}: cannot be reached, tried for {waited_s:.0f} s ({reason_of(error)}); is AWS_ENDPOINT_URL right and "
        "the server up? The same command goes on from where it was; storage.retry_s is how long it waits"
    )


def reason_of(error: OSError) -> str:
    """The part of pyarrow's message that says what happened."""
    return " ".join(str(error).split()).rsplit("operation: ", 1)[-1].removeprefix("curlCode: ")[:200]
