"""A config from the Hugging Face hub or its local cache: a few kilobytes over verified TLS, never a weight."""

from __future__ import annotations

import os
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from ...errors import InvalidInputError, MissingExtraError, MissingFactError
from .config import LONGEST

TIMEOUT = 1.6
"""Seconds until a hub that does not answer counts as out of reach."""
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[\w][\w./-]{0,99}", re.ASCII)


def split(source: str) -> tuple[str, str]:
    """Repository and revision of ``hf://org/model@revision``.

    Raises:
        InvalidInputError: no such form

    Examples:
        >>> split("hf://meta-llama/Llama-3.1-8B"), split("hf://a/b@v1.0")
        (('meta-llama/Llama-3.1-8B', 'main'), ('a/b', 'v1.0'))
    """
    name, _, revision = source.removeprefix("hf://").strip("/").partition("@")
    if (
        not NAME.fullmatch(name)
        or ".." in name
        or (revision and (".." in revision or not REVISION.fullmatch(revision)))
    ):
        raise InvalidInputError(
            f"expected hf://organisation/model or hf://organisation/model@revision, found {source[:120]!r}"
        )
    return name, revision or "main"


def endpoint() -> str:
    """Address of the hub; ``HF_ENDPOINT`` names another one, as for other tools.

    Raises:
        InvalidInputError: neither https nor this machine
    """
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    parts = urllib.parse.urlsplit(address)
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise InvalidInputError(f"HF_ENDPOINT: expected an https address, found {address[:120]!r}")
    return address


def cached(name: str, revision: str, file: str = "config.json") -> Path | None:
    """A file of a repository in the local cache of the hub's tools."""
    home = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if home is None:
        base = (
            os.environ.get("HF_HOME")
            or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
        )
        home = str(Path(base) / "hub")
    root = Path(home) / f"models--{name.replace('/', '--')}"
    reference = root / "refs" / revision
    try:
        commit = reference.read_text(encoding="utf-8").strip()[:64] if reference.is_file() else revision
    except (OSError, UnicodeDecodeError):
        return None
    found = root / "snapshots" / commit / file
    return found if re.fullmatch(r"[\w.-]+", commit) and found.is_file() else None


def fetched(name: str, revision: str, file: str = "config.json", timeout: float | None = None) -> tuple[bytes, str]:
    """The text of a file of a repository, and its address.

    Raises:
        MissingFactError: the hub is out of reach, or has no such file
        MissingExtraError: the model is gated, and the package that knows the user's login is not installed
    """
    address = f"{endpoint()}/{name}/resolve/{urllib.parse.quote(revision, safe='')}/{file}"
    timeout = TIMEOUT if timeout is None else timeout
    found: list[Any] = []
    # Looking up a name ignores time-outs, so the request waits in a thread of its own.
    worker = threading.Thread(target=_request, args=(address, timeout, found), daemon=True)
    worker.start()
    worker.join(timeout)
    if not found:
        raise _unreachable(name, "no answer")
    result = found[0]
    if isinstance(result, bytes):
        return result, address
    if isinstance(result, urllib.error.HTTPError):
        if result.code in (401, 403):
            return _gated(name, revision, file), address
        if result.code == 404:
            raise MissingFactError(
                f"{name}: the hub has no {file} of that name at revision {revision}; check the spelling"
            )
        raise _unreachable(name, f"status {result.code}")
    raise _unreachable(name, str(getattr(result, "reason", None) or type(result).__name__))


def _request(address: str, timeout: float, found: list[Any]) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": "mlsysim"})
    try:
        # the default context verifies certificates; there is no way around it here
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            found.append(answer.read(LONGEST + 1))
    except Exception as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        found.append(error)


def _unreachable(name: str, why: str) -> MissingFactError:
    told = " ".join(why.split())[:120]
    return MissingFactError(
        f"{name}: the Hugging Face hub is out of reach ({told}); give a config.json or a folder that holds one instead"
    )


def _gated(name: str, revision: str, file: str) -> bytes:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise MissingExtraError(
            f"{name} is gated or private (or does not exist); reading it with your login", "hf"
        ) from None
    try:
        path = Path(hf_hub_download(name, file, revision=revision, etag_timeout=TIMEOUT))
        with path.open("rb") as stream:
            return stream.read(LONGEST + 1)
    except Exception as error:
        told = " ".join(str(error).split())[:160]
        raise MissingFactError(f"{name}: gated or private, and your login does not open it ({told})") from None
