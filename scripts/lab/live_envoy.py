"""An Envoy whose routes and clusters change while it runs, in milliseconds: for many rule sets, one Envoy."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.client import send_raw
from lab.envoy import Envoy
from lab.process import START_TIMEOUT_S, ProcessFailedError

_TYPES = "type.googleapis.com/envoy"
_PROBE = "probe.lab.invalid"


class LiveEnvoy(Envoy):
    """Serves a static bootstrap by way of files that Envoy watches (CDS and RDS).

    Each has one listener with one HTTP connection manager; all must be alike but for routes and clusters.
    """

    def __init__(self, program: Path, folder: Path, bootstrap: dict[str, Any]) -> None:
        self._folder = folder / "xds"
        self._folder.mkdir()
        self._clusters: dict[str, Any] = {}
        self._version = 0
        bootstrap = json.loads(json.dumps(bootstrap))  # a copy, to be taken apart
        self._write(bootstrap)
        resources = bootstrap["static_resources"]
        del resources["clusters"]
        manager = _connection_manager(bootstrap)
        name = manager.pop("route_config")["name"]
        manager["rds"] = {"route_config_name": name, "config_source": self._source("rds")}
        bootstrap["dynamic_resources"] = {"cds_config": self._source("cds")}
        bootstrap["node"] = {"id": "lab", "cluster": "lab"}
        super().__init__(program, folder, bootstrap)

    def serve(self, bootstrap: dict[str, Any]) -> None:
        """Returns once the worker routes by this one.

        Clusters are added and never removed: requests cannot tell. Raises ProcessFailedError where Envoy
        refuses it.
        """
        new = [each["name"] for each in bootstrap["static_resources"]["clusters"]]
        before = set(self._clusters)
        self._write(bootstrap)
        probe = f"GET /{self._version} HTTP/1.1\r\nHost: {_PROBE}\r\nConnection: close\r\n\r\n".encode()
        known = before.issuperset(new)
        for _ in self._patiently():
            # Routes may come before the clusters that they name.
            known = known or all(
                f"\n{name}::observability_name::" in f"\n{self._ask('/clusters')}" for name in new
            )
            if known and send_raw(self.port, probe).status == 200:
                return

    def _patiently(self) -> Iterator[None]:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            yield
            time.sleep(0.002)
        raise ProcessFailedError(
            f"envoy does not take version {self._version}:\n" + "\n".join(self.lines[-20:])
        )

    def _source(self, kind: str) -> dict[str, Any]:
        path = {"path": str(self._folder / f"{kind}.json")}
        return {"resource_api_version": "V3", "path_config_source": path}

    def _write(self, bootstrap: dict[str, Any]) -> None:
        self._version += 1
        wanted = {each["name"]: each for each in bootstrap["static_resources"]["clusters"]}
        clusters = {**self._clusters, **wanted}
        if clusters != self._clusters:
            self._clusters = clusters
            self._replace("cds", "config.cluster.v3.Cluster", list(clusters.values()))
        routes = dict(_connection_manager(bootstrap)["route_config"])
        answer = {"match": {"path": f"/{self._version}"}, "direct_response": {"status": 200}}
        probe = {"name": "probe", "domains": [_PROBE], "routes": [answer]}
        routes["virtual_hosts"] = [*routes["virtual_hosts"], probe]
        self._replace("rds", "config.route.v3.RouteConfiguration", [routes])

    def _replace(self, kind: str, type_name: str, resources: list[dict[str, Any]]) -> None:
        typed = [{"@type": f"{_TYPES}.{type_name}", **resource} for resource in resources]
        response = {"version_info": str(self._version), "resources": typed}
        path = self._folder / f"{kind}.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps(response), encoding="utf-8")
        os.replace(new, path)  # noqa: PTH105 - the move is what Envoy watches for


def _connection_manager(bootstrap: dict[str, Any]) -> dict[str, Any]:
    (listener,) = bootstrap["static_resources"]["listeners"]
    manager: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager
