"""What an operator asks, answered as facts. The commands, the pages and the metrics only show these facts.

Nothing here knows a terminal. Each function takes an open connection or the settings, and returns Structs. It changes
nothing unless its name says so. It asks a bounded amount, however much the store holds. Times are Redis's, in UTC.

    overview(redis, settings, thresholds)      -> Overview      what `joinback status` shows: overview.py, states.py
    explain(redis, settings, application, key) -> Explanation   what became of one key: explaining.py, explanation.py
    orphans(redis, settings, application)      -> Orphans       which change of form makes them match: orphans.py
    diagnose(settings, ...)                    -> Diagnosis     what `joinback doctor` tries: doctor.py, diagnosis.py
    dead_groups(redis, tags)                   -> list[Group]   dead letters by reason: letters.py
    tap(redis, tags, limit)                    -> list[Tapped]  the newest pending entries: tapping.py
    purge(redis, application, layout)          -> Purged        deletes all that Redis holds: purging.py

A problem is a `Finding` (findings.py): a stable name, one sentence, why it matters, and what fixes it. The name and the
sentence are the same in a command, a metric and a page. `State.findings` holds the findings of one application,
`Overview.findings` those of no single application. `Overview.troubles` are those that make exit code 1.
"""
