from importlib import metadata
from pathlib import Path

import pytest

from agent.health.host import Host, clock_synced, hardware, versions

MEMINFO = "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     400 kB\nHugePages_Total:       0\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def cpu_line(user: int, idle: int) -> str:
    return f"cpu  {user} 0 0 {idle} 0 0 0 0 0 0\ncpu0 {user} 0 0 {idle} 0 0 0 0 0 0\nintr 1 2 3\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A computer that tells what every Linux tells, and no more."""
    write(tmp_path, {"proc/stat": cpu_line(100, 900), "proc/meminfo": MEMINFO})
    return tmp_path


def test_this_computer() -> None:
    host = Host(Path("/"))
    reading = host.read()
    assert 0 <= reading.cpu_pct <= 100
    assert 0 < reading.memory_bytes < hardware().memory_bytes
    assert reading.disk_free_bytes is not None
    assert isinstance(clock_synced(), bool)


def test_load_is_counted_since_the_reading_before(root: Path) -> None:
    host = Host(root, root)
    write(root, {"proc/stat": cpu_line(130, 970)})
    assert host.read().cpu_pct == 30.0
    assert host.read().cpu_pct == 0.0
    write(root, {"proc/stat": cpu_line(230, 970)})
    assert host.read().cpu_pct == 100.0


def test_memory_in_use_is_what_is_not_available(root: Path) -> None:
    assert Host(root, root).read().memory_bytes == 600 * 1024


def test_what_a_computer_does_not_tell_is_none(root: Path) -> None:
    reading = Host(root / "no such disk", root).read()
    assert (reading.disk_free_bytes, reading.temperature_c, reading.throttled) == (None, None, None)
    assert hardware(root).model is None


def test_the_hottest_thermometer_counts(root: Path) -> None:
    zones = "sys/class/thermal/thermal_zone"
    write(
        root,
        {
            f"{zones}0/temp": "48312\n",
            f"{zones}0/type": "cpu-thermal\n",
            f"{zones}1/temp": "51250\n",
            f"{zones}2/temp": "-256000\n",  # Jetson: a zone that is off
            f"{zones}3/temp": "not a number\n",
            f"{zones}4/temp": "100000\n",
            f"{zones}4/type": "PMIC-Die\n",
            f"{zones}5/type": "without a reading\n",
        },
    )
    assert Host(root, root).read().temperature_c == 51.2


@pytest.mark.parametrize(("bits", "throttled"), [("0\n", False), ("50000\n", False), ("50005\n", True), ("4\n", True)])
@pytest.mark.parametrize("folder", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_a_raspberry_pi_tells_whether_it_is_throttled(root: Path, folder: str, bits: str, throttled: bool) -> None:
    write(root, {f"sys/devices/platform/{folder}/get_throttled": bits})
    assert Host(root, root).read().throttled is throttled


@pytest.mark.parametrize(("level", "throttled"), [("0\n", False), ("2\n", True)])
def test_elsewhere_a_cooled_cpu_does(root: Path, level: str, throttled: bool) -> None:
    devices = "sys/class/thermal/cooling_device"
    write(
        root,
        {
            f"{devices}0/type": "pwm-fan\n",
            f"{devices}0/cur_state": "3\n",
            f"{devices}1/type": "cpufreq-cpu0\n",
            f"{devices}1/cur_state": level,
        },
    )
    assert Host(root, root).read().throttled is throttled


@pytest.mark.parametrize(
    ("files", "model"),
    [
        ({"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"}, "Raspberry Pi 5 Model B Rev 1.0"),
        ({"sys/class/dmi/id/sys_vendor": "LENOVO\n", "sys/class/dmi/id/product_name": "ThinkPad\n"}, "LENOVO ThinkPad"),
        ({"sys/class/dmi/id/product_name": "KVM\n"}, "KVM"),
    ],
)
def test_the_board_says_what_it_is(root: Path, files: dict[str, str], model: str) -> None:
    write(root, files)
    facts = hardware(root)
    assert facts.model == model
    assert facts.memory_bytes == 1000 * 1024
    assert facts.cores >= 1


def test_versions_of_what_is_installed() -> None:
    found = versions(["numpy", "no-such-package"])
    assert set(found) == {"kernel", "python", "numpy"}
    assert found["numpy"] == metadata.version("numpy")
