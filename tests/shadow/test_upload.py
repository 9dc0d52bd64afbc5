"""Shadows whose bodies come in pieces: what waits where, what it costs, and how they end."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from mitm_mirror.client.request import Fields
from mitm_mirror.outcome import Outcome
from mitm_mirror.shadow.message import CHUNK_OVERHEAD_BYTES, ShadowResult
from mitm_mirror.shadow.pool import ShadowPool
from mitm_mirror.shadow.settings import PoolSettings
from mitm_mirror.shadow.terms import Terms
from mitm_mirror.shadow.upload import PoolUpload

ENTRY_BYTES = 1024 + len(b"Host") + len(b"httpbin-shadow:8080") + len(b"/")
"""What `kit.shadow()` counts without a body."""


class FakeBackend:
    """Writes down what it is told."""

    pid = 1000

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.calls: list[tuple[Any, ...]] = []

    def send(self, number: int, request: Any, body: bytes, timeout_s: float) -> None:
        self.calls.append(("send", number))

    def open(self, number: int, request: Any, timeout_s: float) -> None:
        if request.address == "unencodable":
            raise UnicodeEncodeError("utf-8", "s3cret", 0, 1, "surrogates not allowed")
        self.calls.append(("open", number, timeout_s))

    def put(self, number: int, data: bytes) -> None:
        self.calls.append(("put", number, data))

    def end(self, number: int, trailers: Fields) -> None:
        self.calls.append(("end", number, *trailers))

    def abort(self, number: int) -> None:
        self.calls.append(("abort", number))

    def waiting_files(self) -> list[Any]:
        return []

    def kill(self) -> None:
        self.calls.append(("kill",))

    def close(self) -> None:
        pass

    def join(self, timeout_s: float) -> None:
        pass


class Stage:
    """A pool with one fake worker and a clock that the test moves."""

    def __init__(self, kit: Any, *, ready: bool = True, **settings: Any) -> None:
        self.kit = kit
        self.now = 100.0
        self.endings = kit.Endings()
        self.pool: ShadowPool[Any] = ShadowPool(
            PoolSettings(**settings), self.endings, lambda: self.now, self.start_backend, lambda: 0.0
        )
        self.pool.start()
        if ready:
            self.backend.owner.backend_ready()

    def start_backend(self, owner: Any) -> FakeBackend:
        self.backend = FakeBackend(owner)
        return self.backend

    def open(self, **request: Any) -> PoolUpload[Any]:
        return self.pool.open(self.kit.shadow(**request), "a", Terms(15.0, "v2"))

    @property
    def held_bytes(self) -> int:
        return self.pool.stats().held_bytes

    def answer(self, number: int = 1, outcome: Outcome = Outcome.OK) -> None:
        self.backend.owner.backend_results([ShadowResult(number, outcome, 200, 0, 1.0, "")])

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.pool._sweep()


def chunk(size: int) -> int:
    return size + CHUNK_OVERHEAD_BYTES


def test_pieces_go_to_the_worker_as_they_come(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        upload = stage.open()
        upload.write(b"one")
        upload.write(b"")
        assert stage.held_bytes == ENTRY_BYTES + chunk(3)
        stage.backend.owner.backend_taken([(1, chunk(3)), (99, 5)])
        assert stage.held_bytes == ENTRY_BYTES
        upload.write(b"two")
        upload.finish()
        upload.finish()
        assert stage.backend.calls == [
            ("open", 1, 15.0),
            ("put", 1, b"one"),
            ("put", 1, b"two"),
            ("end", 1),
        ]
        stage.answer()
        assert stage.endings.outcomes == {"a": "ok"}
        assert stage.held_bytes == 0
        stage.backend.owner.backend_taken([(1, chunk(3))])  # late, and counted already
        assert stage.held_bytes == 0

    kit.run(test)


def test_pieces_wait_for_a_worker(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, ready=False)
        upload = stage.open()
        upload.write(b"one")
        upload.finish()
        stage.now += 5.0
        stage.backend.owner.backend_ready()
        assert stage.backend.calls == [("open", 1, 10.0), ("put", 1, b"one"), ("end", 1)]

    kit.run(test)


TRAILER = (b"x-sum", b"6")


@pytest.mark.parametrize("ready", [True, False], ids=["at once", "once there is a worker"])
def test_trailers_go_with_the_end_and_are_held_until_the_shadow_ends(kit: Any, ready: bool) -> None:
    async def test() -> None:
        stage = Stage(kit, ready=ready)
        upload = stage.open()
        upload.write(b"one")
        upload.finish((TRAILER,))
        if not ready:
            stage.backend.owner.backend_ready()
        assert stage.backend.calls[1:] == [("put", 1, b"one"), ("end", 1, TRAILER)]
        stage.backend.owner.backend_taken([(1, chunk(3))])
        assert stage.held_bytes == ENTRY_BYTES + 6
        stage.answer()
        assert stage.held_bytes == 0

    kit.run(test)


def test_trailers_of_a_whole_body_are_counted(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, ready=False)
        stage.pool.submit(replace(kit.shadow(), trailers=(TRAILER,)), b"abc", "a", Terms(15.0, "v2"))
        assert stage.held_bytes == ENTRY_BYTES + 3 + 6

    kit.run(test)


def test_trailers_for_which_there_is_no_memory_end_the_shadow(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, queue_bytes=ENTRY_BYTES + chunk(3) + 5)
        upload = stage.open()
        upload.write(b"one")
        upload.finish((TRAILER,))
        assert stage.endings.outcomes == {"a": "queue_full"}
        assert stage.backend.calls[-1] == ("abort", 1)
        assert stage.held_bytes == 0

    kit.run(test)


def test_the_clock_starts_at_the_end_of_the_body(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, unresponsive_s=0.5)
        upload = stage.open()
        stage.advance(3600.0)
        assert not stage.endings.all
        upload.finish()
        stage.advance(14.9)
        assert not stage.endings.all
        stage.advance(1.0)
        stage.advance(1.0)
        assert stage.endings.outcomes == {"a": "timeout"}
        assert ("abort", 1) in stage.backend.calls

    kit.run(test)


def test_a_mirror_slower_than_the_client_costs_its_shadow_and_no_more_memory(kit: Any) -> None:
    async def test() -> None:
        limit = ENTRY_BYTES + chunk(1000) + 10
        stage = Stage(kit, queue_bytes=limit)
        upload = stage.open()
        upload.write(b"x" * 1000)
        upload.write(b"y" * 1000)
        [ending] = stage.endings.all
        assert ending.outcome is Outcome.QUEUE_FULL
        assert "slower than the client" in ending.error
        assert stage.held_bytes == 0
        assert stage.backend.calls[-1] == ("abort", 1)
        calls = len(stage.backend.calls)
        upload.write(b"z")
        upload.finish()
        upload.abort(Outcome.CANCELLED, "late")
        assert len(stage.backend.calls) == calls
        assert len(stage.endings.all) == 1

    kit.run(test)


def _worker_dies(stage: Stage, upload: PoolUpload[Any]) -> None:
    stage.backend.owner.backend_gone("was killed", "")


ENDS: list[Any] = [
    pytest.param(
        lambda stage, upload: upload.abort(Outcome.BODY_TOO_LARGE, "why"), "body_too_large", True, id="abort"
    ),
    pytest.param(_worker_dies, "lost", None, id="its worker dies"),
    pytest.param(lambda stage, upload: stage.pool.drain(0.0), "cancelled", None, id="shutdown"),
    pytest.param(
        lambda stage, upload: stage.answer(outcome=Outcome.CONNECT_ERROR),
        "connect_error",
        False,
        id="the worker answers early",
    ),
]


@pytest.mark.parametrize(("end", "outcome", "aborted"), ENDS)
def test_it_may_end_half_way(
    kit: Any, end: Callable[[Stage, PoolUpload[Any]], None], outcome: str, aborted: bool | None
) -> None:
    async def test() -> None:
        stage = Stage(kit)
        upload = stage.open()
        upload.write(b"half")
        backend = stage.backend
        end(stage, upload)
        assert stage.endings.outcomes == {"a": outcome}
        assert stage.held_bytes == 0
        if aborted is not None:
            assert (("abort", 1) in backend.calls) is aborted
        upload.write(b"the other half")
        upload.finish()
        assert ("end", 1) not in backend.calls
        assert len(stage.endings.all) == 1
        stage.pool.drain(0.0)

    kit.run(test)


def test_one_that_is_not_taken_ends_at_once(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit, queue_bytes=10)
        upload = stage.open()
        upload.write(b"one")
        upload.finish()
        assert stage.endings.outcomes == {"a": "queue_full"}
        assert stage.backend.calls == []
        assert stage.held_bytes == 0

    kit.run(test)


def test_one_whose_head_cannot_be_sent(kit: Any) -> None:
    async def test() -> None:
        stage = Stage(kit)
        upload = stage.open(address="unencodable")
        upload.write(b"one")
        assert stage.endings.outcomes == {"a": "protocol_error"}
        assert stage.held_bytes == 0

    kit.run(test)


def test_it_is_not_aborted_once_it_is_complete(kit: Any) -> None:
    """The primary's failure after the body says nothing about the shadow."""

    async def test() -> None:
        stage = Stage(kit)
        upload = stage.open()
        upload.write(b"all")
        upload.finish()
        upload.abort(Outcome.CANCELLED, "the primary failed")
        assert not stage.endings.all
        stage.answer()
        assert stage.endings.outcomes == {"a": "ok"}

    kit.run(test)
