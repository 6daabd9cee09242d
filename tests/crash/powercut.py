"""What a disk may hold after a power cut, worked out from what a program did.

The model is POSIX's, which promises less than any one file system keeps. What was written to a file is on disk once the file was
synced. A name that was made, changed or removed is on disk once its folder was synced, that of the new name for a rename, which is
all or nothing. Of what was not synced anything may be there or not, in whatever order; of many ways those are taken that are worst.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.crash.operations import Kind, Operation


class Link(NamedTuple):
    """A symbolic link."""

    target: str


@dataclass(eq=False)
class File:
    """data: as programs see it; synced: as it is on disk for certain."""

    data: bytes = b""
    synced: bytes = b""


@dataclass(eq=False)
class Folder:
    """names: as programs see them; synced: as they are on disk for certain."""

    names: dict[str, "Node"] = field(default_factory=dict)
    synced: dict[str, "Node"] = field(default_factory=dict)


Node = File | Folder | Link
Tree = Mapping[str, bytes | Link | None]  # path → content of a file, a link, or None for a folder


class _Change(NamedTuple):
    """A name that is not on disk for certain. node: what it names from now on, None: nothing. source: the name it had before."""

    kind: Kind
    folder: Folder
    name: str
    node: Node | None
    source: tuple[Folder, str] | None = None


class Cut(NamedTuple):
    """A state of the disk after a power cut. done: how many operations came before; left: what had reached the disk, not synced."""

    done: int
    left: str
    tree: Tree

    def __str__(self) -> str:
        return f"power cut after operation {self.done}, {self.left}"


Choose = Callable[[Sequence[_Change]], Sequence[_Change]]
NAMES: dict[str, Choose] = {
    "no names": lambda _: (),
    "new names and renames": lambda changes: [c for c in changes if c.node is not None],
    "renames": lambda changes: [c for c in changes if c.kind is Kind.RENAME],
    "removals": lambda changes: [c for c in changes if c.node is None],
    "the last name": lambda changes: changes[-1:],
    "all names but the first": lambda changes: changes[1:],
    "all names": lambda changes: changes,
}
CONTENTS: dict[str, Callable[[File], bytes]] = {
    "synced data": lambda file: file.synced,
    "zeros for data": lambda file: _beyond(file, lambda new: bytes(len(new))),
    "half of the data": lambda file: _beyond(file, lambda new: new[: len(new) // 2]),
    "all data": lambda file: file.data,
}


def power_cuts(before: Tree, operations: Iterable[Operation]) -> Iterator[Cut]:
    """Every different state that a power cut can leave, among the worst, before the first operation and after each."""
    disk = _Disk(before)
    seen = set[int]()
    for done, operation in enumerate((None, *operations)):
        if operation:
            disk.do(operation)
        for names, choose in NAMES.items():
            for contents, content in CONTENTS.items():
                tree = disk.tree(choose(disk.changes), content)
                key = hash(frozenset(tree.items()))
                if key not in seen:
                    seen.add(key)
                    yield Cut(done, f"{names}, {contents}", tree)


def read_tree(folder: Path) -> Tree:
    """What a folder holds."""
    tree: dict[str, bytes | Link | None] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            tree[name] = Link(str(path.readlink()))
        else:
            tree[name] = path.read_bytes() if path.is_file() else None
    return tree


def write_tree(tree: Tree, folder: Path) -> None:
    """Fill an empty folder."""
    for name, content in sorted(tree.items()):
        path = folder / name
        if content is None:
            path.mkdir()
        elif isinstance(content, Link):
            path.symlink_to(content.target)
        else:
            path.write_bytes(content)


class _Disk:
    def __init__(self, before: Tree) -> None:
        self.changes: list[_Change] = []
        self._root = Folder()
        for path, content in sorted(before.items()):
            folder, name = self._parent(path)
            node: Node = Folder() if content is None else content if isinstance(content, Link) else File(content, content)
            folder.names[name] = folder.synced[name] = node

    def do(self, operation: Operation) -> None:
        _, kind, path, other, data, offset = operation
        if kind in {Kind.WRITE, Kind.RESIZE, Kind.SYNC}:
            file = self._find(path)
            assert isinstance(file, File), operation
            if kind is Kind.WRITE:
                file.data = file.data[:offset].ljust(offset, b"\0") + data + file.data[offset + len(data) :]
            elif kind is Kind.RESIZE:
                file.data = file.data[:offset].ljust(offset, b"\0")
            else:
                file.synced = file.data
        elif kind is Kind.SYNC_FOLDER:
            folder = self._find(path)
            assert isinstance(folder, Folder), operation
            self._sync(folder)
        elif kind in {Kind.RENAME, Kind.LINK}:
            assert path, f"{operation}: it comes from outside of the folder, where nobody knows whether it was synced"
            source, target = self._parent(path), self._parent(other)
            self._change(_Change(kind, *target, source[0].names[source[1]], source if kind is Kind.RENAME else None))
        else:
            self._change(_Change(kind, *self._parent(path), _made(operation)))

    def tree(self, changes: Sequence[_Change], content: Callable[[File], bytes]) -> Tree:
        """What is there where these changes had reached the disk, and `content` of each file."""
        names: dict[Folder, dict[str, Node]] = {}
        for change in changes:
            for folder in filter(None, (change.folder, change.source and change.source[0])):
                names.setdefault(folder, dict(folder.synced))
            _apply(change, names.__getitem__)
        tree: dict[str, bytes | Link | None] = {}
        rest: list[tuple[str, Node]] = [("", self._root)]
        while rest:
            path, node = rest.pop()
            if isinstance(node, Folder):
                rest.extend((f"{path}/{name}".lstrip("/"), below) for name, below in names.get(node, node.synced).items())
            if path:
                tree[path] = node if isinstance(node, Link) else content(node) if isinstance(node, File) else None
        return tree

    def _change(self, change: _Change) -> None:
        _apply(change, lambda folder: folder.names)
        self.changes.append(change)

    def _sync(self, folder: Folder) -> None:
        rest: list[_Change] = []
        for change in self.changes:
            if change.folder is folder:
                _apply(change, lambda folder: folder.synced)
                rest = [earlier for earlier in rest if (earlier.folder, earlier.name) != change.source]
            else:
                rest.append(change)
        self.changes = rest

    def _find(self, path: str) -> Node:
        node: Node = self._root
        for name in filter(None, path.split("/")):
            assert isinstance(node, Folder), path
            node = node.names[name]
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        folder = self._find(parent)
        assert isinstance(folder, Folder), path
        return folder, name


def _made(operation: Operation) -> Node | None:
    """What is there from now on; None after a removal."""
    match operation.kind:
        case Kind.CREATE:
            return File()
        case Kind.MKDIR:
            return Folder()
        case Kind.SYMLINK:
            return Link(operation.data.decode())
    return None


def _apply(change: _Change, names: Callable[[Folder], dict[str, Node]]) -> None:
    if change.source:
        folder, name = change.source
        names(folder).pop(name, None)
    if change.node is None:
        names(change.folder).pop(change.name, None)
    else:
        names(change.folder)[change.name] = change.node


def _beyond(file: File, change: Callable[[bytes], bytes]) -> bytes:
    """What was synced stays, where a file only grew; otherwise all of it is in doubt."""
    kept = len(file.synced) if file.data.startswith(file.synced) else 0
    return file.data[:kept] + change(file.data[kept:])
