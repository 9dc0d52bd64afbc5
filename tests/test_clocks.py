"""The wall's clock may be set at any time, so it decides nothing: it only dates what a person reads."""

import re
from pathlib import Path

import mitm_mirror

PACKAGE = Path(mitm_mirror.__file__).parent
WALL_CLOCK = re.compile(
    r"\btime\.(time|time_ns|localtime|gmtime|ctime|strftime)\b|CLOCK_REALTIME|\.(now|utcnow|today)\("
    # mitmproxy's, of a message, a connection or an error
    r"|\btimestamp_(start|end|tcp_setup|tls_setup)\b|\berror\.timestamp\b"
)

MAY_LOOK = {
    "observe/formats.py": "how a log line writes its start",
    "proxy/mirrors.py": "a shadow's start in the access log",
    "proxy/retrying.py": "when an answer began, for the flow",
    "proxy/tail.py": "the same",
    "shadow/answer.py": "the same",
    "shadow/sender.py": "the same",
    "proxy/primary.py": "a primary's start and durations in the access log; whether it was connected",
    "proxy/playback/recording.py": "when a request was recorded: data, and no clock of ours",
    "observe/report/command.py": "when a report was made",
    "proxy/shadow_flow.py": "a shadow's times, for its flow",
    "proxy/shown_pairs.py": "when a shadow failed, for its flow",
    "proxy/legs.py": "durations of both legs, for whoever looks at a pair",
}


def test_nothing_but_logs_and_reports_looks_at_the_walls_clock() -> None:
    looking = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if WALL_CLOCK.search(path.read_text(encoding="utf-8"))
    }

    # What decides (a time-out, a pause, a share) asks a monotonic clock; what only dates belongs above.
    assert looking == set(MAY_LOOK)


def test_what_is_looked_for_would_be_found() -> None:
    for text in ("time.time()", "datetime.now(UTC)", "flow.request.timestamp_end", "flow.error.timestamp"):
        assert WALL_CLOCK.search(text), text
    for text in ("time.monotonic()", "loop.time()", "clock()", "self._clock()"):
        assert not WALL_CLOCK.search(text), text
