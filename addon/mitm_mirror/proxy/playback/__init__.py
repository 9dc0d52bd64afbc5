"""`mitm-mirror replay`: recorded requests through the rules, without a live client.

`recording`  flow and HAR files -> requests to send
`pace`       when each of them is due
`player`     sends them through mitmproxy's own hooks, in order for each client connection
`command`    all of it, and then the report
"""
