"""What the service counts, and its metrics in Prometheus' text form.

The scorer counts in plain numbers (`Tally`, `Histogram`); the desk fetches them (`Stats`) and renders them, because rendering takes
milliseconds and would stop every decision. Names and help stand in one table, METRICS, from which docs/reference/metrics.md is made.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from fraudloop.domain.outcome import Outcome
from fraudloop.ledger.records import Decision

#: Upper edges, each inclusive. Latency in seconds: the promise (50 ms) and the moments around a disk's flush need edges of their own.
LATENCY_S: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
FLUSH_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)
BATCH: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
SCORE: Final = tuple(n / 20 for n in range(1, 21))


class Histogram(msgspec.Struct):
    """Counts between edges; the last is of everything above.

    >>> histogram = Histogram.of((1.0, 2.0))
    >>> for value in (0.5, 1.0, 1.5, 9.0): histogram.add(value)
    >>> histogram.counts, histogram.total
    ([2, 1, 1], 12.0)
    """

    edges: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    @staticmethod
    def of(edges: Sequence[float]) -> Histogram:
        """An empty one."""
        return Histogram(tuple(edges), [0] * (len(edges) + 1))

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value

    def add_all(self, values: Sequence[float]) -> None:
        """`add` of each in turn."""
        for value in values:  # one after the other, as `add` does: the last bits of a sum are of its order
            self.total += value
        ordered, counts, below = sorted(values), self.counts, 0
        for at, edge in enumerate(self.edges):
            upto = bisect_right(ordered, edge, below)
            counts[at] += upto - below
            below = upto
        counts[-1] += len(ordered) - below


class FeatureStats(msgspec.Struct):
    """One feature as the decisions since the start saw it. values: seen; missing: NaN; total, squares: sums over the values."""

    values: int = 0
    missing: int = 0
    total: float = 0.0
    squares: float = 0.0


class BesideStats(msgspec.Struct, kw_only=True):
    """What goes on beside the decisions. guards: kind, name, window and share acted on. canary: the verdict, empty without one.
    canary_payments: by side. observed: theirs, ours, payments, money."""

    guards: Sequence[tuple[str, str, str, float]] = ()
    tripped: int = 0
    canary_share: float = 0.0
    canary: str = ""
    canary_payments: Mapping[str, int] = msgspec.field(default_factory=dict)
    shadowed: int = 0
    shadow_dropped: int = 0
    shadow_waiting: int = 0
    shadow_differing: float = 0.0
    shadow_correlation: float | None = None
    warming: int = 0
    observed: Sequence[tuple[str, str, int, float]] = ()
    unknown_words: int = 0


class EngineStats(msgspec.Struct, kw_only=True):
    """What the engine tells of itself; plain numbers since its start.

    modes: what is degraded now. unknown: words that the model never met, by column. phases_s: time of the loop by phase. slots: hash in force by
    slot or kind (champion, rules, policy, plan, lists). labels: by whether they said fraud. entries: by list.
    """

    role: str = "active"
    ready: bool = True
    modes: Sequence[str] = ()
    queue: int = 0
    queue_max: int = 0
    lsn: int = 0
    durable_lsn: int = 0
    batches: int = 0
    decided: int = 0
    absorbed: int = 0
    repeated: int = 0
    conflicts: int = 0
    shed: int = 0
    deferred: int = 0
    batch: Histogram = msgspec.field(default_factory=lambda: Histogram.of(BATCH))
    flush_s: Histogram = msgspec.field(default_factory=lambda: Histogram.of(FLUSH_S))
    phases_s: Mapping[str, float] = msgspec.field(default_factory=dict)
    features: Mapping[str, FeatureStats] = msgspec.field(default_factory=dict)
    unknown: Mapping[str, int] = msgspec.field(default_factory=dict)
    slots: Mapping[str, str] = msgspec.field(default_factory=dict)
    labels: Mapping[str, int] = msgspec.field(default_factory=dict)
    entries: Mapping[str, int] = msgspec.field(default_factory=dict)
    beside: BesideStats = msgspec.field(default_factory=BesideStats)
    state_bytes: int = 0
    log_bytes: int = 0


class Tally(msgspec.Struct):
    """What the HTTP side counts of decisions and requests. outcomes: by number of the outcome. requests: `METHOD path status` -> how many."""

    outcomes: list[int] = msgspec.field(default_factory=lambda: [0] * len(Outcome))
    latency_s: Histogram = msgspec.field(default_factory=lambda: Histogram.of(LATENCY_S))
    score: Histogram = msgspec.field(default_factory=lambda: Histogram.of(SCORE))
    unscored: int = 0
    degraded: int = 0
    hits: dict[str, int] = msgspec.field(default_factory=dict)
    requests: dict[str, int] = msgspec.field(default_factory=dict)
    predictions: int = 0
    limited: int = 0
    lines_dropped: int = 0

    def decided(self, d: Decision) -> None:
        """One decision was answered."""
        self.outcomes[d.outcome] += 1
        latency, latency_s = self.latency_s, d.latency_us * 1e-6
        latency.counts[bisect_left(LATENCY_S, latency_s)] += 1
        latency.total += latency_s
        score = d.fraud_score
        if score is None:
            self.unscored += 1
        else:
            scores = self.score
            scores.counts[bisect_left(SCORE, score)] += 1
            scores.total += score
        if d.why:
            self.degraded += 1
        if d.hits:
            counted = self.hits
            for rule in d.hits:
                counted[rule] = counted.get(rule, 0) + 1

    def decided_all(self, decisions: Sequence[Decision]) -> None:
        """`decided` of each in turn, sooner."""
        outcomes, hits = self.outcomes, self.hits
        for d in decisions:
            outcomes[d.outcome] += 1
            if d.why:
                self.degraded += 1
            for rule in d.hits:
                hits[rule] = hits.get(rule, 0) + 1
        scores = [d.fraud_score for d in decisions if d.fraud_score is not None]
        self.unscored += len(decisions) - len(scores)
        self.latency_s.add_all([d.latency_us * 1e-6 for d in decisions])
        self.score.add_all(scores)

    def request(self, key: str) -> None:
        """One request was answered otherwise than with 200; those are counted by their handlers."""
        self.requests[key] = self.requests.get(key, 0) + 1


class HttpStats(msgspec.Struct):
    """Of the server: connections open now and ever, turned away, timed out, requests that were none."""

    open: int = 0
    connections: int = 0
    turned_away: int = 0
    timed_out: int = 0
    requests: int = 0
    bad: Mapping[str, int] = msgspec.field(default_factory=dict)


class Stats(msgspec.Struct):
    """Everything of one scorer at one moment, as `/internal/stats` gives it to the desk. started: seconds since 1970 UTC."""

    version: str
    build: str
    started: float
    engine: EngineStats
    tally: Tally
    http: HttpStats


class Metric(msgspec.Struct, frozen=True):
    """A row of the table. kind: counter, gauge, histogram or info. labels: their names. help: what one unit of it is."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


