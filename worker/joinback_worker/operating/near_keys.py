"""The existing keys that a person most likely means by an unknown key, found by looking up its other forms."""

from typing import Any

import msgspec

from joinback_worker.key_forms import Form, Looks, dict_forms, forms, learn
from joinback_worker.labels.lookup import Lookup
from joinback_worker.labels.near import KEYS_LEARNED_FROM, predicted_of
from joinback_worker.nearest import nearest

from .explanation import Near

NEAR_MAX = 3


async def near_keys(lookup: Lookup, join_key: str) -> list[Near]:
    """Return the other forms of a key that have a prediction, the fewest changes first; else one key spelled alike.

    Raises what the look-up raises.
    """
    existing = await lookup.some_keys(KEYS_LEARNED_FROM)
    tried = _forms(join_key, learn(existing))
    known = await predicted_of(lookup, [tried])
    near = [Near(join_key=form.key, how=form.how) for form in tried if form.key in known][:NEAR_MAX]
    if not near and (alike := nearest(join_key, [key for key in existing if key != join_key])):
        near = [Near(join_key=alike, how="spelled much alike")]
    return near


def _forms(join_key: str, looks: Looks) -> list[Form]:
    """Return the other forms of a key. If it is a JSON object, also the keys that JoinKey.from_dict makes of it."""
    fields: Any = None
    if join_key.startswith("{"):
        try:
            fields = msgspec.json.decode(join_key)
        except msgspec.DecodeError:
            fields = None
    made = dict_forms(fields) if isinstance(fields, dict) else []
    return [form for form in [*made, *forms(join_key, looks)] if form.key != join_key]
