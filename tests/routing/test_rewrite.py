import pytest

from mitm_mirror.resources.virtual_service import HTTPRewrite
from mitm_mirror.routing.rewrite import compile_rewrite, path_end


@pytest.mark.parametrize(
    ("target", "path"),
    [
        pytest.param(b"/a?b", b"/a", id="query"),
        pytest.param(b"/a??b", b"/a", id="two question marks"),
        pytest.param(b"/a#b?c", b"/a", id="fragment first"),
        pytest.param(b"/a?b#c", b"/a", id="query first"),
        pytest.param(b"/a", b"/a", id="path alone"),
    ],
)
def test_where_the_path_ends(target: bytes, path: bytes) -> None:
    assert target[: path_end(target)] == path


@pytest.mark.parametrize(
    ("spec", "target", "prefix_length", "result"),
    [
        pytest.param({"uri": "/new"}, b"/old/x?q", 4, b"/new/x?q", id="a prefix is replaced"),
        pytest.param({"uri": "/"}, b"/bare/x", 5, b"//x", id="textually"),
        pytest.param({"uri": "/v1"}, b"/x", 1, b"/v1x", id="without a uri match the prefix is /"),
        pytest.param({"uri": "/new"}, b"/any/thing?q=1", None, b"/new?q=1", id="the whole path, query kept"),
        pytest.param({"uri": "/new"}, b"*", 1, b"*", id="OPTIONS * has no path"),
        pytest.param(
            {"uriRegexRewrite": {"match": "/([a-z]+)", "rewrite": r"/\1\1"}},
            b"/a/b?/c",
            1,
            b"/aa/bb?/c",
            id="a regex works on the path alone, every match",
        ),
        pytest.param(
            {"uriRegexRewrite": {"match": ".*", "rewrite": ""}},
            b"/a?b",
            1,
            b"/a?b",
            id="nothing left: not made",
        ),
        pytest.param(
            {"uri": "/u", "uriRegexRewrite": {"match": "a", "rewrite": "b"}},
            b"/a",
            1,
            b"/b",
            id="regex first",
        ),
    ],
)
def test_rewrites(spec: dict[str, object], target: bytes, prefix_length: int | None, result: bytes) -> None:
    rewrite = compile_rewrite(HTTPRewrite.model_validate(spec))

    assert rewrite is not None
    assert rewrite(target, prefix_length) == result


@pytest.mark.parametrize(
    "spec",
    [pytest.param(None, id="absent"), pytest.param(HTTPRewrite(authority="a"), id="authority alone")],
)
def test_no_path_rewrite_is_none(spec: HTTPRewrite | None) -> None:
    assert compile_rewrite(spec) is None
