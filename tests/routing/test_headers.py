import pytest

from mitm_mirror.resources.virtual_service import HeaderOperations as Spec
from mitm_mirror.routing.decision import HeaderOperations
from mitm_mirror.routing.headers import (
    apply_operations,
    compile_operations,
    merge_operations,
    shadow_operations,
)
from mitm_mirror.routing.request import HeaderFields

FIELDS: HeaderFields = ((b"Host", b"a"), (b"X-One", b"1"), (b"x-one", b"2"), (b"Accept", b"*/*"))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, FIELDS, id="nothing to do"),
        pytest.param({"remove": ["x-ONE"]}, (FIELDS[0], FIELDS[3]), id="every line of a name goes"),
        pytest.param(
            {"set": {"X-one": "3"}},
            (FIELDS[0], FIELDS[3], (b"X-one", b"3")),
            id="set replaces every line by one at the end",
        ),
        pytest.param({"add": {"x-one": "3"}}, (*FIELDS, (b"x-one", b"3")), id="add leaves what is there"),
        pytest.param(
            {"remove": ["accept"], "add": {"accept": "a/b"}},
            (*FIELDS[:3], (b"accept", b"a/b")),
            id="removals run before additions",
        ),
        pytest.param(
            {"add": {"b": "1", "a": "1"}, "set": {"d": "1", "c": "1"}},
            (*FIELDS, (b"c", b"1"), (b"d", b"1"), (b"a", b"1"), (b"b", b"1")),
            id="sorted by name, set before add",
        ),
        pytest.param({"set": {"x-one": ""}}, FIELDS, id="an empty value sets nothing"),
        pytest.param({"remove": ["Host", ":path"]}, FIELDS, id="Host and pseudo headers stay"),
        pytest.param({"set": {"x": "é"}}, (*FIELDS, (b"x", b"\xc3\xa9")), id="text becomes UTF-8"),
    ],
)
def test_operations_on_header_lines(spec: dict[str, object], expected: HeaderFields) -> None:
    operations, authority = compile_operations(Spec.model_validate(spec))

    assert apply_operations(FIELDS, operations) == expected
    assert authority == ""


@pytest.mark.parametrize(
    ("spec", "authority"),
    [
        pytest.param({"set": {"Host": "b"}}, "b", id="set Host"),
        pytest.param({"set": {":authority": "b:80"}}, "b:80", id="set the pseudo header"),
        pytest.param({"add": {"host": "b"}}, "b", id="add overwrites too"),
        pytest.param({"add": {"host": "b"}, "set": {"host": "c"}}, "c", id="set goes before add"),
    ],
)
def test_host_becomes_the_authority(spec: dict[str, object], authority: str) -> None:
    operations, found = compile_operations(Spec.model_validate(spec))

    assert found == authority
    assert not operations


def test_merged_operations_remove_first_and_let_the_destination_have_the_last_word() -> None:
    route = HeaderOperations(remove=frozenset([b"a"]), set=((b"b", b"route"), (b"c", b"route")))
    destination = HeaderOperations(remove=frozenset([b"c"]), set=((b"B", b"destination"),))

    merged = apply_operations(((b"a", b"1"), (b"c", b"1")), merge_operations(route, destination))

    assert merged == ((b"c", b"route"), (b"B", b"destination"))


def test_shadow_operations_come_from_annotations() -> None:
    operations = shadow_operations([("X-Shadow", "yes")], frozenset([b"accept"]))

    assert apply_operations(FIELDS, operations) == (*FIELDS[:3], (b"X-Shadow", b"yes"))
