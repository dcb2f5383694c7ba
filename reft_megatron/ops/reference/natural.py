"""The answer in a natural-language text, in plain Python.

Owns the two rules that csrc/extractor/extract/natural.cpp runs fast; tests compare the two.
"""

from __future__ import annotations

import math
import re

from reft_megatron.ops.status import TEXT_BYTES, Status

__all__ = ["Answer", "read_lenient", "read_strict"]

Answer = tuple[Status, float | str | None]
"""How reading ended, and what was read."""

_LONGEST_NUMBER = 1_024
_ORNAMENTS = str.maketrans("", "", ",$%")
_PHRASE = re.compile(r".*(?:the answer is|####|(\\boxed\{))", re.ASCII | re.DOTALL | re.IGNORECASE)
_NOTHING = re.compile(r"[ \t\n\r\v\f:*]*")
_LETTER = re.compile(r"(?<![\w'])[a-e](?![\w'])", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(
    r"""
    (?: (?<! [\w.)\]}] ) ([-\u2212]) (?: \$\ ? )? )?                # a minus, not an operator
    (
        (?: [0-9]{1,3} (?: ,[0-9]{3} ){1,99} (?! [0-9] ) | [0-9]+ )
        (?: \.[0-9]{1,400} )?
        (?: [eE][-+]?[0-9]{1,9} )?
    |
        (?<! [0-9] ) \.[0-9]{1,400} (?: [eE][-+]?[0-9]{1,9} )?
    )
    (?: / ([0-9]+) )?
    """,
    re.ASCII | re.VERBOSE,
)


def read_strict(text: str, trigger: str, *, letter: bool) -> Answer:
    """All that stands behind the last trigger, or the whole text (train_rl_reft.py:54-76)."""
    answer = text.rpartition(trigger)[-1].strip()
    if letter:
        return Status.OK, _cut(answer)
    value = _as_float(answer)
    return (Status.NON_NUMERIC, None) if value is None else _number(value)


def read_lenient(text: str, trigger: str, *, letter: bool) -> Answer:
    """The likeliest answer.

    A bare number behind the last trigger is it. Else it stands in the line (or the braces) behind
    the last trigger, `the answer is`, `####` or `\\boxed{`: the first option letter standing alone,
    or the first number behind the line's last `=`. A number may also be the last of the text.
    """
    behind, region = _announced(text, trigger)
    if letter:
        found = _LETTER.search(region)
        return (Status.OK, found.group()) if found else (Status.NO_ENTRY, None)
    value = _bare_number(behind)
    if value is not None:
        return _number(value)
    numbers = list(_NUMBER.finditer(text))
    match = _NUMBER.search(region.rpartition("=")[-1]) or (numbers[-1] if numbers else None)
    return _number(_value(match)) if match else (Status.NO_ENTRY, None)


def _announced(text: str, trigger: str) -> tuple[str, str]:
    """What stands behind the last trigger, and the region in which an answer is announced."""
    head, found, behind = text.rpartition(trigger)
    end = len(head) + len(found)
    phrase = _PHRASE.match(text)
    if phrase and phrase.end() > (end if found else 0):
        rest = text[phrase.end() :]
        region = _inside_braces(rest) if phrase.group(1) else _first_line(rest)
    else:
        region = _first_line(behind) if found else ""
    return behind if found else "", region


def _first_line(text: str) -> str:
    start = text[_NOTHING.match(text).end() :]  # type: ignore[union-attr]  # matches anything
    return start.partition("\n")[0]


def _inside_braces(text: str) -> str:
    depth = 1
    for i, c in enumerate(text):
        depth += (c == "{") - (c == "}")
        if depth == 0 or c == "\n":
            return text[:i]
    return text


def _bare_number(text: str) -> float | None:
    """A number and nothing but ornaments around it."""
    answer = text.strip().removesuffix(".")
    if len(answer.encode(errors="surrogatepass")) > _LONGEST_NUMBER:
        return None
    return _as_float(answer.translate(_ORNAMENTS).removesuffix("."))


def _value(match: re.Match[str]) -> float:
    sign, digits, divisor = match.groups()
    value = float(digits.replace(",", ""))
    if divisor is not None and float(divisor) != 0:
        value /= float(divisor)
    return -value if sign else value


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(value: float) -> Answer:
    return (Status.OK if math.isfinite(value) else Status.OK_NONFINITE), value


def _cut(text: str) -> str:
    kept = text.encode(errors="surrogatepass")[:TEXT_BYTES]
    return kept.decode(errors="ignore")
