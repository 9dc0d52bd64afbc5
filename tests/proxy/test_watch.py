"""Noticing that rule files changed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mitm_mirror.proxy import watch
from mitm_mirror.proxy.watch import fingerprint, watch_rules

DEADLINE_S = 20


def swap_config_map(mount: Path, version: str, text: str) -> None:
    """As kubelet updates a ConfigMap mount: a new folder, then one symlink renamed over another."""
    folder = mount / f"..{version}"
    folder.mkdir()
    (folder / "rules.yaml").write_text(text)
    (mount / "..data_tmp").symlink_to(folder.name)
    (mount / "..data_tmp").rename(mount / "..data")


def make_config_map(root: Path) -> Path:
    swap_config_map(root, "v1", "a")
    (root / "rules.yaml").symlink_to("..data/rules.yaml")
    return root


def replace_file(folder: Path) -> None:
    (folder / "new").write_text("b")
    (folder / "new").rename(folder / "rules.yaml")


def make_folder_anew(folder: Path) -> None:
    (folder / "rules.yaml").unlink()
    folder.rmdir()
    folder.mkdir()
    (folder / "rules.yaml").write_text("b")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: (folder / "rules.yaml").write_text("bb"), id="written in place"),
        pytest.param(replace_file, id="replaced by a rename"),
        pytest.param(lambda folder: (folder / "rules.yaml").unlink(), id="deleted"),
        pytest.param(lambda folder: (folder / "more.yml").write_text("b"), id="another file beside it"),
        pytest.param(make_folder_anew, id="folder deleted and made again"),
    ],
)
def test_a_change_in_a_folder_is_noticed(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "rules.yaml").write_text("a")

    notice([str(folder)], lambda: change(folder))


def test_the_symlink_swap_of_a_config_map_is_noticed_each_time(tmp_path: Path) -> None:
    mount = make_config_map(tmp_path)

    notice(
        [str(mount)],
        lambda: swap_config_map(mount, "v2", "b"),
        lambda: swap_config_map(mount, "v3", "c"),
    )


def test_a_file_that_appears_where_there_was_nothing_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "later" / "rules.yaml"

    def make() -> None:
        file.parent.mkdir()
        file.write_text("a")

    notice([str(file)], make)


def test_an_unrelated_file_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("a")
    before = fingerprint([str(tmp_path)])

    (tmp_path / "notes.txt").write_text("b")

    assert before == fingerprint([str(tmp_path)])


def test_a_change_before_the_first_look_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("a")
    known = fingerprint([str(tmp_path)])
    (tmp_path / "rules.yaml").write_text("changed since it was loaded")

    notice([str(tmp_path)], known=known)


def test_files_that_changed_are_looked_at_more_often_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rules.yaml").write_text("a")
    waits: list[float] = []

    async def run() -> None:
        stop = asyncio.Event()
        clock = 100.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock)

        async def is_set_within(_event: asyncio.Event, seconds: float) -> bool:
            nonlocal clock
            clock += seconds
            waits.append(seconds)
            if len(waits) == 1:
                (tmp_path / "rules.yaml").write_text("changed")
            return clock > 100.0 + 2 * watch.POLL_S + watch.EDITED_S

        monkeypatch.setattr(watch, "_is_set_within", is_set_within)
        await watch_rules([str(tmp_path)], fingerprint([str(tmp_path)]), noop, stop)

    async def noop() -> None:
        pass

    asyncio.run(run())

    assert waits[:2] == [watch.POLL_S, watch.SETTLE_S]
    assert set(waits[2:-1]) == {watch.EDITED_POLL_S}
    assert waits[-1] == watch.POLL_S


def notice(paths: list[str], *changes: Callable[[], object], known: object = None) -> None:
    """Makes one change after the other, each after the one before was noticed."""

    async def run() -> None:
        noticed: asyncio.Queue[None] = asyncio.Queue()
        stop = asyncio.Event()

        async def on_change() -> None:
            noticed.put_nowait(None)

        before = fingerprint(paths) if known is None else known
        watching = asyncio.create_task(watch_rules(paths, before, on_change, stop))  # type: ignore[arg-type]
        async with asyncio.timeout(DEADLINE_S):
            for change in changes or (lambda: None,):
                change()
                await noticed.get()
            stop.set()
            await watching

    asyncio.run(run())
