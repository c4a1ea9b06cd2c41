"""The steps that jobs are made of: check out, set shipgraph up, run one of its commands."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from shipgraph.workflow.jobs import Right, Step
from shipgraph.workflow.pins import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shipgraph.project.graph import ImageSpec
    from shipgraph.project.spec import Project
    from shipgraph.workflow.place import Place

EVENT: Final = ' --event "$GITHUB_EVENT_PATH"'
KEY_SECRET: Final = "SHIPGRAPH_SIGNING_KEY"  # noqa: S105 (its name)
SECRETS: Final = "SHIPGRAPH_SECRETS"
SECRETS_FOLDER: Final = "${{ runner.temp }}/secrets"
# Who signs with a key needs neither.
SIGNING: Final = (Right.IDENTITY, Right.ATTESTATIONS)

_SECRETS: Final = """\
umask 077
mkdir -p "$SHIPGRAPH_SECRETS"
"""


class Steps:
    """Makes the steps of one project's jobs."""

    def __init__(self, project: Project, place: Place) -> None:
        self._project, self._place = project, place
        self.keyless = project.signing.by != "key"

    @property
    def signing(self) -> tuple[Right, ...]:
        """What a job that signs may do beside the rest."""
        return SIGNING if self.keyless else ()

    def checkout(self, *, history: bool = False) -> Step:
        """The commit; with its whole history where the order of releases is judged, but without old files."""
        inputs: dict[str, str | int | bool] = {"persist-credentials": False}
        if history:
            inputs |= {"fetch-depth": 0, "filter": "blob:none"}
        return Step(uses=CHECKOUT.uses, version=CHECKOUT.version, inputs=inputs)

    def setup(self, *, signs: bool = False, builds: bool = False) -> Step:
        """shipgraph on PATH; with what keyless signing needs, and BuildKit's way to the Actions cache."""
        inputs: dict[str, str | int | bool] = {}
        if signs and self.keyless:
            inputs["keyless"] = True
        if builds:
            inputs["cache"] = True
        version = "" if self._place.action is None else self._place.action.version
        return Step(uses=self._place.uses, version=version, inputs=inputs)

    def command(self, name: str, words: str, *, event: bool = True, signs: bool = False) -> Step:
        """One command of shipgraph on the registry."""
        env = {"GITHUB_TOKEN": "${{ github.token }}", "GHCR_PAT": "${{ secrets.GHCR_PAT }}"}
        if signs and not self.keyless:
            env[KEY_SECRET] = f"${{{{ secrets.{KEY_SECRET} }}}}"
        return Step(name=name, env=env, run=self.line(words, event=event))

    def script(self, name: str, words: str) -> Step:
        """One command of shipgraph that needs no account."""
        return Step(name=name, run=self.line(words))

    def build(self, name: str, words: str, image: ImageSpec) -> tuple[Step, ...]:
        """A command that builds an image; before it its secrets, each in a file that only this job's user can read."""
        step = self.command(name, words, signs=True)
        secrets = {one: self._project.workflow.secrets.get(one) for one in image.secrets}
        given = {one: secret for one, secret in secrets.items() if secret is not None}
        if not given:
            return (step,)
        env = {SECRETS: SECRETS_FOLDER}
        run = _SECRETS
        for number, (one, secret) in enumerate(given.items()):
            env[f"SECRET_{number}"] = f"${{{{ secrets.{secret} }}}}"
            run += f'printf %s "$SECRET_{number}" > "$SHIPGRAPH_SECRETS/{one}"\n'
        return (Step(name="Build secrets", env=env, run=run), replace(step, env={**step.env, SECRETS: SECRETS_FOLDER}))

    def given(self, name: str, run: str, values: Mapping[str, str], *, signs: bool = False) -> Step:
        """A command with values of the run: they reach the script as variables, never as text of it."""
        return Step(name=name, env={**self.command(name, "", signs=signs).env, **values}, run=run)

    def asked(self, name: str, run: str, *, version: bool = True) -> Step:
        """A command that signs, whose arguments were typed in."""
        values = {"CHANNEL": "${{ inputs.channel }}"}
        if version:
            values["VERSION"] = "${{ inputs.version }}"
        return self.given(name, run, values, signs=True)

    def line(self, words: str, *, event: bool = True) -> str:
        """A command as the script has it, its last line.

        It takes the shell's place: where a run is cancelled, the runner interrupts the process that it started and no
        other, and a transaction that is told to stop ends cleanly (actions/runner, ProcessInvoker.cs).
        """
        return f"exec shipgraph {words}{self._place.option}{EVENT if event else ''}"
