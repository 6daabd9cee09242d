"""Rounds become figures, and figures a page."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

from agent.cli.benchmark.brokers import Arrival
from agent.cli.benchmark.whole import Whole

STAGES = ("wait", "preprocess", "inference", "postprocess", "total")
PERCENTILES = (50, 95, 99)


def figures(bares: Sequence[Mapping[str, Any]], wholes: Sequence[Whole], paced: Sequence[Whole]) -> dict[str, Any]:
    """Medians over the rounds. paced: runs at the video's own pace, empty for pictures, which have none."""
    ratios = [whole.fps / bare["fps"] for whole, bare in zip(wholes, bares, strict=True)]
    beyond = [whole.cpu_ms - bare["cpu_ms"] for whole, bare in zip(wholes, bares, strict=True)]
    memory = {role: median(whole.pss_mb.get(role, 0.0) for whole in wholes) for role in wholes[0].pss_mb}
    arrivals = [arrival for whole in paced or wholes for arrival in whole.arrivals]
    return {
        "bare_fps": round(median(bare["fps"] for bare in bares), 2),
        "agent_fps": round(median(whole.fps for whole in wholes), 2),
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "bare_cpu_ms": round(median(bare["cpu_ms"] for bare in bares), 2),
        "agent_cpu_ms": round(median(whole.cpu_ms for whole in wholes), 2),
        "cpu_beyond_bare_ms": round(median(beyond), 2),
        "latency_at": "the video's own pace" if paced else "full speed",
        "latency_ms": latencies(arrivals),
        "pss_mb": {role: round(mb, 1) for role, mb in memory.items()} | {"all": round(sum(memory.values()), 1)},
        "first_result_s": round(median(whole.first_s for whole in (*wholes, *paced)), 2),
    }


def latencies(arrivals: Sequence[Arrival]) -> dict[str, dict[str, float]]:
    """Percentiles by stage; from capture to subscriber, which the message knows to 1 ms; and that without inference."""
    stages: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "subscriber", "subscriber_less_inference")}
    for arrival in arrivals:
        result = json.loads(arrival.payload)
        for stage in STAGES:
            stages[stage].append(result["latency_ms"][stage])
        captured_s = datetime.fromisoformat(result["captured_at"]).timestamp()
        subscriber = arrival.utc_ns / 1e6 - captured_s * 1000
        stages["subscriber"].append(subscriber)
        stages["subscriber_less_inference"].append(subscriber - result["latency_ms"]["inference"])
    return {stage: {f"p{p}": round(_percentile(values, p), 2) for p in PERCENTILES} for stage, values in stages.items()}


def _percentile(values: Sequence[float], percent: int) -> float:
    """The least of the values that so many per cent do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def page(found: Mapping[str, Any]) -> Iterator[str]:
    """For people."""
    yield f"{found['model']} on {found['delegate']}, {found['threads']} thread{'s' * (found['threads'] > 1)}; {found['source']}"
    yield f"{found['processor']}; broker: {found['broker']}"
    yield ""
    yield f"bare runtime      {found['bare_fps']:8.1f} fps  {found['bare_cpu_ms']:7.2f} ms CPU a frame"
    yield f"whole agent       {found['agent_fps']:8.1f} fps  {found['agent_cpu_ms']:7.2f} ms CPU a frame"
    spread = f"rounds {min(found['ratios']):.3f} to {max(found['ratios']):.3f}"
    yield f"                  {found['ratio']:8.3f} of bare ({spread}), {found['cpu_beyond_bare_ms']:.2f} ms CPU beyond bare"
    yield ""
    yield f"{'latency at ' + found['latency_at']:36} {'p50':>8} {'p95':>8} {'p99':>8} ms"
    names = {"subscriber": "capture to subscriber", "subscriber_less_inference": "capture to subscriber less inference"}
    for stage, percentiles in found["latency_ms"].items():
        yield f"{names.get(stage, stage):36} {' '.join(f'{ms:8.2f}' for ms in percentiles.values())}"
    yield ""
    yield "memory (PSS)      " + ", ".join(f"{role} {mb:.1f} MB" for role, mb in found["pss_mb"].items())
    yield f"first result      {found['first_result_s']:.2f} s after the start"
