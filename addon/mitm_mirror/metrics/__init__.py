"""Counts -> a page in Prometheus' format. Taking a snapshot is all that the proxy's loop does for it.

`TrafficCounts`    what Istio's standard metrics are made of, counted per request
`MetricsSnapshot`  all counts at one moment
`make_families`    snapshot -> metric families of prometheus-client
`MetricsServer`    the endpoint, in a thread of its own
"""
