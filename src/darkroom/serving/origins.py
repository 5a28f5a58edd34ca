"""Origin check for corrections: accepted from programs and from this service's page, but not from other sites.

A browser sends the origin of the page in `Origin`. If the host name of a foreign page resolves to the service's address
(DNS rebinding), its origin matches the request's host. The host name itself must therefore be one of the service's.
"""

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from darkroom.serving.uploads import RequestError


def check(headers: Mapping[str, str], hosts: Sequence[str]) -> None:
    """Raise RequestError 403 if a page of another site may have sent the request; `hosts` are the service's names."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in (None, "same-origin", "none"):
        raise RequestError(403, "cross_site", "sent by a page of another site: use the page of this service")
    if origin is None:
        return  # a program, or a browser that opens the URL directly
    try:
        page = urlsplit(origin)
        name = page.hostname or ""
    except ValueError:
        page, name = urlsplit(""), ""
    if name in hosts or (site == "same-origin" and page.scheme == "https"):
        return  # TLS certifies the name, and browsers send the origin of a request
    host = headers.get("host", "")
    if not name or page.netloc != host:
        raise RequestError(
            403,
            "cross_site",
            f"the page is at {origin[:100]!r}, but the request has the host {host[:100]!r}: use the service's own "
            "page. If you do, a proxy changes the header Host: forward it (nginx: proxy_set_header Host $http_host)",
        )
    if not _is_own(name):
        raise RequestError(
            403, "unknown_host", f"{name[:100]!r} is not a known host name of this service: add it to serve.hosts"
        )


def _is_own(name: str) -> bool:
    """Return whether a host name cannot be used for DNS rebinding."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in ("localhost", socket.gethostname().lower()) or name.endswith(".localhost")
    return True