METRICS: Final = (
    Metric("fraudloop_decisions", "counter", ("outcome",), "Decisions answered, stored answers to retries included"),
    Metric("fraudloop_decision_latency_seconds", "histogram", (), "From a payment's arrival until its decision is on disk"),
    Metric("fraudloop_fraud_score", "histogram", (), "Calibrated scores of the decisions answered"),
    Metric("fraudloop_unscored", "counter", (), "Decisions answered without a model's score"),
    Metric("fraudloop_degraded_decisions", "counter", (), "Decisions answered while something was degraded"),
    Metric("fraudloop_rule_hits", "counter", ("rule",), "Hits of live rules in the decisions answered"),
    Metric("fraudloop_predictions", "counter", (), "Rows answered by /predict and /predict/batch"),
    Metric("fraudloop_payments_decided", "counter", (), "Payments decided by the loop, each once"),
    Metric("fraudloop_payments_absorbed", "counter", (), "Payments absorbed without a decision"),
    Metric("fraudloop_payments_repeated", "counter", (), "Payments that came again with the same body"),
    Metric("fraudloop_payments_conflicting", "counter", (), "Payments that came again with another body"),
    Metric("fraudloop_payments_shed", "counter", (), "Payments turned away because the queue was full"),
    Metric("fraudloop_reasons_deferred", "counter", (), "Decisions whose model reasons were left for the reader"),
    Metric("fraudloop_batch_size", "histogram", (), "Payments of a micro-batch"),
    Metric("fraudloop_loop_seconds", "counter", ("phase",), "Processor time of the scoring loop by phase, from one batch in eight"),
    Metric("fraudloop_queue", "gauge", (), "Payments that wait for the loop"),
    Metric("fraudloop_queue_limit", "gauge", (), "Payments that may wait before others are turned away"),
    Metric("fraudloop_flush_seconds", "histogram", (), "Flushes of the log to disk"),
    Metric("fraudloop_log_lsn", "gauge", ("edge",), "Position of the log: appended, and durable"),
    Metric("fraudloop_log_bytes", "gauge", (), "Bytes of the log on disk"),
    Metric("fraudloop_state_bytes", "gauge", (), "Bytes of the entities' state in memory"),
    Metric("fraudloop_ready", "gauge", (), "1 while payments are taken"),
    Metric("fraudloop_degraded", "gauge", ("why",), "1 for each thing that is degraded now"),
    Metric("fraudloop_labels", "counter", ("fraud",), "Labels taken, by what they said"),
    Metric("fraudloop_list_entries", "gauge", ("list",), "Entries of the block, allow and watch lists"),
    Metric("fraudloop_guard_share", "gauge", ("kind", "name", "window_s"), "Share of the payments of a window that a guarded rule or model acts on"),
    Metric("fraudloop_guard_trips", "counter", (), "Times that a rule or model acted on more than its share"),
    Metric("fraudloop_canary_share", "gauge", (), "Share of customers that the canary decides, 0 without one"),
    Metric("fraudloop_canary_payments", "counter", ("slot",), "Payments decided while this canary is in force, by who decided them"),
    Metric("fraudloop_canary_verdict", "gauge", ("verdict",), "1 for how the canary stands: waiting, ok or worse"),
    Metric("fraudloop_shadow_payments", "counter", (), "Payments that the challenger scored beside the decision"),
    Metric("fraudloop_shadow_dropped", "counter", (), "Payments that the challenger was not shown, for decisions come first"),
    Metric("fraudloop_shadow_waiting", "gauge", (), "Batches that wait for the challenger"),
    Metric("fraudloop_shadow_differing", "gauge", (), "Share of payments for which champion and challenger ask for different outcomes"),
    Metric("fraudloop_shadow_correlation", "gauge", (), "Correlation of the scores of champion and challenger"),
    Metric("fraudloop_warming", "gauge", (), "Models and rule sets for which the log is being folded anew"),
    Metric("fraudloop_observed_payments", "counter", ("theirs", "ours"), "Observe mode: payments by the decision of the other system and ours"),
    Metric("fraudloop_observed_money", "counter", ("theirs", "ours"), "Observe mode: the same in money of the base currency"),
    Metric("fraudloop_observed_unknown", "counter", (), "Observe mode: payments whose decision by the other system is no word that is known"),
    Metric("fraudloop_feature_values", "counter", ("feature",), "Values of a feature that decisions saw"),
    Metric("fraudloop_feature_missing", "counter", ("feature",), "Decisions in which a feature was missing"),
    Metric("fraudloop_feature_mean", "gauge", ("feature",), "Mean of a feature over the decisions since the start"),
    Metric("fraudloop_feature_stddev", "gauge", ("feature",), "Standard deviation of a feature over the decisions since the start"),
    Metric("fraudloop_unknown_categories", "counter", ("column",), "Words that the model never met in training"),
    Metric("fraudloop_http_requests", "counter", (), "Requests taken, of every route"),
    Metric("fraudloop_http_refusals", "counter", ("route", "status"), "Requests answered otherwise than with 2xx"),
    Metric("fraudloop_http_malformed", "counter", ("status",), "Connections that sent no request of HTTP/1.1"),
    Metric("fraudloop_http_limited", "counter", (), "Requests beyond a caller's rate"),
    Metric("fraudloop_http_connections", "gauge", (), "Open connections"),
    Metric("fraudloop_http_connections_opened", "counter", (), "Connections opened"),
    Metric("fraudloop_http_connections_turned_away", "counter", (), "Connections beyond the limit"),
    Metric("fraudloop_http_timeouts", "counter", (), "Connections closed for taking too long"),
    Metric("fraudloop_log_lines_dropped", "counter", (), "Lines of decisions dropped because their reader was too slow"),
    Metric("fraudloop_in_force", "info", ("slot", "hash"), "1 for what decides: model slots, rules, policy, plan"),
    Metric("fraudloop_build", "info", ("version", "build"), "1 for the build that runs"),
    Metric("fraudloop_start_time_seconds", "gauge", (), "When the scorer started, in seconds since 1970 UTC"),
)  # fmt: skip


