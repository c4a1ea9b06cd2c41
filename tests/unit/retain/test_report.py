"""The report of a clean-up: it says what the plan and the record say, and shows a stranger's words as words."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import msgspec
import pytest
from tests.unit.retain.world import World, digest_of, repository

from shipgraph.records.prune import Done, Outcome, PrunedVersion, PruneRecord
from shipgraph.retain.plan import MEANINGS, PrunePlan, Reason
from shipgraph.retain.report import REPORT_TYPE, ROWS, build_report, report_html, report_json
from shipgraph.retain.roots import OutsideRoot

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&'
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Checks that tags are balanced, and collects what the page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def plan() -> PrunePlan:
    """A plan of eight releases, of which most go."""
    world = World()
    for number in range(1, 9):
        world.release(number, proven=number != 8)
        world.wait(1)
    world.wait(60)
    return world.plan(world.policy(default=1), (OutsideRoot(digest_of("x")),))


def record(plan: PrunePlan, outcome: Outcome = Outcome.COMPLETE, detail: str = "") -> PruneRecord:
    versions = tuple(
        PrunedVersion(
            repository=one.repository,
            digest=one.fate.digest,
            done=Done.REFUSED if number == 0 else Done.DELETED,
            tags=one.fate.tags,
            reason=one.fate.reason,
            detail=detail,
        )
        for number, one in enumerate(plan.deletions)
    )
    return PruneRecord(
        project="demo",
        run="1",
        by="me",
        began_at=plan.made_at,
        ended_at="2026-01-01T00:00:00Z",
        outcome=outcome,
        versions=() if outcome is Outcome.PLANNED else versions,
    )


def test_it_counts_what_the_plan_says(plan: PrunePlan) -> None:
    report = build_report(plan)
    kept = list(plan.kept)
    assert (report.stay, report.go, report.freed) == (len(kept), len(plan.deletions), plan.freed)
    app = next(one for one in report.packages if one.repository == repository("app"))
    assert sum(app.stay.values()) == sum(one.repository == app.repository for one in kept)
    assert [one.digest for one in report.versions] == [one.fate.digest for one in plan.deletions]
    assert (report.outcome, report.done) == ("", {})


def test_what_was_done_comes_from_the_record(plan: PrunePlan) -> None:
    report = build_report(plan, record(plan))
    assert report.done == {"deleted": len(plan.deletions) - 1, "refused": 1}
    assert report.versions[0].done == "refused"
    text = "".join(Page(report_html(report)).text)
    assert f"{len(plan.deletions) - 1:,} versions deleted" in text
    assert "What went" in text


def test_a_plan_that_was_only_shown_is_reported_as_what_would_go(plan: PrunePlan) -> None:
    report = build_report(plan, record(plan, Outcome.PLANNED))
    assert len(report.versions) == len(plan.deletions)
    text = "".join(Page(report_html(report)).text)
    assert "nothing was carried out" in text
    assert "What would go" in text


def test_the_document_says_what_it_is_and_has_everything(plan: PrunePlan) -> None:
    document = json.loads(report_json(build_report(plan)))
    assert document["mediaType"] == REPORT_TYPE
    assert len(document["versions"]) == len(plan.deletions) > ROWS


def test_a_page_has_its_long_lists_cut(plan: PrunePlan) -> None:
    page = report_html(build_report(plan))
    assert f"… and {len(plan.deletions) - ROWS:,} more" in page
    assert page.count("<tr>") < ROWS + 100


def test_a_page_says_why_a_release_doesnt_count(plan: PrunePlan) -> None:
    text = "".join(Page(report_html(build_report(plan))).text)
    assert "doesn't count: it lacks gate and provenance and test of acme/" in text
    assert f"{digest_of('x')} is used outside" in text


def test_strangers_words_are_shown_as_words(plan: PrunePlan) -> None:
    package = plan.packages[0]
    fate = next(fate for fate in package.versions if fate.goes)
    hostile = msgspec.structs.replace(
        plan,
        project=HOSTILE,
        registry=HOSTILE,
        notes=(HOSTILE,),
        rules={HOSTILE: HOSTILE},
        packages=(
            msgspec.structs.replace(
                package,
                repository=HOSTILE,
                versions=(msgspec.structs.replace(fate, digest=HOSTILE, tags=(HOSTILE,), because=HOSTILE),),
            ),
        ),
        releases=(
            msgspec.structs.replace(
                plan.releases[0], immutable_tag=HOSTILE, names=(HOSTILE,), lacks=HOSTILE, kept=(HOSTILE,)
            ),
        ),
    )
    done = msgspec.structs.replace(record(hostile, detail=HOSTILE), problem=HOSTILE, ended_at=HOSTILE)
    for report in (build_report(hostile), build_report(hostile, done)):
        page = Page(report_html(report))
        assert not {"script", "img", "link", "a", "iframe"} & set(page.tags)
        assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "style"}
        assert "".join(page.text).count(HOSTILE) >= 9


def test_a_page_loads_nothing(plan: PrunePlan) -> None:
    page = report_html(build_report(plan))
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "url(" not in page


def test_every_reason_has_its_words() -> None:
    assert set(MEANINGS) == set(Reason)
