"""The existing keys that a person most likely means by an unknown key, found by looking up its other forms."""

from collections.abc import Sequence
from typing import Any

import msgspec

from joinback_worker.key_forms import Form, Looks, dict_forms, forms, is_digest, learn
from joinback_worker.labels.lookup import Lookup
from joinback_worker.labels.near import KEYS_LEARNED_FROM, predicted_of
from joinback_worker.nearest import likeness, nearest

from .explanation import Near

NEAR_MAX = 3


async def near_keys(lookup: Lookup, join_key: str) -> tuple[list[Near], bool]:
    """Return the other forms of a key that have a prediction, and one key that is spelled alike: the likest one first.

    Return also whether existing keys are 32 hex digits, and this one is not: then it is not a key as it is stored.
    Raises what the look-up raises.
    """
    existing = await lookup.some_keys(KEYS_LEARNED_FROM)
    looks = learn(existing)
    tried = _forms(join_key, looks)
    known = await predicted_of(lookup, [tried])
    near = {form.key: form.how for form in tried if form.key in known}
    if (
        alike := _spelled_alike(join_key, [key for key in existing if key not in near], is_last_try=not near)
    ) is not None:
        near[alike] = "spelled much alike"
    # A stable sort: of keys that are as like, the one with the fewest changes stays first.
    likest = sorted(near, key=lambda key: likeness(join_key, key), reverse=True)
    found = [Near(join_key=key, how=near[key]) for key in likest[:NEAR_MAX]]
    return found, looks.are_digests and not is_digest(join_key)


def _spelled_alike(join_key: str, existing: Sequence[str], *, is_last_try: bool) -> str | None:
    """Return the existing key that is most like this one. Other digits most likely mean another thing.

    `is_last_try`: nothing better is known, so one with other digits is returned rather than none.
    """
    others = [key for key in existing if key != join_key]
    same_number = [key for key in others if _digits(key) == _digits(join_key)]
    return nearest(join_key, same_number) or (nearest(join_key, others) if is_last_try else None)


def _digits(key: str) -> str:
    return "".join(filter(str.isdigit, key))


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
