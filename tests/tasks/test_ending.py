"""A program is over where its own return has been written out, and nowhere before."""

from __future__ import annotations

import pytest

from reft_megatron.tasks.ending import returned

WHOLE = "    apples = 3\n    result = apples * 2\n    return result"


def test_a_program_is_over_with_the_line_of_its_return():
    text = f"{WHOLE}\n\nQuestion:\nWhat?"
    first = next(end for end in range(len(text) + 1) if returned(text[:end]))
    assert text[:first] == f"{WHOLE}\n"
    assert returned(f"{WHOLE}\n    ")
    assert returned("\tx = 1\n\treturn x\n")


@pytest.mark.parametrize(
    "body",
    [
        WHOLE,
        "    x = 1\n",
        "    if x:\n        return 1\n",
        "    for x in y:\n        return x\n    z = 2\n",
        "    return (\n        1 +\n",
        "    return 1 + \\\n",
        '    """\n    return 5\n',
        "    def inner():\n        return 1\n    x = inner()\n",
        "    returned = 5\n",
        "    x = = 3\n    return x\n",
        "    return \x00\n",
        "    return " + "(" * 300 + ")" * 300 + "\n",
        "  return 1\n",
        "\n",
        "",
    ],
)
def test_what_may_go_on_is_not_over(body: str):
    assert not returned(body)


def test_a_return_in_brackets_is_over_once_they_close():
    assert returned("    return (\n        1 +\n        2)\n")
    assert returned('    return f"""\n    return 5\n    """\n')
