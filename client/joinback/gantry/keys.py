"""The join key of a call, also from arguments that were deprecated before Gantry ended."""

import hashlib
import json
import warnings
from collections.abc import Collection, Mapping
from typing import Any

from joinback.drops import NotLogged
from joinback.join_key import plain


def compute_feedback_id(inputs: Mapping[str, Any], feedback_keys: Collection[str] | None = None) -> str:
    """Return the MD5 of the values of these inputs, as a JSON array in the order of their names; 32 hex digits.

    Without `feedback_keys` it takes all inputs. The result is byte for byte Gantry's. `JoinKey.from_dict` makes another
    key of the same dict, because the names are not part of this one. Raises KeyError for a name that is not there, and
    TypeError for a value that Gantry refused.
    """
    if not isinstance(inputs, Mapping):
        raise TypeError(f"a feedback id is made from a dict, not from {type(inputs).__name__}")
    values = [inputs[name] for name in sorted(feedback_keys or inputs)]
    text = json.dumps(values, sort_keys=True, default=plain)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def join_key_of(inputs: Any, feedback_id: Any, feedback_keys: Collection[str] | None, join_key: Any) -> Any:
    """Return the key that the arguments give; None if they give none. Raises NotLogged if several arguments do."""
    if len([way for way in (feedback_id, feedback_keys, join_key) if way]) > 1:
        raise NotLogged(
            "invalid", "give only one of join_key, feedback_id and feedback_keys; join_key is not deprecated"
        )
    if isinstance(feedback_id, str) and feedback_id:
        return feedback_id
    if not feedback_id and not feedback_keys:
        return None if join_key == "" else join_key
    try:
        return compute_feedback_id(feedback_id or inputs, None if feedback_id else feedback_keys)
    except KeyError as error:
        raise NotLogged("invalid", f"feedback_keys names {error}, which is not among the inputs") from None
    except TypeError as error:
        raise NotLogged("invalid", f"no join key: {error}") from None


def deprecate(**given: Any) -> None:
    """Warn of each deprecated argument that was given, at the line that called the caller."""
    for name, value in given.items():
        if value:
            instead = "row_tags or global_tags" if name == "tags" else "join_key or join_keys"
            warnings.warn(f"{name} was deprecated in Gantry; use {instead}", DeprecationWarning, stacklevel=3)
