"""Files, folders and globs -> one rule set, with every issue at once."""

import gc
import os
import stat
from pathlib import Path

import pytest

from mitm_mirror.resources import files
from mitm_mirror.resources.issue import Severity
from mitm_mirror.resources.load import Loaded, list_rule_files, load_rules, load_text

RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: [{name}], http: [{{route: [{{destination: {{host: {name}}}}}]}}]}}
"""


def write(path: Path, *names: str) -> Path:
    path.write_text("---\n".join(RULE.format(name=name) for name in names))
    return path


def names(loaded: Loaded) -> list[str]:
    assert loaded.issues == ()
    return [resource.name for resource in loaded.resources.virtual_services]


def test_folder_is_read_sorted_without_hidden_files_and_folders_in_it(tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", "b1", "b2")
    write(tmp_path / "a.yml", "a")
    write(tmp_path / ".hidden.yaml", "hidden")
    write(tmp_path / "c.json", "json")
    (tmp_path / "d.yaml").mkdir()
    write(tmp_path / "d.yaml" / "deep.yaml", "deep")

    loaded = load_rules([str(tmp_path)])

    assert names(loaded) == ["a", "b1", "b2"]
    assert loaded.files == (tmp_path / "a.yml", tmp_path / "b.yaml")


def test_config_map_mount_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "..2024").mkdir()
    write(tmp_path / "..2024" / "rules.yaml", "a")
    (tmp_path / "..data").symlink_to("..2024")
    (tmp_path / "rules.yaml").symlink_to("..data/rules.yaml")

    assert names(load_rules([str(tmp_path)])) == ["a"]


def test_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "a")
    write(tmp_path / "b.yaml", "b")

    assert names(load_rules([str(file), str(tmp_path), f"{tmp_path}/*.yaml"])) == ["a", "b"]


def test_glob_finds_files_and_folders_and_brackets_may_be_literal(tmp_path: Path) -> None:
    (tmp_path / "x1").mkdir()
    write(tmp_path / "x1" / "in.yaml", "in")
    write(tmp_path / "x2.yaml", "x2")
    write(tmp_path / "[z].yaml", "z")

    assert names(load_rules([f"{tmp_path}/x*", f"{tmp_path}/[z].yaml"])) == ["in", "x2", "z"]


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.yaml", "a")

    assert names(load_rules(["~/a.yaml"])) == ["a"]


@pytest.mark.parametrize("missing_ok", [False, True])
@pytest.mark.parametrize(
    ("path", "message"),
    [("nix.yaml", "no such file or folder"), ("*.nix", "no file matches")],
    ids=["file", "glob"],
)
def test_path_that_names_nothing(tmp_path: Path, missing_ok: bool, path: str, message: str) -> None:
    (issue,) = load_rules([f"{tmp_path}/{path}"], missing_ok=missing_ok).issues

    assert issue.severity is (Severity.WARNING if missing_ok else Severity.ERROR)
    word = "warning: " if missing_ok else ""
    assert str(issue) == f"{tmp_path}/{path}:0:0: {word}{message}"


def test_empty_folder_is_a_notice(tmp_path: Path) -> None:
    (issue,) = load_rules([str(tmp_path)]).issues

    assert (issue.severity, issue.message) == (Severity.NOTICE, "no *.yaml or *.yml in this folder")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "---\n---\n# x\n", "\ufeff"], ids=repr)
def test_empty_file_is_nothing(text: str) -> None:
    loaded = load_text(text.encode())

    assert loaded.issues == ()
    assert loaded.resources.virtual_services == ()


def test_byte_order_mark_is_no_part_of_the_text() -> None:
    assert names(load_text(b"\xef\xbb\xbf" + RULE.format(name="a").encode())) == ["a"]


def test_invalid_utf8_is_pointed_at() -> None:
    (issue,) = load_text(b"a: b\nk: \xc3\xa9\xff\n", "f.yaml").issues

    assert str(issue) == "f.yaml:2:5: not UTF-8: the byte 0xff at offset 10; save the file as UTF-8"


def test_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "big.yaml"
    with file.open("wb") as stream:
        stream.truncate(10_000_000)

    (issue,) = load_rules([str(file)]).issues

    assert issue.severity is Severity.ERROR
    assert (
        issue.message
        == f"10000000 bytes, expected at most {files.MAX_FILE_BYTES}; split it into several files"
    )


def test_file_that_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "dangling.yaml").symlink_to("gone.yaml")

    issues = load_rules([str(tmp_path)]).issues

    assert [(Path(issue.file).name, issue.severity) for issue in issues] == [
        ("dangling.yaml", Severity.ERROR),
        ("loop.yaml", Severity.ERROR),
        ("pipe.yaml", Severity.ERROR),
    ]
    assert issues[2].message == "not a regular file"
    assert all(issue.message.startswith("cannot be read: ") for issue in issues[:2])


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.yaml", "a")
    if os.geteuid() == 0:  # root may read everything: let the opening refuse

        def refuse(*_args: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    else:
        file.chmod(stat.S_IWUSR)

    (issue,) = load_rules([str(file)]).issues

    assert issue.message == "cannot be read: Permission denied"


def test_same_name_twice_is_an_error_at_the_second(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "x", "z")
    second = write(tmp_path / "b.yaml", "z")

    loaded = load_rules([str(tmp_path)])

    place = f"{second}:3:12: VirtualService default/z: metadata.name"
    message = f"there is one of this name already, at {first}:8"
    assert [str(issue) for issue in loaded.errors] == [f"{place}: {message}"]


def test_issues_are_sorted_by_file_and_position(tmp_path: Path) -> None:
    for name in ("b", "a"):
        broken = RULE.format(name=name).replace("hosts", "hsots")
        (tmp_path / f"{name}.yaml").write_text(f"x: 1\n---\n{broken}---\n]\n")

    loaded = load_rules([str(tmp_path)])

    places = [(Path(issue.file).name, issue.line, issue.column) for issue in loaded.issues]
    assert places == sorted(places)
    assert {line for _, line, _ in places} == {1, 6, 8}
    assert len({name for name, _, _ in places}) == 2


def test_list_rule_files_takes_what_is_there(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "a")

    assert list_rule_files([str(tmp_path / "nix"), str(tmp_path)]) == [file]


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_left_as_it_was(enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        load_rules(["/nonexistent"])

        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_many_rules_over_several_files(tmp_path: Path) -> None:
    for part in range(4):
        write(tmp_path / f"{part}.yaml", *(f"h{part}-{n}" for n in range(250)))

    assert len(names(load_rules([str(tmp_path)]))) == 1000
