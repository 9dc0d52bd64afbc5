"""Which matches of a delegate narrow those of its root. The cases are those of Istio's rules."""

from typing import Any

import pytest

from mitm_mirror.resources.virtual_service import HTTPMatchRequest
from mitm_mirror.routing.merge_matches import merge_matches


def match(**fields: Any) -> HTTPMatchRequest:
    return HTTPMatchRequest.model_validate(fields)


def uri(**value: str) -> HTTPMatchRequest:
    return match(uri=value)


@pytest.mark.parametrize(
    ("root", "delegate"),
    [
        pytest.param(uri(prefix="/a"), uri(prefix="/ab"), id="longer prefix"),
        pytest.param(uri(prefix="/a"), uri(exact="/a"), id="exact below prefix"),
        pytest.param(uri(exact="/a"), uri(exact="/a"), id="same exact"),
        pytest.param(uri(regex="/a.*"), match(method={"exact": "GET"}), id="regex and another field"),
        pytest.param(match(port=80), match(port=80), id="same port"),
        pytest.param(match(port=80), match(), id="port of the root"),
        pytest.param(match(gateways=["mesh", "g"]), match(gateways=["mesh"]), id="fewer gateways"),
        pytest.param(match(sourceLabels={"a": "b"}), match(sourceLabels={"c": "d"}), id="more labels"),
        pytest.param(match(sourceNamespace="n"), match(sourceNamespace="n"), id="same namespace"),
        pytest.param(
            match(headers={"a": {"exact": "b"}}), match(headers={"c": {"exact": "d"}}), id="headers"
        ),
    ],
)
def test_a_narrower_match_is_merged(root: HTTPMatchRequest, delegate: HTTPMatchRequest) -> None:
    assert merge_matches((root,), (delegate,)) is not None


@pytest.mark.parametrize(
    ("root", "delegate"),
    [
        pytest.param(uri(prefix="/ab"), uri(prefix="/a"), id="shorter prefix"),
        pytest.param(uri(prefix="/a"), uri(exact="/b"), id="exact beside prefix"),
        pytest.param(uri(exact="/a"), uri(prefix="/a"), id="prefix below exact"),
        pytest.param(uri(exact="/a"), uri(exact="/b"), id="another exact"),
        pytest.param(uri(regex="/a"), uri(regex="/a"), id="two regexes, even equal ones"),
        pytest.param(uri(prefix="/"), uri(regex="/a"), id="regex below prefix"),
        pytest.param(uri(regex="/a"), uri(exact="/a"), id="exact below regex"),
        pytest.param(match(method={"exact": "GET"}), match(method={"exact": "PUT"}), id="method"),
        pytest.param(match(headers={"a": {"exact": "b"}}), match(headers={"a": {"exact": "c"}}), id="header"),
        pytest.param(match(headers={"a": {}}), match(headers={"a": {"exact": "c"}}), id="presence"),
        pytest.param(
            match(withoutHeaders={"a": {"exact": "b"}}),
            match(withoutHeaders={"a": {"exact": "c"}}),
            id="without header",
        ),
        pytest.param(
            match(queryParams={"a": {"exact": "b"}}), match(queryParams={"a": {"exact": "c"}}), id="query"
        ),
        pytest.param(match(ignoreUriCase=True), match(), id="case of the uri"),
        pytest.param(match(port=80), match(port=81), id="port"),
        pytest.param(match(sourceNamespace="n"), match(), id="the delegate must repeat the namespace"),
        pytest.param(match(sourceLabels={"a": "b"}), match(sourceLabels={"a": "c"}), id="label"),
        pytest.param(match(gateways=["mesh"]), match(gateways=["mesh", "g"]), id="more gateways"),
        pytest.param(match(gateways=["mesh"]), match(gateways=["g"]), id="another gateway"),
    ],
)
def test_a_match_that_is_not_narrower_is_a_conflict(
    root: HTTPMatchRequest, delegate: HTTPMatchRequest
) -> None:
    assert merge_matches((root,), (delegate,)) is None


def test_fields_of_both_hold_and_the_delegates_go_first() -> None:
    root = match(
        name="r", uri={"prefix": "/a"}, headers={"x": {"exact": "1"}}, port=80, gateways=["mesh", "g"],
        queryParams={"q": {"exact": "1"}}, withoutHeaders={"w": {"exact": "1"}}, method={"exact": "GET"},
    )  # fmt: skip
    delegate = match(
        name="d", uri={"exact": "/a/b"}, headers={"y": {"exact": "2"}}, gateways=["mesh"],
        authority={"exact": "h"},
    )  # fmt: skip

    assert merge_matches((root,), (delegate,)) == (
        match(
            name="r-d", uri={"exact": "/a/b"}, headers={"x": {"exact": "1"}, "y": {"exact": "2"}}, port=80,
            gateways=["mesh"], queryParams={"q": {"exact": "1"}}, withoutHeaders={"w": {"exact": "1"}},
            method={"exact": "GET"}, authority={"exact": "h"},
        ),
    )  # fmt: skip


def test_each_match_of_the_delegate_needs_one_of_the_roots_and_takes_all_that_fit() -> None:
    a, b, both = uri(prefix="/a"), uri(prefix="/b"), match(method={"exact": "GET"})

    assert merge_matches((a, b), (uri(exact="/b/c"),)) == (uri(exact="/b/c"),)
    assert merge_matches((a, b), (both,)) == (
        match(uri={"prefix": "/a"}, method={"exact": "GET"}),
        match(uri={"prefix": "/b"}, method={"exact": "GET"}),
    )
    assert merge_matches((a, b), (uri(exact="/b/c"), uri(exact="/c"))) is None


@pytest.mark.parametrize(
    ("root", "delegate", "merged"),
    [
        ((), (), ()),
        ((uri(exact="/a"),), (), (uri(exact="/a"),)),
        ((), (uri(exact="/a"),), (uri(exact="/a"),)),
    ],
    ids=["neither", "root alone", "delegate alone"],
)
def test_no_match_is_every_request(root: Any, delegate: Any, merged: Any) -> None:
    assert merge_matches(root, delegate) == merged
