"""A DVC remote on a real S3 server on loopback: `dvc push` and `dvc pull`, and what is said when it cannot be used."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.reviewed import git

pytest.importorskip("dvc_s3", reason="dvc-s3 is in the development group: run make env")
boto3 = pytest.importorskip("boto3", reason="moto is in the development group: run make env")

pytestmark = pytest.mark.slow
KEY: dict[str, str] = {}
"""The server's valid key, as environment variables."""
SIZE = 3_000_000
"""Bytes of the large file, so that a connection can be cut in the middle of it."""


@dataclass
class Relay:
    """A TCP relay to the server that can cut connections after a number of bytes."""

    target: int
    limit: int | None = None
    """Bytes from the client after which every connection is cut; None for no limit."""
    passed: int = 0
    cuts: int = 0
    listener: socket.socket = field(default_factory=socket.socket)

    def start(self) -> int:
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return int(self.listener.getsockname()[1])

    def _accept(self) -> None:
        with suppress(OSError):  # closed at the end of the tests
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                for source, sink, counts in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._copy, args=(source, sink, counts), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if counts:
                    self.passed += len(data)
                    if self.limit is not None and self.passed > self.limit:
                        self.cuts += 1
                        break
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@dataclass
class Server:
    """The server behind its relay, and a key that may do everything."""

    relay: Relay
    address: str
    key: dict[str, str]


@pytest.fixture(scope="module")
def s3():
    """Start moto's server with a bucket; it checks signatures, as S3 does."""
    from moto import settings
    from moto.core.responses import ActionAuthenticatorMixin
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    options = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    options |= {"aws_access_key_id": "any", "aws_secret_access_key": "any"}
    users = boto3.client("iam", **options)
    users.create_user(UserName="team")
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    users.put_user_policy(UserName="team", PolicyName="all", PolicyDocument=json.dumps(allowed))
    key = users.create_access_key(UserName="team")["AccessKey"]
    boto3.client("s3", **options).create_bucket(Bucket="team")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        patch.setattr(ActionAuthenticatorMixin, "request_count", 0)
        relay = Relay(port)
        address = f"http://127.0.0.1:{relay.start()}"
        names = {"AWS_ACCESS_KEY_ID": "AccessKeyId", "AWS_SECRET_ACCESS_KEY": "SecretAccessKey"}
        yield Server(relay, address, {name: key[field] for name, field in names.items()})
        relay.listener.close()
        server.stop()


def dvc(folder, *arguments, status=0, **variables):
    """Run DVC, check its exit status, and return what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true"}
    environment |= {"HOME": str(folder.parent), **KEY, **variables}  # no credentials of the user's own
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
    )
    assert (done.returncode != 0) is bool(status), done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory, s3):
    """Return a repository with an output of several files, and the bucket as its default remote."""
    KEY.update(s3.key)
    folder = tmp_path_factory.mktemp("s3") / "project"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    dvc(folder, "init", "--quiet")
    for arguments in (
        ("config", "core.analytics", "false"),
        ("remote", "add", "--default", "store", "s3://team/darkroom"),
        ("remote", "modify", "store", "endpointurl", s3.address),
    ):
        dvc(folder, *arguments)
    make = "import os, random; os.makedirs('out'); random.seed(0)\n"
    make += f"for n, size in enumerate([10, 20, {SIZE}]): open(f'out/{{n}}', 'wb').write(random.randbytes(size))\n"
    (folder / "make.py").write_text(make)
    (folder / "dvc.yaml").write_text(
        f"stages: {{make: {{cmd: {sys.executable} make.py, deps: [make.py], outs: [out]}}}}\n"
    )
    dvc(folder, "repro")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "results")
    return folder


@pytest.fixture
def project(template, tmp_path, s3):
    """Return a copy whose remote is an empty folder of the bucket."""
    s3.relay.limit, s3.relay.passed, s3.relay.cuts = None, 0, 0
    folder = tmp_path / "project"
    shutil.copytree(template, folder, symlinks=True)
    dvc(folder, "remote", "modify", "store", "url", f"s3://team/{tmp_path.name}")
    git(folder, "commit", "--quiet", "--all", "--message", "remote")
    return folder


def is_usable(folder):
    """Return whether the results are here and nothing is to do."""
    assert (folder / "out" / "2").stat().st_size == SIZE
    return "up to date" in dvc(folder, "status")


def test_what_is_pushed_is_pulled_by_a_clone_with_nothing_to_do(project, tmp_path):
    assert "pushed" in dvc(project, "push")
    assert "in sync" in dvc(project, "status", "--cloud")
    git(tmp_path, "clone", "--quiet", str(project), "other")
    other = tmp_path / "other"
    dvc(other, "pull")
    assert [(other / "out" / str(n)).read_bytes() for n in range(3)] == [
        (project / "out" / str(n)).read_bytes() for n in range(3)
    ]
    assert is_usable(other)
    assert "didn't change" in dvc(other, "repro")


def test_a_cut_connection_fails_and_the_next_push_completes(project, s3, tmp_path):
    s3.relay.limit = SIZE // 2
    output = dvc(project, "push", status=1)
    assert s3.relay.cuts > 0
    assert "Traceback" not in output
    assert "ERROR: failed to push data to the cloud" in output
    assert is_usable(project)
    s3.relay.limit = None
    assert "pushed" in dvc(project, "push")
    git(tmp_path, "clone", "--quiet", str(project), "other")
    dvc(tmp_path / "other", "pull")
    assert is_usable(tmp_path / "other")


def test_a_pull_that_is_cut_leaves_no_half_file(project, s3, tmp_path):
    dvc(project, "push")
    git(tmp_path, "clone", "--quiet", str(project), "other")
    other = tmp_path / "other"
    s3.relay.limit = 0  # nothing passes any more
    output = dvc(other, "pull", status=1)
    assert "Traceback" not in output
    assert not (other / "out").exists() or not (other / "out" / "2").exists()
    s3.relay.limit = None
    dvc(other, "pull")
    assert is_usable(other)


MISSING = "s3://missing/darkroom"
WRONG = {"AWS_SECRET_ACCESS_KEY": "wrong"}
NONE = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
# What DVC says; docs/sharing.md explains it.
FAILURES = {
    "bucket": (MISSING, {}, "NoSuchBucket|bucket does not exist", "do not exist neither locally nor on remote"),
    "secret": ("", WRONG, r"Forbidden: .*\(403\)", r"failed to connect to s3 .*Forbidden: .*\(403\)"),
    "no key": ("", NONE, "Unable to locate credentials", "Unable to locate credentials"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_push_that_cannot_work_says_why_and_leaves_the_results(project, kind):
    url, variables, words, _ = FAILURES[kind]
    if url:
        dvc(project, "remote", "modify", "store", "url", url)
    output = dvc(project, "push", status=1, **variables)
    assert re.search(words, output), output
    assert "Traceback" not in output
    assert is_usable(project)


@pytest.mark.parametrize("kind", FAILURES)
def test_a_pull_that_cannot_work_says_why_and_works_once_it_is_repaired(project, tmp_path, kind):
    url, variables, _, words = FAILURES[kind]
    dvc(project, "push")
    git(tmp_path, "clone", "--quiet", str(project), "other")
    other = tmp_path / "other"
    if url:
        dvc(other, "remote", "modify", "--local", "store", "url", url)
    output = dvc(other, "pull", status=1, **variables)
    assert re.search(words, output), output
    assert "Traceback" not in output
    (other / ".dvc" / "config.local").unlink(missing_ok=True)
    dvc(other, "pull")
    assert is_usable(other)
