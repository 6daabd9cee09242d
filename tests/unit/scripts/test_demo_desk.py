"""The model that the demo breaks."""

from pathlib import Path

from agent.bundles.load import open_variants
from scripts.demo.desk import EXCHANGED, NEXT, broken_copy


def test_the_broken_copy_is_a_whole_bundle_of_its_own_version(tmp_path: Path) -> None:
    (good,) = open_variants(NEXT)
    (broken,) = open_variants(broken_copy(NEXT, tmp_path / "copy", "1.2.0"))
    assert (broken.name, broken.version) == (good.name, "1.2.0")
    assert broken.digest != good.digest
    one, other = EXCHANGED
    assert good.labels is not None
    assert broken.labels == tuple({one: other, other: one}.get(label, label) for label in good.labels)
