"""What the computer tells of itself, from /proc and /sys."""

import ctypes
import os
import platform
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

# Raspberry Pi's firmware: under-voltage, frequency capped, throttled, soft temperature limit; bits 16 to 19: since boot
_THROTTLED_NOW = 0xF
_THROTTLED_FILES = "sys/devices/platform/soc*/*firmware*/get_throttled"
# a fixed number instead of a temperature, on Jetson
_NO_THERMOMETERS = ("PMIC-Die",)
# systemd, src/timedate/timedated.c: below it the clock was set from the network; STA_UNSYNC also means that the RTC is left alone
_MAX_ERROR_US = 16_000_000


@dataclass(frozen=True, slots=True)
class HostReading:
    """cpu_pct: of all cores, 0..100, since the reading before. memory_bytes: in use, that is total less available.

    None: this computer does not tell. temperature_c: of the hottest zone. throttled: slowed down now, for heat or want of power.
    """

    cpu_pct: float
    memory_bytes: int
    disk_free_bytes: int | None
    temperature_c: float | None
    throttled: bool | None


class Host:
    """Readings of this computer. disk: a path on the disk whose free space counts. root: where /proc and /sys are."""

    def __init__(self, disk: Path, root: Path = Path("/")) -> None:
        self._disk = disk
        self._root = root
        self._busy, self._total = self._cpu_ticks()

    def read(self) -> HostReading:
        """Read everything; takes about a millisecond."""
        busy, total = self._cpu_ticks()
        passed = total - self._total
        cpu_pct = 100 * (busy - self._busy) / passed if passed > 0 else 0.0
        self._busy, self._total = busy, total
        memory = _memory(self._root)
        return HostReading(
            cpu_pct=round(min(100.0, max(0.0, cpu_pct)), 1),
            memory_bytes=memory["MemTotal"] - memory["MemAvailable"],
            disk_free_bytes=self._disk_free(),
            temperature_c=self._temperature(),
            throttled=self._throttled(),
        )

    def _cpu_ticks(self) -> tuple[int, int]:
        """Busy and all ticks since boot: proc(5), /proc/stat; guest time is part of user time."""
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, (self._root / "proc/stat").read_text().split(None, 9)[1:9])
        busy = user + nice + system + irq + softirq + steal
        return busy, busy + idle + iowait

    def _disk_free(self) -> int | None:
        try:
            return shutil.disk_usage(self._disk).free
        except OSError:
            return None

    def _temperature(self) -> float | None:
        zones = (
            _number(zone / "temp")
            for zone in (self._root / "sys/class/thermal").glob("thermal_zone*")
            if _text(zone / "type") not in _NO_THERMOMETERS
        )
        readings = [milli / 1000 for milli in zones if milli is not None and milli > 0]  # a zone that is off says 0 or less
        return round(max(readings), 1) if readings else None

    def _throttled(self) -> bool | None:
        for file in self._root.glob(_THROTTLED_FILES):
            bits = _number(file, base=16)
            if bits is not None:
                return bool(bits & _THROTTLED_NOW)
        levels = [
            _number(device / "cur_state")
            for device in (self._root / "sys/class/thermal").glob("cooling_device*")
            if "cpufreq" in (_text(device / "type") or "")
        ]
        known = [level for level in levels if level is not None]
        return any(known) if known else None


@dataclass(frozen=True, slots=True)
class HardwareFacts:
    """model: as the board or the firmware calls itself, None where it does not. arch: as `uname -m`. memory_bytes: all there is."""

    model: str | None
    arch: str
    cores: int
    memory_bytes: int


def hardware(root: Path = Path("/")) -> HardwareFacts:
    """The facts that do not change while the agent runs."""
    maker, product = (_text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name"))
    board = _text(root / "proc/device-tree/model") or " ".join(filter(None, (maker, product)))
    return HardwareFacts(
        model=board or None,
        arch=platform.machine(),
        cores=os.cpu_count() or 1,
        memory_bytes=_memory(root)["MemTotal"],
    )


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the kernel, of Python and of those `packages` that are installed; none of them is imported."""
    found = {"kernel": platform.release(), "python": ".".join(map(str, sys.version_info[:3]))}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


class _Timex(ctypes.Structure):
    """The beginning of `struct timex` of 64-bit Linux, adjtimex(2), and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    )


def clock_synced() -> bool:
    """Whether the clock was set from the network; False too where the kernel does not tell. Takes about a microsecond."""
    timex = _Timex(modes=0)  # reads, sets nothing
    return bool(_adjtimex(ctypes.byref(timex)) >= 0 and timex.maxerror < _MAX_ERROR_US)


_adjtimex = ctypes.CDLL(None).adjtimex


def _memory(root: Path) -> dict[str, int]:
    """/proc/meminfo in bytes."""
    lines = (line.split() for line in (root / "proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}


def _text(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace").strip(" \n\0") or None
    except OSError:
        return None


def _number(file: Path, base: int = 10) -> int | None:
    try:
        return int(file.read_text(), base)
    except (OSError, ValueError):
        return None
