"""The programs of the benchmark."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from reft_megatron.ops.extractor import Extractor, Status
from tools.extractor_bench.corpus import batch, load

PROGRAM = "def solution():\n    return {}"


def write(folder: Path) -> None:
    for name in ("mwp_reft", "programs"):
        (folder / name).mkdir()
    item = {"answer_cot": PROGRAM.format(3), "answer_value": "3.0"}
    (folder / "mwp_reft" / "svamp_python_sdp.json").write_text(json.dumps([item] * 3))
    (folder / "mwp_reft" / "svamp_nl.json").write_text(json.dumps([item] * 3))
    codes = [("faithful_cot", "ok", "ceil(2.5)"), ("pot", "ok", "ans"), ("pot", "ok", "Eq(1, 1)"),
             ("pot", "timeout", "7")]  # fmt: skip
    with gzip.open(folder / "programs" / "real.jsonl.gz", "wt") as file:
        for source, end, value in codes:
            line = {"src": source, "st": end, "code": PROGRAM.format(value)}
            file.write(json.dumps(line) + "\n")


def test_programs_have_what_they_were_recorded_with(tmp_path: Path) -> None:
    write(tmp_path)
    corpus = load(tmp_path)
    assert [text.partition("\n")[0] for text in corpus.real] == [
        "from math import ceil",
        "ans = None",
        "from sympy import Eq, Symbol, simplify, solve",
        "ans = None",
    ]
    assert len(corpus.plain) == 3
    assert corpus.finite == corpus.plain[:2]
    assert (corpus.svamp_gold, corpus.texts_gold) == ([3.0] * 3, [3.0] * 3)
    assert corpus.strict[0].endswith("\nTherefore, the answer is: 3.0")
    assert len(load(tmp_path, most=1).real) == 1


def test_the_rows_of_a_batch_differ_and_end_as_they_should() -> None:
    nest = batch([PROGRAM.format(1), PROGRAM.format(2), "def solution("], shape=(3, 20), loops=4)
    assert [len(row) for row in nest] == [20] * 3
    assert len({text for row in nest for text in row}) == 60
    with Extractor(fallback="none") as extractor:
        results = extractor.run(nest)
    ends = [int((results.status == status).sum()) for status in (Status.OK, Status.STEP_LIMIT)]
    assert ends == [36, 4]
    assert set(results.value[results.status == Status.OK]) == {1.0, 2.0}
