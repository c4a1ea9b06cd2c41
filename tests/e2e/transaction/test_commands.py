"""Going back, mending and promoting, as a user does it; over HTTP, the registry in a process of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.real.clients import crane

from shipgraph.store.disk import DiskStore

from .kill_table import document, look
from .project import IMAGES, META, PAYLOAD, PLATFORMS

if TYPE_CHECKING:
    from .project import Control, Demo

pytestmark = pytest.mark.real
CONFLICT, USAGE = 4, 2


def channel(demo: Demo, name: str = "dev") -> dict[str, Any]:
    status = demo.run("status", "--json").json
    (found,) = (one for one in status["channels"] if one["channel"] == name)
    result: dict[str, Any] = found
    return result


def digest(demo: Demo, repository: str, tag: str) -> str:
    return crane("digest", f"{demo.host}/{repository}:{tag}").strip()


def move_by_hand(demo: Demo, repository: str, tag: str, to: str) -> None:
    crane("tag", f"{demo.host}/{repository}:{to}", tag)


def remove(demo: Demo, repository: str, tag: str) -> None:
    anyio.run(DiskStore(demo.root).delete_tag, repository, tag)


def test_rollback_goes_back_and_further_and_what_was_rolled_back_stays_out(demo: Demo) -> None:
    first = look(demo.host)
    demo.run("finalize")
    second = look(demo.host)
    demo.commit(3)
    demo.run("payload")
    demo.run("finalize")
    assert demo.run("rollback", "dev", "--json").json["serial"] == 4
    back = look(demo.host)
    assert back.whole
    assert back.tags == second.tags
    assert channel(demo)["metadata"]["serial"] == 4
    refused = demo.run("finalize", code=CONFLICT).err
    assert f"sha-{demo.commits[3]} was rolled back from dev" in refused
    assert f"`shipgraph rollback dev --to sha-{demo.commits[3]}` takes it back" in refused
    assert f"channel dev is back at sha-{demo.commits[1]}" in demo.run("rollback", "dev").out
    assert look(demo.host).tags == first.tags
    assert "no release before" in demo.run("rollback", "dev", code=CONFLICT).err
    assert channel(demo)["metadata"]["serial"] == 5
    demo.run("rollback", "dev", "--to", demo.commits[3][:12])
    assert len(channel(demo)["history"]) == 2
    demo.commit(4)
    demo.run("payload")
    assert demo.run("finalize", "--json").json["serial"] == 7
    assert look(demo.host).whole


def test_a_hold_refuses_releases(demo: Demo) -> None:
    demo.run("finalize")
    demo.run("rollback", "dev", "--hold", "customers see errors")
    demo.commit(3)
    demo.run("payload")
    refused = demo.run("finalize", code=CONFLICT).err
    assert "customers see errors" in refused
    assert "`shipgraph release --unhold dev` ends the hold" in refused
    assert channel(demo)["hold"] == "customers see errors"
    assert "takes releases again" in demo.run("release", "--unhold", "dev").out
    assert "was not held" in demo.run("release", "--unhold", "dev").out
    assert channel(demo)["hold"] is None
    demo.run("finalize")


def test_an_older_release_that_ends_late_is_refused_and_the_same_one_changes_nothing(demo: Demo) -> None:
    demo.run("finalize")
    before = look(demo.host)
    assert demo.run("finalize", "--json").json["moved"] is False
    demo.git("checkout", "--quiet", demo.commits[1])
    assert "is older" in demo.run("finalize", "--channel", "dev", code=CONFLICT).err
    assert look(demo.host) == before


def test_a_lower_version_sets_its_tag_and_leaves_prod(demo: Demo) -> None:
    demo.git("tag", "v2.0.0", demo.commits[2])
    demo.git("tag", "v1.9.4", demo.commits[1])
    demo.run("promote", "--channel", "prod", "--version", "v2.0.0")
    prod = [digest(demo, f"acme/demo-{name}", "prod") for name in IMAGES]
    demo.run("promote", "--channel", "prod", "--version", "v1.9.4")
    assert [digest(demo, f"acme/demo-{name}", "prod") for name in IMAGES] == prod
    assert digest(demo, "acme/demo-base", "v1.9.4") == digest(demo, "acme/demo-base", f"sha-{demo.commits[1]}")
    assert document(f"{demo.host}/{META}", "v1.9.4")["version"] == "v1.9.4"
    assert document(f"{demo.host}/{META}", "prod")["version"] == "v2.0.0"


def test_promote_changes_no_digest_and_builds_nothing(demo: Demo) -> None:
    demo.run("finalize")
    demo.git("tag", "v1.0.0", demo.commits[2])
    demo.run("promote", "--channel", "prod", "--version", "v1.0.0")
    for name in IMAGES:
        assert digest(demo, f"acme/demo-{name}", "prod") == digest(demo, f"acme/demo-{name}", "dev")
        index = json.loads(crane("manifest", f"{demo.host}/acme/demo-{name}:v1.0.0"))
        assert len(index["manifests"]) == len(PLATFORMS)
    layers = [json.loads(crane("manifest", f"{demo.host}/{PAYLOAD}:{tag}"))["layers"] for tag in ("dev", "v1.0.0")]
    assert [one["digest"] for one in layers[0]] == [one["digest"] for one in layers[1]]


def test_a_tag_moved_by_hand_is_drift_and_repair_puts_it_back(demo: Demo) -> None:
    first = digest(demo, "acme/demo-app", "dev")
    demo.run("finalize")
    new = look(demo.host)
    move_by_hand(demo, "acme/demo-app", "dev", f"sha-{demo.commits[1]}")
    (drift,) = channel(demo)["drift"]
    assert (drift["repository"], drift["there"]) == ("acme/demo-app", first)
    done = demo.run("repair")
    assert f"sha-{demo.commits[1]}" in done.out
    assert look(demo.host) == new
    assert "every tag" in demo.run("repair").out
    assert channel(demo)["metadata"]["serial"] == 2


def test_metadata_moved_back_by_hand_is_repaired_too(demo: Demo) -> None:
    demo.run("finalize")
    new = look(demo.host)
    for tag in ("dev", "channels"):
        move_by_hand(demo, META, tag, "dev-1")
    demo.run("repair")
    assert look(demo.host) == new


def test_refresh_moves_only_the_metadata(demo: Demo) -> None:
    before = look(demo.host)
    old = channel(demo)["metadata"]
    assert demo.run("refresh", "dev", "--json").json["serial"] == 2
    assert look(demo.host).tags == before.tags
    assert look(demo.host).whole
    new = channel(demo)["metadata"]
    assert {**new, "serial": 0, "generated_at": "", "expires_at": ""} == {
        **old, "serial": 0, "generated_at": "", "expires_at": "",
    }  # fmt: skip
    demo.git("tag", "v1.0.0", demo.commits[2])
    demo.run("promote", "--channel", "prod", "--version", "v1.0.0")
    demo.run("refresh", "dev")
    assert digest(demo, META, "channels") == digest(demo, META, "prod")


@pytest.mark.parametrize("entries_left", [True, False])
def test_a_lost_journal_is_built_anew(demo: Demo, control: Control, *, entries_left: bool) -> None:
    demo.run("finalize")
    demo.run("rollback", "dev")
    before = channel(demo)["history"]
    gone = [tag for tag in crane("ls", f"{demo.host}/{META}").split() if tag.startswith("journal-")]
    remove(demo, META, "journal")
    if not entries_left:
        for tag in gone:
            remove(demo, META, tag)
    assert "repair --journal" in demo.run("finalize", code=5).err
    control.say(clock=100_000.0)
    assert "there again" in demo.run("repair", "--journal").out
    assert "nothing to do" in demo.run("repair", "--journal").out
    found = channel(demo)["history"]
    assert found[0]["immutable_tag"] == before[0]["immutable_tag"]
    assert "rolled back" in demo.run("finalize", code=CONFLICT).err
    demo.commit(3)
    demo.run("payload")
    assert demo.run("finalize", "--json").json["serial"] == 4
    assert look(demo.host).whole


def test_tags_of_a_first_release_that_was_taken_back_are_left_over_and_removed(demo: Demo, control: Control) -> None:
    demo.git("tag", "v1.0.0", demo.commits[2])
    control.say(hold=10_000)
    demo.run("promote", "--channel", "prod", "--version", "v1.0.0-rc.1")
    number = control.state()["requests"].index(f"PUT /v2/{META}/manifests/prod") + 1
    demo.git("checkout", "--quiet", demo.commits[1])
    remove(demo, META, "prod")
    journal = [tag for tag in crane("ls", f"{demo.host}/{META}").split() if tag.startswith(("journal", "prod"))]
    for tag in (*journal, "v1.0.0-rc.1"):
        remove(demo, META, tag)
    demo.run("repair", "--journal")
    for name in IMAGES:
        for tag in ("prod", "v1.0.0-rc.1"):
            remove(demo, f"acme/demo-{name}", tag)
    remove(demo, PAYLOAD, "v1.0.0-rc.1")
    demo.git("checkout", "--quiet", "main")
    control.say(hold=number, when="before")
    victim = demo.start("promote", "--channel", "prod", "--version", "v1.0.0")
    assert control.wait_held(victim).endswith("prod")
    victim.kill()
    victim.communicate()
    control.say(release=True, drop=True)
    control.say(clock=100_000.0)
    assert demo.run("resume", "--abort", "--json").json["state"] == "aborted"
    assert "prod" in crane("ls", f"{demo.host}/acme/demo-app").split()
    done = demo.run("repair", "--untag")
    assert "removed acme/demo-app:prod" in done.out
    tags = {tag for name in IMAGES for tag in crane("ls", f"{demo.host}/acme/demo-{name}").split()}
    assert not tags & {"prod", "v1.0.0"}
    assert "no tag is left over" in demo.run("repair", "--untag").out


def test_commands_say_what_is_wrong(demo: Demo) -> None:
    assert "there is no channel" in demo.run("rollback", "no-such", code=USAGE).err
    assert "never published" in demo.run("refresh", "prod", code=CONFLICT).err
    assert "no transaction is open" in demo.run("resume").out
