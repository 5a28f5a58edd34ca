"""Access to what is elsewhere: DVC's remote, credentials (only whether they exist), and the port to serve on."""

import os
import socket
import stat
from collections.abc import Iterator, Mapping
from importlib import util
from pathlib import Path
from typing import Any

from darkroom.commands import dvc_internals
from darkroom.commands.doctor import project
from darkroom.commands.doctor.finding import Finding, error, ok, warning
from darkroom.foundations import naming
from darkroom.foundations.errors import DarkroomError

TRACKED = Path(".dvc/config")
SECRETS = {"password", "secret_access_key", "access_key_id", "session_token", "account_key", "connection_string"}
SECRETS |= {"sas_token", "client_secret", "oss_key_secret", "gdrive_client_secret", "gdrive_service_account_json"}
"""Options of a remote that no commit may contain."""
HOME_FILES = {
    "s3": ("AWS_ACCESS_KEY_ID AWS_PROFILE AWS_WEB_IDENTITY_TOKEN_FILE", ("~/.aws/credentials", "~/.aws/config")),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", ("~/.config/gcloud/application_default_credentials.json",)),
    "azure": ("AZURE_STORAGE_CONNECTION_STRING AZURE_STORAGE_KEY AZURE_CLIENT_ID", ("~/.azure/azureProfile.json",)),
    "ssh": ("SSH_AUTH_SOCK", ("~/.ssh/id_ed25519", "~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/config")),
}
"""For each kind of remote: variables and files, one of which usually holds the credentials."""
CONFIGURED = {"access_key_id", "profile", "credentialpath", "configpath", "connection_string", "account_key", "keyfile"}
CONFIGURED |= {"password", "sas_token", "client_id", "ask_password", "allow_anonymous_login"}
"""Options of a remote that give it credentials."""
KAGGLE = ("access_token", "kaggle.json", "credentials.json")
PORT, PORTS = 3000, 100
"""The port of `make serve`, and how many after it are tried."""


def remote() -> Iterator[Finding]:
    """Yield DVC's remote, the package that it needs, and whether there are credentials for it."""
    config = dvc_internals.config() if Path(".dvc").is_dir() else {}
    remotes, name = config.get("remote", {}), config.get("core", {}).get("remote", "")
    if not remotes:
        yield ok("DVC remote", "none; results stay in this clone until you add one: dvc remote add --default NAME URL")
        return
    yield from _exposed()
    if name not in remotes:
        named = naming.listed(list(remotes))
        yield warning("DVC remote", f"no default among {named}", f"dvc remote default {next(iter(remotes))}")
        return
    options = remotes[name]
    url = str(options.get("url", ""))
    kind, separator, _ = url.partition("://")
    if not separator:
        yield from _folder(name, Path(url))  # DVC has made it absolute
        return
    shown = f"{naming.shown(name)}, {naming.shown_address(url)}"
    if (package := dvc_internals.remote_package(kind)) and util.find_spec(package) is None:
        plain = package.replace("_", "-")
        yield error("DVC remote", f"{shown}: the package {plain} is missing", f"uv pip install {plain}")
    elif kind in HOME_FILES and not _has_credentials(kind, options):
        variables, places = HOME_FILES[kind]
        remedy = f"set {variables.split()[0]} or {places[0]}; if the machine itself has access, ignore this"
        yield warning("DVC remote", f"{shown}: no credentials found", remedy)
    else:
        found = "; credentials present" if kind in HOME_FILES else ""
        yield ok("DVC remote", f"{shown}{found}")


def _folder(name: str, folder: Path) -> Iterator[Finding]:
    shown = f"{naming.shown(name)}, folder {naming.shown(folder)}"
    above = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not os.access(above, os.W_OK):
        yield warning("DVC remote", f"{shown}: cannot be written, so dvc push fails", "mount it, or get write access")
    elif above != folder and above != folder.absolute().parent:
        yield error("DVC remote", f"{shown}: not there", f"mount it, or: dvc remote modify {name} url PATH")
    else:
        yield ok("DVC remote", shown)


def _has_credentials(kind: str, options: Mapping[str, Any]) -> bool:
    variables, places = HOME_FILES[kind]
    return (
        bool(CONFIGURED & set(options))
        or any(os.environ.get(each) for each in variables.split())
        or any(Path(each).expanduser().is_file() for each in places)
    )


def _exposed() -> Iterator[Finding]:
    """Yield secrets that stand in the file that git tracks."""
    from configobj import ConfigObj

    sections = ConfigObj(str(TRACKED)) if TRACKED.is_file() else {}
    options = {option for section in sections.values() if isinstance(section, dict) for option in section}
    if found := sorted(options & SECRETS):
        remedy = "dvc remote modify --local NAME OPTION VALUE, delete it here, and replace the key if it was pushed"
        yield error("credentials", f"{TRACKED}, which git tracks, contains {naming.listed(found)}", remedy)


def kaggle() -> Iterator[Finding]:
    """Yield whether there is a token for Kaggle, where the data set comes from there."""
    from darkroom.foundations import params

    try:
        document = params.read(project.PARAMS)
        wanted = document["datasets"][document["dataset"]]["source"]["kind"] == "kaggle"
    except (DarkroomError, LookupError, TypeError):  # another check reports it
        document, wanted = {}, False
    by_name = os.environ.get("KAGGLE_API_TOKEN") or (os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"))
    folders = [
        os.environ.get("KAGGLE_CONFIG_DIR") or "~/.kaggle",
        f"{os.environ.get('XDG_CONFIG_HOME') or '~/.config'}/kaggle",
    ]
    paths = [Path(folder).expanduser() / name for folder in folders for name in KAGGLE]
    there = [path for path in paths if path.is_file()]
    if open_ones := [
        path for path in there if os.name == "posix" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    ]:
        shown = naming.shown(open_ones[0])
        yield warning("Kaggle", f"{shown} can be read by other users", f"chmod 600 {shown}")
    if by_name or there:
        yield ok("Kaggle", f"credentials present ({'environment' if by_name else naming.shown(there[0])})")
    elif wanted:
        remedy = "make a token at https://www.kaggle.com/settings/api and put it into ~/.kaggle/access_token"
        yield error("Kaggle", f"no credentials, and data set {naming.shown(document['dataset'])} needs them", remedy)
    else:
        yield ok("Kaggle", "no credentials; the data set does not need them")


def port() -> Iterator[Finding]:
    """Yield whether the port of `make serve` is free, otherwise the next one that is."""
    if _is_free(PORT):
        yield ok("port", f"{PORT} is free: make serve")
        return
    other = next((number for number in range(PORT + 1, PORT + PORTS) if _is_free(number)), 0)
    yield warning("port", f"{PORT} is in use", f"make serve PORT={other or 'NUMBER'}")


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not refused because of closed connections
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
