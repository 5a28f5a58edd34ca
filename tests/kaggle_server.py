"""A stand-in for Kaggle: the real client reaches it through a proxy variable."""

import json
from dataclasses import dataclass, field

import pytest

from tests.web import Handler, Web


@dataclass
class Kaggle(Web):
    """`files` holds archives under /storage/NAME.zip; `script` is for them, `answers` for the calls before."""

    answers: list[int | str] = field(default_factory=list)
    """For each call, a status to fail with, a text for a JSON error (Kaggle's own way), or 200."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """(name of the call, Authorization header or nothing)."""


class KaggleHandler(Handler):
    """Answers the calls that `kaggle datasets download` makes."""

    def do_POST(self) -> None:  # noqa: N802
        web = self.web
        assert isinstance(web, Kaggle)
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = self.path.rpartition("/")[2]
        web.calls.append((call, self.headers.get("Authorization", "")))
        answer = web.answers.pop(0) if web.answers else 200
        if isinstance(answer, str):
            self.fail(404, json.dumps({"code": 404, "message": answer}), "application/json")
        elif answer != 200:
            self.fail(answer)
        elif call == "GetDatasetMetadata":
            info = {"info": {"datasetSlug": wanted["datasetSlug"], "licenses": [{"name": "CC0-1.0"}]}}
            self.fail(200, json.dumps(info), "application/json")
        elif call == "IntrospectToken":
            self.fail(200, json.dumps({"active": True, "username": "somebody"}), "application/json")
        else:
            assert call == "DownloadDataset"
            self.send_response(302)
            self.send_header("Location", f"http://localhost/storage/{wanted['datasetSlug']}.zip")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def do_GET(self) -> None:  # noqa: N802
        self.path = self.path.removeprefix("http://localhost")
        super().do_GET()


def point_client_to(web: Kaggle, home: str, patch: pytest.MonkeyPatch) -> None:
    """Make the kaggle command talk to `web` alone, with `home` as its home and no credentials."""
    for name in (
        "KAGGLE_API_TOKEN",
        "KAGGLE_USERNAME",
        "KAGGLE_KEY",
        "KAGGLE_CONFIG_DIR",
        "XDG_CONFIG_HOME",
        "NO_PROXY",
    ):
        patch.delenv(name, raising=False)
    patch.setenv("HOME", home)
    patch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        patch.setenv(name, web.address)
    patch.setenv("no_proxy", "")
