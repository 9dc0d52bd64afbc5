"""Real processes and real sockets on loopback: what the demo, the end-to-end tests and the bench run on.

`process`    a child process, its output followed line by line, its end certain
`mitmdump`   mitmdump with the addon
`httpbin`    httpbin under gunicorn
`envoy`      Envoy, where its wheel is installed
`live_envoy` Envoy with routes that change while it runs
`control`    a script for mitmdump that changes its rules while it runs
`parity`     the same requests through Envoy and through mitmdump
`backend`    a server that records the exact bytes of every request
`misbehaviour` ways in which a server goes wrong
`mirror_rules` rule files for hosts that each have a mirror of their own
`client`     a client that sends exact bytes
`client_view` all that one client could tell two proxies apart by
`origin`     a server in a process of its own that costs next to nothing, for measurements
`hammer`     a client that costs next to nothing, for measurements
`contenders` ways of mirroring, ours and others', each beside the same proxy without a mirror
`peers`      other proxies that mirror
`measured`   a proxy that is measured
`usage`      memory, descriptors and CPU of a running process
`load`       a client that sends many requests at once
`rules`      rule files for two versions of one service
`quiet`      importing mitmproxy where warnings are errors
`ports`      a port for a server that must be told one
`access_log` a JSON access log, read while it is written
`memory`     what a process holds
`wall_clock` a wall clock that a test sets
`sandbox`    a thread with a network and mounts of its own

Standard library, and what mitmproxy and the addon bring; nothing here imports the package under test.
Ports are always the system's to hand out, and a socket that was bound once is never given back before
it is used.
"""
