from pathlib import Path

import pytest
from tuf.api.metadata import Root

from agent.errors import PublishError
from agent.fleet.keys import HeldKey, Keyring
from agent.fleet.root import bridge


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    return Keyring([tmp_path / "keys"])


def trusting(role: str, threshold: int, *keys: HeldKey) -> Root:
    root = Root()
    for key in keys:
        root.add_key(key.signer.public_key, role)
    root.roles[role].threshold = threshold
    return root


def test_new_keys_take_the_next_number_and_are_for_their_owner_alone(keys: Keyring) -> None:
    made = [keys.create("targets") for _ in range(3)]
    paths = [Path(key.place) for key in made]
    assert [path.name for path in paths] == ["targets-1.pem", "targets-2.pem", "targets-3.pem"]
    assert {path.stat().st_mode & 0o777 for path in (*paths, paths[0].parent)} == {0o600, 0o700}
    assert [key.id for key in keys.held("targets")] == [key.id for key in made]
    assert keys.held("root") == []


def test_new_keys_lie_in_the_first_folder_under_a_number_that_no_folder_has(keys: Keyring, tmp_path: Path) -> None:
    keys.create("root")
    stick = Keyring([tmp_path / "stick", *keys.folders])
    assert stick.create("root").place == str(tmp_path / "stick/root-2.pem")


def test_half_a_key_file_is_not_in_the_way(keys: Keyring) -> None:
    first = keys.create("targets")
    (keys.folders[0] / "targets-2.pem.part").write_text("-----BEGIN PRI")
    assert [key.id for key in keys.held("targets")] == [first.id]
    assert Path(keys.create("targets").place).name == "targets-2.pem"


def test_only_keys_that_a_root_trusts_count(keys: Keyring) -> None:
    one, two, _stranger = (keys.create("targets") for _ in range(3))
    assert [key.id for key in keys.of("targets", trusting("targets", 1, one, two))] == [one.id, two.id]
    Path(two.place).unlink()
    root = trusting("targets", 2, one, two)
    assert not keys.suffice("targets", root)
    with pytest.raises(PublishError, match=r"targets: 1 of its keys .* at hand, 2 needed"):
        keys.of("targets", root)


def test_a_key_that_is_in_two_places_counts_once(keys: Keyring) -> None:
    key = keys.create("targets")
    text = Path(key.place).read_text()
    assert [held.id for held in Keyring(keys.folders, environ={"EDGE_FLEET_TARGETS_KEY": text * 2}).held("targets")] == [key.id]


def test_a_bridge_trusts_what_either_root_does(keys: Keyring) -> None:
    old, kept, new = (keys.create("targets") for _ in range(3))
    between = bridge(trusting("targets", 2, old, kept), trusting("targets", 1, kept, new), "targets")
    assert set(between.roles["targets"].keyids) == {old.id, kept.id, new.id} == between.keys.keys()
    assert between.roles["targets"].threshold == 1
