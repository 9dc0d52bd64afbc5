"""Istio's traffic routing and mirroring as a mitmproxy addon.

The words that this package uses, beside Istio's own nouns as Istio spells them:

primary
    the copy of a request whose answer the client gets
shadow
    a copy of a request that is sent to a mirror destination; nobody waits for its answer
decision
    what routing says about one request: pass it through, answer it, or forward it
outcome
    the one way in which a shadow ended, see `mitm_mirror.outcome`
record
    one dict that describes one copy, as the access log prints it

The rooms depend on each other from top to bottom only, and only the last one imports mitmproxy:

`resources`  Istio YAML -> typed resources
`routing`    resources + request -> decision
`client`     byte-faithful HTTP client; the only room that imports httpx
`shadow`     request -> sent copy -> outcome
`observe`    outcomes and answers -> counts, logs and comparisons
`proxy`      mitmproxy's hooks, options and commands

This module imports nothing, so that the console command and the worker process start quickly.
"""

__version__ = "0.1.0"
