"""What `bench` makes of its rounds, and of a computer without a broker."""

import json
import os
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.cli.benchmark.brokers import Arrival, Broker, a_broker
from agent.cli.benchmark.figures import figures, latencies, page
from agent.cli.benchmark.noise import Noise, processor
from agent.cli.benchmark.processes import cpu_s, family, pss_mb
from agent.cli.benchmark.whole import Whole
from agent.errors import BrokerError, UsageError
from tests.mosquitto import free_port
from tests.waiting import DEADLINE_S

CAPTURED_NS = 1_700_000_000_000_000_000
CAPTURED = "2023-11-14T22:13:20.000Z"


def arrival(after_ms: float, inference: float = 5.0) -> Arrival:
    stages = {"wait": 1.0, "preprocess": 0.5, "inference": inference, "postprocess": 0.25, "total": after_ms - 1}
    payload = json.dumps({"captured_at": CAPTURED, "latency_ms": stages}).encode()
    return Arrival(CAPTURED_NS + int(after_ms * 1e6), 0.0, payload)


def test_latencies_by_stage_and_up_to_the_subscriber() -> None:
    found = latencies([arrival(float(ms)) for ms in range(10, 110)])
    assert found["total"] == {"p50": 58.0, "p95": 103.0, "p99": 107.0}
    assert found["subscriber"] == {"p50": 59.0, "p95": 104.0, "p99": 108.0}
    assert found["subscriber_less_inference"] == {"p50": 54.0, "p95": 99.0, "p99": 103.0}
    assert found["wait"] == {"p50": 1.0, "p95": 1.0, "p99": 1.0}


def test_medians_over_the_rounds() -> None:
    bares = [{"fps": fps, "cpu_ms": 10.0} for fps in (100.0, 50.0, 100.0)]
    memory = {"agent": 30.0, "model worker": 60.0}
    wholes = [Whole(fps, cpu_ms, memory, 0.5, [arrival(20)]) for fps, cpu_ms in ((90.0, 12.0), (49.0, 13.0), (95.0, 19.0))]
    found: dict[str, Any] = figures(bares, wholes, [])
    assert (found["bare_fps"], found["agent_fps"], found["ratio"]) == (100.0, 90.0, 0.95)
    assert found["ratios"] == [0.9, 0.98, 0.95]
    assert found["cpu_beyond_bare_ms"] == 3.0
    assert found["pss_mb"] == {"agent": 30.0, "model worker": 60.0, "all": 90.0}
    assert found["latency_at"] == "full speed"
    about = {"model": "m", "delegate": "cpu", "threads": 2, "source": "s", "processor": "p", "broker": "b"}
    assert any("0.950 of bare" in line for line in page(found | about))


def test_messages_end_in_a_sink_where_there_is_no_broker() -> None:
    broker = Broker("none", "127.0.0.1", free_port(), real=False)
    with broker.listen("edge/v1/x") as inbox:
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.connect(broker.host, broker.port)
        client.loop_start()
        client.publish("edge/v1/x/info", "no result", qos=1).wait_for_publish(DEADLINE_S)
        for i in range(300):
            client.publish("edge/v1/x/results/main", f"{i} ".encode() * 100, qos=i % 2)
        assert inbox.wait(300, DEADLINE_S)
        client.disconnect()
        client.loop_stop()
    payloads = sorted((one.payload for one in inbox.arrivals), key=lambda payload: int(payload.split()[0]))
    assert payloads == [f"{i} ".encode() * 100 for i in range(300)]


def test_a_broker_that_is_named() -> None:
    with a_broker("127.0.0.1:1") as broker, pytest.raises(BrokerError, match=r"127\.0\.0\.1:1"), broker.listen("edge/v1/x"):
        pass
    with pytest.raises(UsageError, match="expected HOST"), a_broker(":1883"):
        pass


def test_what_the_kernel_says_of_this_process() -> None:
    pids = family(os.getpid())
    assert pids[0] == os.getpid()
    assert cpu_s(pids[:1]) > 0
    assert pss_mb(pids[:1])["agent"] > 1


def test_rounds_that_differ_are_told() -> None:
    noise = Noise()
    assert not any("rounds" in problem for problem in noise.problems([100, 101, 104]))
    assert "equal rounds differ by 20%" in noise.problems([100, 101, 120.2])
    assert processor().startswith(f"{len(os.sched_getaffinity(0))} x ")
