"""Weights that timm publishes on a hub: looked up with the hub's own client, downloaded as safetensors only.

The only module that imports the client, and only when weights must be looked up. The client honours HF_ENDPOINT,
HF_TOKEN and HF_HUB_OFFLINE. It does not resume in a new process, so `fetching` downloads the file that it finds.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from darkroom import fetching
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError
from darkroom.training.transfer import timm_networks

FILE = "model.safetensors"
TIMEOUT = 10
"""Seconds until the hub must answer a request without a file."""
BUSY = (408, 429, 500, 502, 503, 504)
"""Statuses after which a request is repeated, those of the client's own downloads."""
LONGEST_LICENCE = 200
SHA256 = re.compile("[0-9a-f]{64}")
Given = TypeVar("Given")


@dataclass(frozen=True)
class Found:
    """A file of weights on the hub."""

    repository: str
    revision: str
    """The commit."""
    url: str
    sha256: str
    """As the hub states it, or as in params.yaml where the hub states none."""
    licence: str
    """Name in the model card, otherwise in timm's own table; empty if neither names one."""
    headers: Mapping[str, str] = field(repr=False)
    """For downloading `url`; they may contain the token, so they are never printed or stored."""


def find(architecture: str, revision: str | None, sha256: str | None) -> Found:
    """Return the published weights of `timm/NAME`, at a commit or at the newest one, as the hub describes them now.

    Raises DarkroomError when timm publishes none, when the hub cannot be reached or does not give them, when they are
    only available as a pickle, or when they are not those of `sha256`.
    """
    repository, known_licence = timm_networks.published(architecture)
    from huggingface_hub import HfApi, constants, get_token, hf_hub_url

    # Read by the client at each call. Otherwise, it looks up which tool it runs in, and reports that with the requests.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    api = HfApi(endpoint=endpoint, token=token, library_name="darkroom")
    with _explained(architecture, repository, revision, api.endpoint, bool(token)):
        info = _patient(lambda: api.model_info(repository, revision=revision, timeout=TIMEOUT))
        commit = info.sha or revision or constants.DEFAULT_REVISION
        _refuse_pickles(architecture, repository, [file.rfilename for file in info.siblings or []])
        url = hf_hub_url(repository, FILE, revision=commit, endpoint=api.endpoint)
        file = _patient(lambda: api.get_hf_file_metadata(url=url, timeout=TIMEOUT))
    stated = file.etag if SHA256.fullmatch(file.etag or "") else None
    where = f"{repository} at {commit}"
    if stated is None and sha256 is None:
        raise DarkroomError(
            f"the hub states no SHA-256 for {FILE} of {where} (its ETag is {naming.shown(file.etag)}): check "
            "HF_ENDPOINT, whose mirror should pass on the ETag, or pin the file with its sha256 in params.yaml"
        )
    if stated and sha256 not in (None, stated):
        raise DarkroomError(
            f"{FILE} of {where} has SHA-256 {stated}, not {sha256}: remove sha256 from params.yaml, or set revision to "
            "the commit that has it"
        )
    licence = _licence(info.card_data) or known_licence
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return Found(repository, commit, url, stated or str(sha256), licence, headers)


def remedy(found: Found) -> str:
    """Return what to do when the download fails."""
    return (
        f"check the network and HF_ENDPOINT, or download it elsewhere and set weights: PATH and sha256: {found.sha256}"
    )


def _patient(request: Callable[[], Given]) -> Given:
    """Return the result of `request`, which is repeated while the hub is busy or drops the connection.

    The client repeats only downloads, and waits as long as the hub asks. It waits at most `fetching.LONGEST_WAIT` here.
    """
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(1, fetching.ATTEMPTS):
        asked = None
        try:
            return request()
        except HfHubHTTPError as error:
            if error.response.status_code not in BUSY:
                raise
            reason, asked = f"it answered with status {error.response.status_code}", _asked(error.response.headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):  # no network, or no hub: repeating would not help
            raise
        except (httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.TimeoutException) as error:
            reason = naming.shown(" ".join(str(error).split()) or type(error).__name__)
        wait = min(fetching.BACKOFF * 2 ** (attempt - 1) if asked is None else asked, fetching.LONGEST_WAIT)
        print(f"hub: {reason}; attempt {attempt + 1} of {fetching.ATTEMPTS} in {wait:.0f} s", file=sys.stderr)
        time.sleep(wait)
    return request()


