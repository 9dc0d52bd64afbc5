"""What the bench compares: ways of mirroring, each beside the same proxy without a mirror."""

from contextlib import ExitStack
from pathlib import Path

from lab.envoy import find_envoy
from lab.measured import Contender, Ports, Proxy, Start
from lab.mitmdump import ADDON, Mitmdump
from lab.peers import find_nginx, find_traefik, start_envoy, start_nginx, start_traefik
from lab.rules import make_task_rules

RIVALS = Path(__file__).resolve().parents[1] / "rivals"


def _mitmdump(
    stack: ExitStack, folder: Path, ports: Ports, options: dict[str, str], addon: Path | None
) -> Proxy:
    mode = f"reverse:http://127.0.0.1:{ports.primary}"
    env = {"BENCH_MIRROR_PORT": str(ports.mirror)}
    process = stack.enter_context(Mitmdump(folder, options, mode=mode, addon=addon, env=env))
    return Proxy(process, process.port)


def _rival(file: str) -> Start:
    return lambda stack, folder, ports, mirrors: _mitmdump(
        stack, folder, ports, {}, RIVALS / file if mirrors else None
    )


def _ours(*, log: bool, compare: str = "off") -> Start:
    def start(stack: ExitStack, folder: Path, ports: Ports, mirrors: bool) -> Proxy:
        if not mirrors:
            return _mitmdump(stack, folder, ports, {}, None)
        rules = make_task_rules(folder / "rules", ports.primary, ports.mirror)
        options = {"mirror_rules": str(rules), "mirror_compare": compare}
        if log:
            options["mirror_access_log"] = str(folder / "access.log")
        return _mitmdump(stack, folder, ports, options, ADDON)

    return start


OURS = "mitm-mirror, log"


def find_contenders() -> list[Contender]:
    """All whose programs are here."""
    found = [
        Contender("replay.client", _rival("replay_client.py")),
        Contender("httpx in the hook", _rival("httpx_hook.py")),
        Contender("mitm-mirror", _ours(log=False)),
        Contender(OURS, _ours(log=True)),
        Contender("mitm-mirror, log, compare", _ours(log=True, compare="on")),
    ]
    if find_envoy() is not None:
        found.append(Contender("Envoy", start_envoy, "Envoy"))
    if find_traefik() is not None:
        found.append(Contender("Traefik", start_traefik, "Traefik"))
    if find_nginx() is not None:
        found.append(Contender("nginx", start_nginx, "nginx"))
    return found
