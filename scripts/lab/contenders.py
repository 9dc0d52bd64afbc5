"""What the bench compares: ways of mirroring, each beside the same proxy without a mirror."""

from contextlib import ExitStack
from pathlib import Path

from lab.envoy import find_envoy
from lab.measured import Contender, Ports, Proxy, Start
from lab.mitmdump import ADDON, Mitmdump
from lab.peers import find_nginx, find_traefik, start_envoy, start_nginx, start_traefik
from lab.rules import HOST, make_task_rules
from mitm_mirror.routing.authority import server_name

RIVALS = Path(__file__).resolve().parents[1] / "rivals"
LAYERS = RIVALS.with_name("layers")


def _mitmdump(
    stack: ExitStack, folder: Path, ports: Ports, options: dict[str, str], addon: Path | None
) -> Proxy:
    mode = f"reverse:http://127.0.0.1:{ports.primary}"
    env = {"BENCH_MIRROR_PORT": str(ports.mirror)}
    process = stack.enter_context(Mitmdump(folder, options, mode=mode, addon=addon, env=env))
    return Proxy(process, process.port)


def _script(file: Path) -> Start:
    return lambda stack, folder, ports, mirrors: _mitmdump(
        stack, folder, ports, {}, file if mirrors else None
    )


def _ours(*, log: bool, compare: str = "off", host: str = HOST, percentage: int = 100) -> Start:
    """With the task's rules: for another `host`, or mirroring less, where they are to do nothing."""

    def start(stack: ExitStack, folder: Path, ports: Ports, mirrors: bool) -> Proxy:
        if not mirrors:
            return _mitmdump(stack, folder, ports, {}, None)
        rules = make_task_rules(folder / "rules", ports.primary, ports.mirror)
        for file in rules.iterdir():
            text = file.read_text("utf-8").replace("value: 100", f"value: {percentage}")
            file.write_text(text.replace(server_name(HOST), server_name(host)), "utf-8")
        options = {"mirror_rules": str(rules), "mirror_compare": compare}
        if log:
            options["mirror_access_log"] = str(folder / "access.log")
        return _mitmdump(stack, folder, ports, options, ADDON)

    return start


OURS = Contender("mitm-mirror, log", _ours(log=True))
"""What the goal is about."""

LAYERS_OF_COST = (
    Contender("an addon without hooks", _script(LAYERS / "no_hooks.py"), sends=False),
    Contender("an addon with our hooks", _script(LAYERS / "empty_hooks.py"), sends=False),
    Contender("ours, no rule for the host", _ours(log=False, host="elsewhere"), sends=False),
    Contender("and routes by a rule", _ours(log=False, percentage=0), sends=False),
    Contender("and mirrors all of it", _ours(log=False)),
    OURS,
    Contender("mitmdump beside a worker", _script(LAYERS / "sent_beside.py")),
)
"""From mitmdump with next to nothing to all of this addon; the last one mirrors without it."""


def find_contenders() -> list[Contender]:
    """All whose programs are here."""
    found = [
        Contender("replay.client", _script(RIVALS / "replay_client.py")),
        Contender("httpx in the hook", _script(RIVALS / "httpx_hook.py")),
        Contender("mitm-mirror", _ours(log=False)),
        OURS,
        Contender("mitm-mirror, log, compare", _ours(log=True, compare="on")),
    ]
    if find_envoy() is not None:
        found.append(Contender("Envoy", start_envoy, "Envoy"))
    if find_traefik() is not None:
        found.append(Contender("Traefik", start_traefik, "Traefik"))
    if find_nginx() is not None:
        found.append(Contender("nginx", start_nginx, "nginx"))
    return found