def _asked(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait that a busy hub asks for, None if it does not."""
    # Documented as a part of this module, which imports it without an alias.
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]

    if (limit := parse_ratelimit_headers(headers)) and not limit.remaining:
        return float(limit.reset_in_seconds)
    seconds = headers.get("Retry-After", "").strip()
    return float(seconds) if seconds.isdecimal() else None


def _refuse_pickles(architecture: str, repository: str, names: list[str]) -> None:
    if not names or FILE in names:
        return
    pickles = [name for name in names if name.endswith((".bin", ".pth", ".pt"))]
    others = f", only {naming.listed(pickles)}, and a pickle can execute code when it is read" if pickles else ""
    raise DarkroomError(
        f"{repository} contains no {FILE}{others}: choose other weights of this network as "
        f"{architecture.partition('.')[0]}.TAG ({timm_networks.tags(architecture)}), or, if you trust the file, "
        "convert it with safetensors and set weights: PATH and its sha256"
    )


def _licence(card: Any) -> str:
    """Return the licence in the front matter of a model card, or an empty string."""
    given = getattr(card, "license", None)
    names = [str(name) for name in (given if isinstance(given, list) else [given]) if name not in (None, "", "unknown")]
    if names == ["other"]:
        parts = [getattr(card, "license_name", None), getattr(card, "license_link", None)]
        name, link = (str(part) if part else "" for part in parts)
        names = [f"{name} ({link})" if name and link else name or link] if name or link else []
    text = " ".join(", ".join(names).split())
    return "" if naming.unprintable(text) else text[:LONGEST_LICENCE]


@contextmanager
def _explained(
    architecture: str, repository: str, revision: str | None, endpoint: str, has_token: bool
) -> Iterator[None]:
    """Turn errors of the client into one message with the remedy."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    hub = naming.shown_address(endpoint)
    try:
        yield
    except HfHubHTTPError as error:
        raise DarkroomError(_answered(error, architecture, repository, revision, hub, has_token)) from None
    # An invalid URL, no connection or the offline mode, and an answer that is not JSON or not that of a hub.
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, TypeError, KeyError) as error:
        reason = naming.shown(" ".join(str(error).split()) or type(error).__name__)
        raise DarkroomError(
            f"weights of {architecture}: the hub at {hub} could not be reached ({reason}). Check the network, set "
            f"HF_ENDPOINT to the URL of a mirror, or download {FILE} of {repository} elsewhere and set weights: PATH "
            "and its sha256. Without network access, use efficientnet_lite0, whose weights are installed"
        ) from None


def _answered(error: Any, architecture: str, repository: str, revision: str | None, hub: str, has_token: bool) -> str:
    """Return what an error status of the hub means, and the remedy."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status, page = error.response.status_code, f"{hub}/{repository}"
    begin = f"weights of {architecture}: "
    match error:
        case GatedRepoError():
            account = "the account of your token has not accepted them" if has_token else "HF_TOKEN is not set"
            return (
                f"{begin}{page} gives them only to accounts that accepted its terms ({status}), and {account}: accept "
                "them on that page, and set the environment variable HF_TOKEN to a token of this account that may "
                "read gated repositories"
            )
        case RevisionNotFoundError():
            return (
                f"{begin}{repository} has no revision {revision} ({status}): remove revision from params.yaml for the "
                f"newest, or set it to a commit of {page}/commits/main"
            )
        case EntryNotFoundError():
            return f"{begin}{page} has no {FILE} ({status}): check that the mirror in HF_ENDPOINT is complete"
        case RepositoryNotFoundError():
            access = "the token may not read it" if has_token else "it needs a token in HF_TOKEN"
            return (
                f"{begin}the hub has no {page}, or it is private and {access} ({status}): check that HF_ENDPOINT, if "
                "it is set, is a mirror that contains it, or set weights: PATH and its sha256"
            )
    if status == 401:
        return (
            f"{begin}{page} refused the token ({status}): set the environment variable HF_TOKEN to a valid one, or "
            "unset it, because public weights need none"
        )
    if status == 403:
        return (
            f"{begin}access to {page} is forbidden ({status}): give the token in HF_TOKEN the permission to read this "
            "repository, or unset it, or check what the proxy or mirror in between allows"
        )
    often = f", tried {fetching.ATTEMPTS} times" if status in BUSY else ""
    token = "set HF_TOKEN to a token, with which the hub allows more requests, " if status == 429 else ""
    return (
        f"{begin}{page} answered with status {status}{often}: run again later, {'' if has_token else token}set "
        "HF_ENDPOINT to the URL of a mirror, or set weights: PATH and its sha256"
    )
