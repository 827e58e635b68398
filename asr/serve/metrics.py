"""Counters of the server in Prometheus' format.

In: what happens. Out: the text of /metrics. A registry for each application; no label comes from a
client.
"""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_RTF = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)


class Metrics:
    """All counters.

    Attributes:
        requests: by route and status.
        request_seconds: from the head of a request to the end of its answer, by route.
        errors: by the code of the problem.
        audio_seconds: transcribed, by model and way: file or stream.
        work_seconds: spent on it by a thread, by model and way.
        real_time_factor: seconds of work per second of audio, of each batch.
        batch_size: recordings that were transcribed together.
        waiting, working: jobs.
        streams: open websockets.
        ready: 1 once every model has passed its check.
    """

    def __init__(self):
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("asr_requests", "Requests.", ("route", "status"),
                                registry=registry)
        self.request_seconds = Histogram(
            "asr_request_seconds", "Seconds from the head of a request to the end of its answer.",
            ("route",), registry=registry, buckets=_SECONDS)
        self.errors = Counter("asr_errors", "Problems, by their code.", ("code",),
                              registry=registry)
        self.audio_seconds = Counter("asr_audio_seconds", "Seconds of audio transcribed.",
                                     ("model", "way"), registry=registry)
        self.work_seconds = Counter("asr_work_seconds", "Seconds of work on audio.",
                                    ("model", "way"), registry=registry)
        self.real_time_factor = Histogram(
            "asr_real_time_factor", "Seconds of work per second of audio, of each batch.",
            registry=registry, buckets=_RTF)
        self.batch_size = Histogram("asr_batch_size", "Recordings transcribed together.",
                                    registry=registry, buckets=(1, 2, 4, 8, 16, 32, 64))
        self.waiting = Gauge("asr_jobs_waiting", "Recordings in the queue.", registry=registry)
        self.working = Gauge("asr_jobs_working", "Recordings being transcribed.",
                             registry=registry)
        self.streams = Gauge("asr_streams_open", "Open websockets.", registry=registry)
        self.ready = Gauge("asr_ready", "1 once every model has passed its check.",
                           registry=registry)

    def text(self) -> bytes:
        """What /metrics answers."""
        return generate_latest(self.registry)
