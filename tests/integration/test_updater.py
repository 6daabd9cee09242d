"""Deployments of a slot, good and bad, from wish to outcome: real repository, server, store, slot and workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployments import Device, Shop, contiguous

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
