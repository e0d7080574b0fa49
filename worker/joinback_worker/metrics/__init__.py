"""Prometheus metrics: what `joinback status` shows, as series. Counters come from Redis, so all workers agree.

catalogue.py   every metric: name, kind, unit and labels
families.py    from an Overview to metric families, pure
collector.py   asks Redis at each scrape, for `joinback worker --metrics-port` or a registry of yours
exposition.py  the endpoint, and the text of `joinback status --prometheus`
"""
