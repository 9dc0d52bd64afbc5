"""JSON access logs -> one page, or one JSON document, about how the copies compare.

`lines`     log files -> `Line`, streaming; bad lines are told and passed over
`tally`     `Line` -> counts, of bounded size however long the logs are
`summary`   counts -> `Report`, the values that everything below reads
`page`      `Report` -> one self-contained HTML page
`gates`     `--fail-on` expressions, judged by a `Report`
`command`   what `mitm-mirror report` does
"""
