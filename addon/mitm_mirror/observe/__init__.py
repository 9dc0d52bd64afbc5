"""Outcomes and answers -> counts, logs, comparisons. All is pure but `LogWriter`, which does the I/O.

`Ledger`        the closed accounting: each mirror pair ends exactly once
`AccessRecord`  what the log says about one copy
`FORMATS`       record -> line
`LogWriter`     line -> file
`compare`       two answers -> `Comparison`
`noise`         third copies -> which differences are noise

Nothing is imported here: the shadow worker compares, and must not load what it does not need for that.
"""
