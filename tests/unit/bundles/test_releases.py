"""Releases and what is asked of a listing."""

import itertools

import pytest

from agent.bundles.trust import Listing, Release, precedence, release

DIGEST = "a" * 64
ORDER = [
    *["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0"],
    *["1.0.1", "1.2.0", "1.10.0", "2.0.0-1", "2.0.0"],
]


def of(name: str, version: str, withdrawn: str | None = None) -> Release:
    return Release(name, version, DIGEST, 10, withdrawn)


@pytest.mark.parametrize(("before", "after"), list(itertools.pairwise(ORDER)))
def test_precedence_is_that_of_semantic_versioning(before: str, after: str) -> None:
    assert precedence(before) < precedence(after)


def test_newest_is_the_highest_version_of_these_names_that_is_not_withdrawn() -> None:
    listing = Listing((of("a", "1.9.0"), of("a", "1.10.0"), of("a", "1.11.0", "bad"), of("b", "1.10.1-rc.1"), of("c", "3.0.0")))
    assert listing.newest(["a", "b"]) == of("b", "1.10.1-rc.1")
    assert listing.newest(["a"]) == of("a", "1.10.0")
    assert listing.newest(["d"]) is None


def test_a_withdrawn_release_is_found() -> None:
    listing = Listing((of("a", "1.0.0", "bad"),))
    assert listing.find("a", "1.0.0") == of("a", "1.0.0", "bad")
    assert listing.find("a", "1.0.1") is None


def test_a_target_is_a_release() -> None:
    assert release("people/1.0.0/manifest.json", 10, DIGEST, None) == of("people", "1.0.0")
    assert release("people/1.0.0/manifest.json", 10, DIGEST, {"other": 1}) == of("people", "1.0.0")


@pytest.mark.parametrize(("reason", "told"), [("counts\ndogs", "counts dogs"), ("", ""), (True, "True")])
def test_whatever_withdrawn_says_it_is_withdrawn(reason: object, told: str) -> None:
    found = release("people/1.0.0/manifest.json", 10, DIGEST, {"withdrawn": reason})
    assert found == of("people", "1.0.0", told)


@pytest.mark.parametrize(
    "path",
    [
        "people/1.0.0/other.json",
        "people/1.0/manifest.json",
        "people/01.0.0/manifest.json",
        "People/1.0.0/manifest.json",
        "../1.0.0/manifest.json",
        "a/people/1.0.0/manifest.json",
        "people/1.0.0\n/manifest.json",
        "people\n/1.0.0/manifest.json",
        "people/1.0.0/manifest.json\n",
        "/1.0.0/manifest.json",
        "manifest.json",
    ],
)
def test_other_targets_are_ignored(path: str) -> None:
    assert release(path, 10, DIGEST, None) is None


@pytest.mark.parametrize(("length", "sha256"), [(0, DIGEST), (10, None), (10, "a" * 63), (10, "A" * 64)])
def test_a_target_without_length_or_sha256_is_ignored(length: int, sha256: str | None) -> None:
    assert release("people/1.0.0/manifest.json", length, sha256, None) is None
