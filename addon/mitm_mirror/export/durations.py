"""Durations as protobuf-JSON."""


def duration(seconds: float) -> str:
    """`1.5s`; digits down to nanoseconds, which is all that protobuf holds."""
    text = f"{seconds:.9f}".rstrip("0").rstrip(".")
    return f"{text}s"