def samples(stats: Stats) -> Iterator[tuple[str, tuple[str, ...], float | Histogram]]:
    """Name, label values and value of each sample, in the order of METRICS."""
    e, t, h = stats.engine, stats.tally, stats.http
    one = ()
    for outcome in Outcome:
        yield "fraudloop_decisions", (outcome.text,), t.outcomes[outcome]
    yield "fraudloop_decision_latency_seconds", one, t.latency_s
    yield "fraudloop_fraud_score", one, t.score
    yield "fraudloop_unscored", one, t.unscored
    yield "fraudloop_degraded_decisions", one, t.degraded
    for rule, n in sorted(t.hits.items()):
        yield "fraudloop_rule_hits", (rule,), n
    yield "fraudloop_predictions", one, t.predictions
    yield "fraudloop_payments_decided", one, e.decided
    yield "fraudloop_payments_absorbed", one, e.absorbed
    yield "fraudloop_payments_repeated", one, e.repeated
    yield "fraudloop_payments_conflicting", one, e.conflicts
    yield "fraudloop_payments_shed", one, e.shed
    yield "fraudloop_reasons_deferred", one, e.deferred
    yield "fraudloop_batch_size", one, e.batch
    for phase, seconds in sorted(e.phases_s.items()):
        yield "fraudloop_loop_seconds", (phase,), seconds
    yield "fraudloop_queue", one, e.queue
    yield "fraudloop_queue_limit", one, e.queue_max
    yield "fraudloop_flush_seconds", one, e.flush_s
    yield "fraudloop_log_lsn", ("appended",), e.lsn
    yield "fraudloop_log_lsn", ("durable",), e.durable_lsn
    yield "fraudloop_log_bytes", one, e.log_bytes
    yield "fraudloop_state_bytes", one, e.state_bytes
    yield "fraudloop_ready", one, float(e.ready)
    for why in e.modes:
        yield "fraudloop_degraded", (why,), 1
    for fraud, n in sorted(e.labels.items()):
        yield "fraudloop_labels", (fraud,), n
    for name, n in sorted(e.entries.items()):
        yield "fraudloop_list_entries", (name,), n
    b = e.beside
    for kind, name, window, share in b.guards:
        yield "fraudloop_guard_share", (kind, name, window), share
    yield "fraudloop_guard_trips", one, b.tripped
    yield "fraudloop_canary_share", one, b.canary_share
    for slot, n in sorted(b.canary_payments.items()):
        yield "fraudloop_canary_payments", (slot,), n
    if b.canary:
        yield "fraudloop_canary_verdict", (b.canary,), 1
    yield "fraudloop_shadow_payments", one, b.shadowed
    yield "fraudloop_shadow_dropped", one, b.shadow_dropped
    yield "fraudloop_shadow_waiting", one, b.shadow_waiting
    yield "fraudloop_shadow_differing", one, b.shadow_differing
    if b.shadow_correlation is not None:
        yield "fraudloop_shadow_correlation", one, b.shadow_correlation
    yield "fraudloop_warming", one, b.warming
    for theirs, ours, n, money in b.observed:
        yield "fraudloop_observed_payments", (theirs, ours), n
        yield "fraudloop_observed_money", (theirs, ours), money
    yield "fraudloop_observed_unknown", one, b.unknown_words
    for name, f in sorted(e.features.items()):
        yield "fraudloop_feature_values", (name,), f.values
        yield "fraudloop_feature_missing", (name,), f.missing
        if f.values:
            mean = f.total / f.values
            yield "fraudloop_feature_mean", (name,), mean
            yield "fraudloop_feature_stddev", (name,), max(0.0, f.squares / f.values - mean * mean) ** 0.5
    for column, n in sorted(e.unknown.items()):
        yield "fraudloop_unknown_categories", (column,), n
    yield "fraudloop_http_requests", one, h.requests
    for key, n in sorted(t.requests.items()):
        route, _, status = key.rpartition(" ")
        yield "fraudloop_http_refusals", (route, status), n
    for status, n in sorted(h.bad.items()):
        yield "fraudloop_http_malformed", (status,), n
    yield "fraudloop_http_limited", one, t.limited
    yield "fraudloop_http_connections", one, h.open
    yield "fraudloop_http_connections_opened", one, h.connections
    yield "fraudloop_http_connections_turned_away", one, h.turned_away
    yield "fraudloop_http_timeouts", one, h.timed_out
    yield "fraudloop_log_lines_dropped", one, t.lines_dropped
    for slot, hashed in sorted(e.slots.items()):
        yield "fraudloop_in_force", (slot, hashed), 1
    yield "fraudloop_build", (stats.version, stats.build), 1
    yield "fraudloop_start_time_seconds", one, stats.started


