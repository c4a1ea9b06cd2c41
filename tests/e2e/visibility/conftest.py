"""A project whose images are in the folder of a registry with GHCR's habits, which runs beside the test."""

from __future__ import annotations

import base64
import json
import subprocess
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
from tests.e2e.transaction.project import PROGRAM, Demo, Done, environment, finish, make

from shipgraph.embedded.ghcr.accounts import READ, WRITE, Accounts, Pat, Workflow
from shipgraph.embedded.ghcr.habits import Habits
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.remote import Credentials, RemoteStore
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ACCOUNTS = Accounts(
    {
        "ghs_demo": Workflow("acme/demo"),
        "ghs_reader": Workflow("acme/demo", "read"),
        "ghs_other": Workflow("acme/other"),
        "ghp_admin": Pat("alice", administers=frozenset({"acme"})),
        "ghp_pusher": Pat("bob", frozenset({READ, WRITE}), frozenset({"acme"})),
    },
    {"acme/demo": "public", "acme/other": "public"},
    {"acme": "organization"},
)
IMAGES = ("base", "app", "tool")
PACKAGES = tuple(f"acme/demo-{name}" for name in (*IMAGES, "payload", "metadata"))


@dataclass
class Stage:
    """The registry, the project, and a folder for logins."""

    address: str
    ghcr: Ghcr
    demo: Demo
    folder: Path

    def login(self, token: str | None) -> dict[str, str]:
        """Docker's configuration with a token for the registry, as an environment; None: with nothing."""
        place = self.folder / f"docker-{list(ACCOUNTS.tokens).index(token) if token else 'nobody'}"
        place.mkdir(exist_ok=True)
        auth = {self.address: {"auth": base64.b64encode(f"x:{token}".encode()).decode()}} if token else {}
        (place / "config.json").write_text(json.dumps({"auths": auth}))
        return {"DOCKER_CONFIG": str(place)}

    async def run(
        self, *arguments: str, token: str | None = "ghs_demo", code: int | None = 0, more: dict[str, str] | None = None
    ) -> Done:
        """A command, beside the registry."""

        def call() -> Done:
            process = subprocess.Popen(
                [*PROGRAM, *arguments],
                cwd=self.demo.folder,
                env={**environment(), **self.login(token), **(more or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            return finish(process)

        done = await anyio.to_thread.run_sync(call)
        assert "internal error" not in done.err, done.err
        assert token is None or token not in done.out + done.err
        assert code is None or done.code == code, f"{arguments}: exit code {done.code}\n{done.out}\n{done.err}"
        return done

    async def make_public(self, *names: str) -> None:
        """What a person does on the settings page of each package."""
        for name in names or PACKAGES:
            await self.ghcr.set_visibility(name, "public")

    async def connect(self) -> None:
        """What a person does for packages that no workflow made: connect them to the repository."""
        for name in PACKAGES:
            await self.ghcr.link(name, "acme/demo")

    def edit(self, old: str, new: str) -> None:
        """Change shipgraph.toml."""
        file = self.demo.folder / "shipgraph.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@asynccontextmanager
async def staged(
    folder: Path, accounts: Accounts = ACCOUNTS, *, commits: int = 1, **habits: Any
) -> AsyncIterator[Stage]:
    """A project with some commits, whose images somebody pushed before anything was public."""
    root = folder / "registry"
    ghcr = Ghcr(root / ".shipgraph", accounts, habits=Habits(**habits))
    async with serve(DiskStore(root, durable=False), ghcr=ghcr) as address:
        demo = make(folder / "project", root, address, "gap = 0.1\nsettle = 0.4\nmargin = 1")
        demo.git("remote", "add", "origin", "https://github.com/acme/demo.git")
        for number in range(1, commits + 1):
            await anyio.to_thread.run_sync(demo.commit, number)
        async with RemoteStore(address, credentials=Credentials("x", "ghp_admin")) as store:
            for name in PACKAGES:  # GHCR hears of what is in the folder when somebody asks for it
                await store.tags(name)
        yield Stage(address, ghcr, demo, folder)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        yield made
