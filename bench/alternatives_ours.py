"""What a user of Joinback writes: two calls in the service. The rest is two settings and `joinback worker`."""

import joinback

APPLICATION = "loans"


def predict(event_id, key, at, inputs, outputs):
    joinback.log_record(APPLICATION, inputs=inputs, outputs=outputs, join_key=key, timestamp=at, event_id=event_id)


def label(event_id, key, at, value):
    joinback.log_record(APPLICATION, feedback={"label": value}, join_key=key, timestamp=at, event_id=event_id)


close = joinback.close
