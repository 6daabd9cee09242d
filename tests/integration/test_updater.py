"""Deployments of a slot, good and bad, from wish to outcome: real repository, server, store, slot and workers."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from agent.errors import BundleError
from agent.publish.orders import Reported
from agent.update.config import UpdatesConfig
from agent.update.machine import MOST_STEPS
from tests.bundle_folders import write_bundle
from tests.deployments import QUICK, Device, FakeComputer, Shop, contiguous
from tests.disks import remount, small_disk
from tests.processes import open_descriptors
from tests.tuf_repository import answers, silent
from tests.waiting import wait_until

OLD, NEW, NEWER = "1.0.0", "1.1.0", "1.2.0"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    shop.publish(NEW, NEWER)
    yield shop
    shop.close()


@pytest.fixture
def device(tmp_path: Path, shop: Shop) -> Iterator[Device]:
    with Device(tmp_path, shop) as device:
        yield device


def test_a_good_deployment_commits_and_loses_nothing(device: Device) -> None:
    device.answered(5)
    device.deploy(NEW)
    report = device.wait("committed", lambda report: report.swap is not None)
    device.answered(5)
    assert device.states() == [
        *("idle", "accepted", "downloading", "verified", "vetting", "staged", "switching", "probation", "committed")
    ]
    assert (report.rev_seen, report.rev_applied, report.by, report.deployment, report.error) == (1, 1, "erika", "d1", None)
    assert report.current is not None
    assert report.previous is not None
    assert (report.current.version, report.previous.version) == (NEW, OLD)
    assert report.swap is not None
    assert report.swap.frames_lost == 0
    assert report.swap.gap_ms > 0
    assert device.workers() == 1
    results = device.end()
    assert contiguous(results)
    assert {version for _, version in results} == {OLD, NEW}
    assert [code for code, _ in device.events] == ["accepted", "committed"]


# --- the wish


@pytest.mark.parametrize(
    ("version", "fields", "state", "code"),
    [
        (NEW, {"name": "dogs"}, "rejected", "not_allowed"),
        ("9.9.9", {}, "failed", "not_found"),
        (NEW, {"digest": "e" * 64}, "rejected", "digest_mismatch"),
        (NEW, {"not_after": "2020-01-01T00:00:00.000Z"}, "rejected", "expired"),
    ],
)
def test_a_wish_that_cannot_be_met_ends_as_it_is_accepted(
    device: Device, version: str, fields: dict[str, Any], state: str, code: str
) -> None:
    device.deploy(version, **fields)
    report = device.wait(state)
    assert report.error is not None
    assert (report.error.code, report.error.phase, report.rev_seen, report.rev_applied) == (code, "accepted", 1, 0)
    assert device.states() == ["idle", "accepted", state]
    assert device.store.bundles() == ()


def test_a_withdrawn_bundle_is_rejected(device: Device, shop: Shop) -> None:
    shop.withdraw(NEW)
    device.deploy(NEW)
    assert error(device.wait("rejected")) == ("withdrawn", "people 1.1.0 was withdrawn: it sees ghosts")


def test_without_a_repository_a_wish_is_rejected(tmp_path: Path, shop: Shop) -> None:
    with Device(tmp_path, shop, repository=False) as device:
        device.deploy(NEW)
        assert error(device.wait("rejected"))[0] == "no_repository"


def test_a_wish_that_has_expired_holds_while_the_clock_is_not_set(device: Device) -> None:
    device.computer.synced = False
    device.deploy(NEW, not_after="2020-01-01T00:00:00.000Z")
    device.wait("committed")


def test_a_deployment_that_is_spread_waits_for_its_turn(device: Device) -> None:
    device.deploy(NEW, spread_s=7 * 86400)
    assert device.wait("deferred").deferred == "spread"
    device.deploy(NEW, rev=2)
    device.wait("committed")


def test_repeated_stale_and_reordered_wishes_change_nothing(device: Device) -> None:
    device.deploy(NEW, rev=5)
    device.wait("committed")
    reports = len(device.reports)
    for wish in (device.wish(NEW, 5), device.wish(NEWER, 4), device.wish(NEWER, 1)):
        device.updater.desired(wish)
    device.updater.cancel(by_operator=True)  # is taken after them
    device.deploy("9.9.9", rev=6)
    device.wait("failed")
    assert {report.rev_seen for report in device.reports[reports:]} <= {5, 6}
    assert [code for code, _ in device.events] == ["accepted", "committed", "accepted", "failed"]


def test_of_two_wishes_with_one_rev_the_first_holds_and_that_is_told(device: Device) -> None:
    device.deploy(NEW, rev=5)
    device.deploy(NEWER, rev=5)
    report = device.wait("committed")
    assert report.current is not None
    assert (report.current.version, report.rev_seen) == (NEW, 5)
    assert "conflict" in [code for code, _ in device.events]


def test_of_two_operators_the_later_one_holds(device: Device) -> None:
    for rev, version in ((10, NEW), (11, NEWER)):
        device.deploy(version, rev)
    report = device.wait("committed")
    assert report.current is not None
    assert (report.current.version, report.rev_applied) == (NEWER, 11)
    assert NEW not in {version for _, version in device.end()}


def test_a_policy_that_is_looser_than_the_config_does_not_loosen_it(tmp_path: Path, shop: Shop) -> None:
    strict = UpdatesConfig(min_probation_s=0, min_probation_frames=10_000_000, reserve_mb=0)
    with Device(tmp_path, shop, config=strict) as device:
        device.deploy(NEW, probation_s=0, probation_frames=1)
        device.wait("probation")
        device.answered(60)
        assert device.reports[-1].state == "probation"


def test_a_policy_that_is_stricter_than_the_config_holds(device: Device) -> None:
    device.deploy(NEW, probation_frames=10_000_000)
    device.wait("probation")
    device.answered(60)
    assert device.reports[-1].state == "probation"


# --- trust and download


def test_a_bad_signature_is_told_and_tried_again(device: Device, shop: Shop) -> None:
    shop.forge()
    device.deploy(NEW)
    report = device.wait("accepted", lambda report: report.error is not None)
    assert error(report)[0] == "untrusted"
    shop.tuf.publish()
    device.wait("committed", lambda report: report.error is None)


def test_a_bad_signature_that_stays_fails_the_deployment(device: Device, shop: Shop) -> None:
    path = shop.forge()
    device.deploy(NEW)
    report = device.wait("failed", deadline_s=60)
    assert error(report)[0] == "untrusted"
    assert shop.site.requests.count(path) == MOST_STEPS
    assert current(report) == OLD


@pytest.mark.parametrize(("clock", "synced", "reason"), [("1970", False, ""), ("2045", False, "clock")])
def test_a_clock_that_is_not_set(tmp_path: Path, shop: Shop, clock: str, synced: bool, reason: str) -> None:
    time = datetime(int(clock), 1, 1, tzinfo=UTC)
    with Device(tmp_path, shop, computer=FakeComputer(synced=synced), clock=time) as device:
        device.deploy(NEW)
        if reason:
            report = device.wait("deferred")
            assert (report.deferred, error(report)[0], current(report)) == (reason, "clock", OLD)
        else:
            device.wait("committed")


def test_a_clock_in_2045_that_says_it_is_set(tmp_path: Path, shop: Shop) -> None:
    with Device(tmp_path, shop, clock=datetime(2045, 1, 1, tzinfo=UTC)) as device:
        device.deploy(NEW)
        report = device.wait("accepted", lambda report: report.error is not None)
        assert (error(report)[0], current(report)) == ("metadata_expired", OLD)


def test_a_wrong_blob_at_the_server_fails_the_deployment_and_is_not_fetched_again_and_again(device: Device, shop: Shop) -> None:
    path = shop.labels(NEW)
    good = shop.site.files[path]
    shop.site.files[path] = good[:-1] + b"x"
    device.deploy(NEW)
    assert error(device.wait("failed"))[0] == "hash_mismatch"
    assert shop.site.requests.count(path) == 1
    shop.site.files[path] = good
    device.deploy(NEW, rev=2)
    device.wait("committed")


def test_a_server_that_is_away_is_waited_for(device: Device, shop: Shop) -> None:
    path = shop.labels(NEW)
    shop.site.faults[path] = answers(500)
    device.deploy(NEW)
    report = device.wait("deferred")
    assert (report.deferred, error(report)[0]) == ("network", "network")
    del shop.site.faults[path]
    device.wait("committed", lambda report: report.deferred is None and report.error is None)


def test_a_disk_that_is_full_while_downloading_is_waited_for(tmp_path: Path, shop: Shop) -> None:
    with small_disk(tmp_path / "disk", 1024) as disk:
        (disk / "other").write_bytes(bytes(1_000_000))
        with Device(tmp_path, shop, state_dir=disk / "state") as device:
            device.deploy(NEW)
            report = device.wait("deferred")
            assert (report.deferred, error(report)[0], current(report)) == ("disk", "disk_full", OLD)
            (disk / "other").unlink()
            device.deploy(NEW, rev=2)
            device.wait("committed")


def test_a_journal_that_cannot_be_written_holds_the_deployment_where_it_is(tmp_path: Path, shop: Shop) -> None:
    with small_disk(tmp_path / "disk", 1024) as disk, Device(tmp_path, shop, state_dir=disk / "state") as device:
        device.wait("idle")
        remount(disk, read_only=True)
        device.deploy(NEW)
        report = device.wait("deferred")
        assert (report.deferred, error(report)[0], report.rev_seen) == ("disk", "disk_error", 0)
        device.answered(5)
        remount(disk, read_only=False)
        device.deploy(NEWER, rev=2)
        assert current(device.wait("committed")) == NEWER


# --- vetting and probation


@pytest.mark.parametrize(
    ("what", "code"), [("segfault", "crashed"), ("broken", "bundle_invalid"), ("nan", "protocol"), ("constant", "constant_output")]
)
def test_a_bad_model_is_rejected_in_vetting_and_put_into_quarantine(device: Device, what: str, code: str) -> None:
    device.make(NEW, what)
    device.deploy(NEW)
    report = device.wait("rejected")
    assert report.error is not None
    assert (report.error.code, report.error.phase, current(report)) == (code, "vetting", OLD)
    assert device.workers() == 1
    device.deploy(NEW, rev=2)
    assert error(device.wait("rejected", lambda report: report.rev_seen == 2))[0] == "quarantined"
    device.make(NEW, "")
    device.deploy(NEW, rev=3, force=True)
    device.wait("committed")
    assert contiguous(device.end())


@pytest.mark.parametrize(("what", "code"), [("crash", "crashed"), ("nan", "protocol"), ("hang", "deadline")])
def test_a_model_that_fails_in_probation_is_rolled_back_and_nothing_is_lost(device: Device, what: str, code: str) -> None:
    device.deploy(NEW, probation_frames=10_000_000)
    device.wait("probation")
    device.answered(10)
    device.make(NEW, what)
    report = device.wait("rolled_back")
    assert report.error is not None
    assert (report.error.code, report.error.phase, current(report), report.rev_applied) == (code, "probation", OLD, 0)
    device.answered(5)
    assert device.workers() == 1
    results = device.results()
    assert contiguous(results)
    assert results[-1][1] == OLD
    device.deploy(NEW, rev=2)
    assert error(device.wait("rejected"))[0] == "quarantined"


def test_a_model_that_dries_up_is_rolled_back(device: Device) -> None:
    device.deploy(NEW, probation_frames=10_000_000)
    device.wait("probation")
    device.make(NEW, "blind")
    report = device.wait("rolled_back", deadline_s=40)
    assert (error(report)[0], current(report)) == ("dried_up", OLD)
    sequence = [seq for seq, _ in device.end()]  # a frame in which nothing is seen has no result
    assert sequence == sorted(set(sequence))


def test_at_night_nothing_is_seen_by_either_and_that_is_no_fault(device: Device) -> None:
    device.make(OLD, "blind")
    device.deploy(NEW, probation_frames=500)
    device.wait("probation")
    device.make(NEW, "blind")
    device.wait("committed", deadline_s=40)


def test_a_model_that_crashes_again_and_again_does_not_keep_the_next_from_serving(device: Device) -> None:
    device.answered(1)
    device.make(OLD, "crash")
    wait_until(lambda: device.slot.worker is not None and device.slot.worker.restarts > 1, "two crashes")
    device.deploy(NEW)
    assert current(device.wait("committed")) == NEW


def test_without_frames_probation_waits(device: Device) -> None:
    device.feed(on=False)
    device.deploy(NEW)
    device.wait("probation")
    device.deploy(NEWER, rev=2)
    report = device.wait("probation", lambda report: report.rev_seen == 2)
    assert (report.deployment, report.rev_applied) == ("d1", 0)
    device.feed(on=True)
    report = device.wait("committed", lambda report: report.rev_applied == 2)
    assert (current(report), report.previous and report.previous.version) == (NEWER, NEW)
    assert [code for code, _ in device.events] == ["accepted", "committed"] * 2


# --- when and where


def test_a_hot_computer_tries_no_model(device: Device) -> None:
    device.computer.temperature = 90.0
    device.deploy(NEW)
    report = device.wait("deferred")
    assert (report.deferred, report.target and report.target.version, current(report)) == ("temperature", NEW, OLD)
    device.computer.temperature = None  # it does not tell
    device.deploy(NEW, rev=2)
    device.wait("committed")


def test_a_window_gates_the_switch_alone(tmp_path: Path, shop: Shop) -> None:
    now = datetime.now(UTC)
    begin, end = now + timedelta(hours=2), now + timedelta(hours=3)
    config = replace(QUICK, window=f"{begin:%H:%M}-{end:%H:%M}", timezone="UTC")
    with Device(tmp_path, shop, config=config) as device:
        device.deploy(NEW)
        assert device.wait("deferred").deferred == "window"
        assert device.states()[:-1] == ["idle", "accepted", "downloading", "verified", "vetting", "staged"]
        assert device.workers() == 1


def test_where_memory_does_not_hold_both_beside_waits(device: Device) -> None:
    device.computer.memory_free = 1 << 20
    device.deploy(NEW, swap="beside")
    assert device.wait("deferred").deferred == "memory"


def test_where_memory_does_not_hold_both_the_old_one_ends_first_and_the_gap_is_told(device: Device) -> None:
    device.computer.memory_free = 1 << 20
    device.answered(5)
    device.deploy(NEW)
    report = device.wait("committed", lambda report: report.swap is not None)
    assert report.swap is not None
    assert report.swap.gap_ms > 100
    assert report.swap.frames_lost == 0
    assert contiguous(device.end())


@pytest.mark.parametrize("what", ["segfault", "constant"])
def test_what_fails_after_the_old_one_has_ended_brings_that_back(device: Device, what: str) -> None:
    device.make(NEW, what)
    device.answered(5)
    device.deploy(NEW, swap="replace")
    report = device.wait("rolled_back")
    assert report.error is not None
    assert (report.error.phase, current(report)) == ("switching", OLD)
    device.answered(5)
    assert device.workers() == 1
    results = device.end()
    assert contiguous(results)
    assert {version for _, version in results} == {OLD}


def test_what_fails_in_probation_without_a_standby_brings_the_old_one_back(device: Device) -> None:
    device.deploy(NEW, swap="replace", probation_frames=10_000_000)
    device.wait("probation")
    device.answered(5)
    device.make(NEW, "crash")
    report = device.wait("rolled_back")
    assert (error(report)[0], current(report)) == ("crashed", OLD)
    device.answered(5)
    assert device.results()[-1][1] == OLD


# --- what people change their minds about


def test_an_empty_desired_ends_a_download(device: Device, shop: Shop) -> None:
    shop.site.faults[shop.labels(NEW)] = silent
    device.deploy(NEW)
    device.wait("downloading")
    device.updater.cancel(by_operator=True)
    assert error(device.wait("rejected"))[0] == "cancelled"


def test_a_newer_wish_supersedes_a_download(device: Device, shop: Shop) -> None:
    shop.site.faults[shop.labels(NEW)] = silent
    device.deploy(NEW)
    device.wait("downloading")
    device.deploy(NEWER, rev=2)
    assert current(device.wait("committed")) == NEWER
    assert NEW not in {version for _, version in device.end()}


def test_in_probation_a_cancel_comes_too_late(device: Device) -> None:
    device.feed(on=False)
    device.deploy(NEW)
    device.wait("probation")
    device.updater.cancel()
    device.feed(on=True)
    assert current(device.wait("committed")) == NEW


def test_rollback_and_factory_go_back_and_need_no_repository(device: Device, shop: Shop) -> None:
    for rev, version in ((1, NEW), (2, NEWER)):
        device.deploy(version, rev)
        device.wait("committed", lambda report, version=version: current(report) == version)  # type: ignore[misc]
    shop.close()
    device.updater.rollback("jean")
    report = device.wait("committed", lambda report: report.by == "jean")
    assert (current(report), report.rev_applied) == (NEW, 2)
    device.updater.factory("jean")
    device.wait("committed", lambda report: current(report) == OLD)
    assert contiguous(device.end())


def test_the_first_model_has_none_to_go_back_to(device: Device) -> None:
    with pytest.raises(BundleError, match="slot main has had no other model yet"):
        device.updater.rollback("jean")


# --- withdrawal


def test_what_is_withdrawn_while_it_serves_is_left_and_that_is_said(device: Device, shop: Shop) -> None:
    device.deploy(NEW)
    device.wait("committed")
    shop.withdraw(NEW)
    assert device.releases is not None
    device.releases.fresh(lambda: False)
    assert any(report.current and report.current.withdrawn for report in device.reports)
    report = device.wait("committed", lambda report: current(report) == OLD)
    assert report.by == "withdrawal"
    assert ("withdrawn", "people 1.1.0 was withdrawn; back to people 1.0.0") in device.events
    device.updater.rollback("jean")
    assert error(device.wait("rejected"))[0] == "withdrawn"


# --- a new agent


def test_a_slot_without_a_model_gets_its_first_from_the_repository(tmp_path: Path, shop: Shop) -> None:
    with Device(tmp_path, shop, entry=f"people@{NEW}") as device:
        report = device.wait("committed", lambda report: report.swap is None or report.swap.gap_ms >= 0)
        assert (current(report), report.by, report.previous) == (NEW, "config", None)
        device.answered(5)
        device.deploy(NEWER)
        device.wait("committed", lambda report: current(report) == NEWER)
        device.deploy("9.9.9", 2)
        device.wait("failed")
        device.updater.factory("jean")
        device.wait("committed", lambda report: current(report) == NEW)


def deployed(tmp_path: Path, shop: Shop, *versions: str) -> None:
    """What an agent leaves that has deployed them."""
    with Device(tmp_path, shop) as device:
        for rev, version in enumerate(versions, 1):
            device.deploy(version, rev)
            device.wait("committed", lambda report, version=version: current(report) == version)  # type: ignore[misc]


def test_a_new_agent_starts_from_the_store_without_the_repository(tmp_path: Path, shop: Shop) -> None:
    deployed(tmp_path, shop, NEW)
    shop.close()
    with Device(tmp_path, shop) as again:
        report = again.wait("committed")
        assert (current(report), report.rev_applied) == (NEW, 1)
        again.answered(5)
        assert {version for _, version in again.end()} == {NEW}


def test_another_bundle_in_the_config_serves_from_the_next_start_on(tmp_path: Path, shop: Shop) -> None:
    deployed(tmp_path, shop, NEW)
    other = write_bundle(tmp_path / "other", version="3.0.0")
    for entry, serves in ((str(other), "3.0.0"), ("", OLD)):
        with Device(tmp_path, shop, entry=entry) as again:
            report = again.wait("idle")
            assert (current(report), report.rev_seen, report.rev_applied) == (serves, 1, 0)
            again.answered(5)
            assert {version for _, version in again.end()} == {serves}


@pytest.mark.parametrize(("damaged", "serves"), [((NEWER,), NEW), ((NEWER, NEW), OLD)])
def test_a_damaged_bundle_gives_way_to_the_one_before(
    tmp_path: Path, shop: Shop, damaged: tuple[str, ...], serves: str, caplog: pytest.LogCaptureFixture
) -> None:
    deployed(tmp_path, shop, NEW, NEWER)
    for version in damaged:
        labels = tmp_path / "state" / shop.labels(version)
        labels.write_bytes(b"x" * labels.stat().st_size)
    with Device(tmp_path, shop) as again:
        again.answered(5)
        assert {version for _, version in again.results()} == {serves}
        assert len([record for record in caplog.records if "labels.txt is damaged on this disk" in record.message]) == len(damaged)
        again.deploy(NEWER, rev=3)
        assert current(again.wait("committed", lambda report: report.rev_applied == 3)) == NEWER


def test_a_model_that_cannot_be_loaded_any_more_gives_way_to_the_one_before(tmp_path: Path, shop: Shop) -> None:
    deployed(tmp_path, shop, NEW)
    device = Device(tmp_path, shop)
    device.make(NEW, "broken")
    with device:
        device.wait("committed", lambda report: current(report) == OLD)
        device.answered(5)
        assert {version for _, version in device.results()} == {OLD}
        assert [code for code, _ in device.events] == ["rolled_back"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"v": 2}', b"\0" * 100])
@pytest.mark.parametrize("name", ["active.json", "journal.json"])
def test_a_torn_record_leads_to_a_model_that_serves(tmp_path: Path, shop: Shop, name: str, content: bytes) -> None:
    folder = tmp_path / "state/models/main"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    with Device(tmp_path, shop) as device:
        device.answered(1)
        assert current(device.wait("idle")) == OLD


def test_an_agent_that_is_stopped_in_probation_holds_nothing_against_the_model(tmp_path: Path, shop: Shop) -> None:
    for _ in range(3):
        with Device(tmp_path, shop) as device:
            device.deploy(NEW, probation_frames=10_000_000)
            report = device.wait("probation")
            assert (report.error, current(report)) == (None, OLD)


@pytest.mark.parametrize("phase", ["accepted", "downloading", "vetting", "probation"])
def test_an_agent_ends_in_time_and_the_next_goes_on(tmp_path: Path, shop: Shop, phase: str) -> None:
    path = {"accepted": shop.tuf.path("timestamp"), "downloading": shop.labels(NEW)}.get(phase)
    if path:
        shop.site.faults[path] = silent
    before = open_descriptors()
    with Device(tmp_path, shop) as device:
        device.make(NEW, "slow" if phase == "vetting" else "")
        device.deploy(NEW, probation_frames=10_000_000 if phase == "probation" else 20)
        device.wait(phase)
        began = time.monotonic()
        device.end()
        assert time.monotonic() - began < 5
        assert not [thread for thread in threading.enumerate() if thread.name.startswith(("update/", "releases"))]
    assert open_descriptors() <= before + 2  # connections of the server, which it has yet to close
    shop.site.faults.clear()
    with Device(tmp_path, shop) as again:
        again.make(NEW, "")
        if phase == "probation":
            again.deploy(NEW, rev=2)
        assert current(again.wait("committed")) == NEW


def test_failed_deployments_leave_nothing_behind(device: Device) -> None:
    device.make(NEW, "constant")
    device.make(NEWER, "segfault")
    device.answered(5)
    sizes = []
    for rev in range(1, 7):
        device.deploy((NEW, NEWER)[rev % 2], rev, force=True)
        device.wait("rejected", lambda report, rev=rev: report.rev_seen == rev)  # type: ignore[misc]
        sizes.append((open_descriptors(), threading.active_count(), device.workers()))
    assert sizes[-1][1:] == sizes[1][1:]
    assert sizes[-1][0] <= sizes[1][0] + 2


def error(report: Reported) -> tuple[str, str]:
    """Code and detail."""
    assert report.error is not None
    return report.error.code, report.error.detail


def current(report: Reported) -> str | None:
    """The version that serves."""
    return report.current.version if report.current else None