def render(stats: Stats | None) -> bytes:
    """Prometheus' text form; without stats only that the scorer did not answer. For the desk: it takes milliseconds."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(stats))
    return generate_latest(registry)


class _Collector:
    def __init__(self, stats: Stats | None) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Any]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        up = GaugeMetricFamily("fraudloop_up", "1 while the scorer answers")
        up.add_metric((), float(self._stats is not None))
        yield up
        if self._stats is None:
            return
        families: dict[str, Any] = {}
        for metric in METRICS:
            if metric.kind == "counter":
                families[metric.name] = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            elif metric.kind == "histogram":
                families[metric.name] = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            else:
                families[metric.name] = GaugeMetricFamily(
                    metric.name + ("_info" if metric.kind == "info" else ""), metric.help, labels=metric.labels
                )
        for name, labels, value in samples(self._stats):
            if isinstance(value, Histogram):
                buckets, below = [], 0
                for edge, count in zip((*value.edges, float("inf")), value.counts, strict=True):
                    below += count
                    buckets.append(("+Inf" if edge == float("inf") else repr(edge), below))
                families[name].add_metric(labels, buckets=buckets, sum_value=value.total)
            else:
                families[name].add_metric(labels, value)
        yield from families.values()


def exposed_name(metric: Metric) -> str:
    """The name that a query uses."""
    return metric.name + {"counter": "_total", "info": "_info"}.get(metric.kind, "")


_PAGE: Final = """# Metrics

`GET /metrics` gives them in Prometheus' text form. The scorer only counts; the desk fetches the counts and renders them, so that a scrape
never holds up a decision. `fraudloop_up` is 0, and nothing else is told, while the scorer does not answer the desk. Counts begin with the process.
No label ever holds an id of a customer, merchant, device or payment.

| metric | kind | labels | one unit is |
|---|---|---|---|
| `fraudloop_up` | gauge | | 1 while the scorer answers |
"""


def page() -> str:
    """docs/reference/metrics.md."""
    rows = [f"| `{exposed_name(m)}` | {m.kind} | {', '.join(f'`{label}`' for label in m.labels)} | {m.help} |" for m in METRICS]
    edges = ", ".join(f"{1000 * edge:g}" for edge in LATENCY_S)
    return f"{_PAGE}" + "\n".join(rows) + f"\n\nEdges of the latency histogram, in milliseconds: {edges}.\n"
