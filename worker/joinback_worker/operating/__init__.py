"""What an operator asks, as facts: the commands, the page and the metrics show these and nothing of their own.

Nothing here knows a terminal. Each function takes an open connection or the settings, changes nothing unless its name
says so, asks a bounded amount whatever the store holds, and returns Structs. Times are Redis's, in UTC.

    overview(redis, settings, thresholds)      -> Overview      what `joinback status` shows: overview.py, states.py
    explain(redis, settings, application, key) -> Explanation   what became of one key: explaining.py, explanation.py
    orphans(redis, settings, application)      -> Orphans       by which change of form they would match: orphans.py
    diagnose(settings, ...)                    -> Diagnosis     what `joinback doctor` tries: doctor.py, diagnosis.py
    dead_groups(redis, tags)                   -> list[Group]   dead letters by reason: letters.py
    tap(redis, tags, limit)                    -> list[Tapped]  the newest pending entries: tapping.py
    purge(redis, application, layout)          -> Purged        deletes all that Redis holds: purging.py

What is amiss is a `Finding` (findings.py): a stable name, one sentence, why it matters, and what mends it. The name and
the sentence are the same in a command, a metric and on a page. `Overview.findings` has those of the whole,
`State.findings` those of one application; `Overview.troubles` are the ones that make an exit code 1.
"""
