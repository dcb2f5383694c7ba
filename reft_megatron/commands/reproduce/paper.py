"""The paper's figures, to stand beside ours.

Luong et al. 2024, "ReFT: Reasoning with Reinforced Fine-Tuning", arXiv 2401.08967, in two versions:
`v1`, and `v3`, the later one (ACL 2024). Of table 2 of v3 the self-training rows are left out
(their source could not be read), so a table with these methods compares all its rows with v1. Owns
the numbers, in percent as printed, and their keys: `VERSION/TASK-FORM/MODEL/METHOD`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reft_megatron.commands.reproduce.results import PaperCell

__all__ = ["PAPER"]

_COLUMNS = (
    *("gsm8k-nl", "gsm8k-program", "svamp-nl", "svamp-program", "mathqa-nl", "mathqa-program"),
)
_MAIN = {
    ("v1", "galactica-6.7b", "SFT"): (41.0, 57.1, 53.8, 69.3, 58.7, 64.8),
    ("v1", "galactica-6.7b", "Offline-ST"): (45.0, 61.0, 56.5, 70.8, 60.7, 67.5),
    ("v1", "galactica-6.7b", "Online-ST"): (45.7, 61.9, 58.5, 73.7, 59.7, 62.4),
    ("v1", "galactica-6.7b", "ReFT"): (46.8, 68.4, 62.3, 73.9, 58.3, 70.4),
    ("v1", "codellama-7b", "SFT"): (44.0, 64.4, 59.6, 76.2, 56.5, 64.2),
    ("v1", "codellama-7b", "Offline-ST"): (38.8, 65.0, 54.2, 72.5, 57.6, 62.8),
    ("v1", "codellama-7b", "Online-ST"): (40.0, 64.3, 59.7, 75.4, 55.5, 68.2),
    ("v1", "codellama-7b", "ReFT"): (53.5, 72.8, 60.0, 78.4, 57.9, 71.5),
    ("v3", "galactica-6.7b", "SFT"): (42.68, 58.83, 54.50, 70.09, 58.07, 64.61),
    ("v3", "galactica-6.7b", "ReFT"): (48.14, 68.91, 61.40, 74.09, 58.13, 70.47),
    ("v3", "codellama-7b", "SFT"): (43.59, 63.68, 58.09, 75.40, 56.01, 64.79),
    ("v3", "codellama-7b", "ReFT"): (53.30, 75.28, 64.50, 79.19, 60.13, 71.83),
}
"""Table 2, top-1."""
_NUMERIC = {
    ("v1", "galactica-6.7b", "SFT"): 41.1,
    ("v1", "galactica-6.7b", "ReFT"): 44.9,
    ("v1", "codellama-7b", "SFT"): 36.3,
    ("v1", "codellama-7b", "ReFT"): 41.0,
    ("v3", "galactica-6.7b", "SFT"): 40.08,
    ("v3", "galactica-6.7b", "Offline-ST"): 44.23,
    ("v3", "galactica-6.7b", "Online-ST"): 43.78,
    ("v3", "galactica-6.7b", "ReFT"): 45.23,
    ("v3", "codellama-7b", "SFT"): 37.32,
    ("v3", "codellama-7b", "Offline-ST"): 41.24,
    ("v3", "codellama-7b", "Online-ST"): 38.06,
    ("v3", "codellama-7b", "ReFT"): 42.24,
}
"""Table 3, top-1 on MathQA with numbers for answers, natural language."""
_SAMPLED = {
    ("v1", "galactica-6.7b", "SFT"): ((50.8, 61.1), (59.5, 72.4)),
    ("v1", "galactica-6.7b", "ReFT"): ((58.7, 70.7), (62.8, 76.6)),
    ("v1", "codellama-7b", "SFT"): ((53.8, 67.9), (61.9, 77.6)),
    ("v1", "codellama-7b", "ReFT"): ((65.1, 75.0), (65.7, 79.3)),
    ("v3", "galactica-6.7b", "SFT"): ((52.8, 62.9), (57.5, 73.4)),
    ("v3", "galactica-6.7b", "ReFT"): ((58.5, 71.8), (59.2, 76.4)),
    ("v3", "codellama-7b", "SFT"): ((53.5, 68.0), (62.9, 77.0)),
    ("v3", "codellama-7b", "ReFT"): ((63.2, 78.0), (66.0, 81.2)),
}
"""Table 4, GSM8K: vote@100 and rerank@100, each in natural language and as programs."""
_SMALL = {
    ("v1", "galactica-125m", "SFT"): (23.7, 35.6, 58.4),
    ("v1", "galactica-125m", "ReFT"): (29.8, 39.4, 60.5),
    ("v3", "codegen-350m", "SFT"): (20.4, 34.4, 56.4),
    ("v3", "codegen-350m", "ReFT"): (28.4, 39.3, 59.1),
}
"""Table 5, top-1 of programs: GSM8K, SVAMP, MathQA."""
_ABLATIONS = {
    ("v1", "ReFT in table 6"): 72.7,
    ("v1", "ReFT without partial reward"): 70.9,
    ("v1", "ReFT with beta 0"): 0.0,
    ("v1", "ReFT with a separate value model"): 72.6,
    ("v3", "ReFT in table 6"): 75.28,
    ("v3", "ReFT without partial reward"): 74.40,
    ("v3", "ReFT with a separate value model"): 75.15,
}
"""Table 6, top-1 of CodeLLAMA's programs on GSM8K. (With beta 0 the policy collapsed.)"""


def _figures() -> Iterator[tuple[str, str, float]]:
    """(key and table, figure, percent) of every number."""
    for (version, model, method), row in _MAIN.items():
        for column, percent in zip(_COLUMNS, row, strict=True):
            yield f"{version}/{column}/{model}/{method} 2", "top-1", percent
    for (version, model, method), percent in _NUMERIC.items():
        yield f"{version}/mathqa-numeric-nl/{model}/{method} 3", "top-1", percent
    for (version, model, method), pairs in _SAMPLED.items():
        for figure, pair in zip(("vote@100", "rerank@100"), pairs, strict=True):
            for form, percent in zip(("nl", "program"), pair, strict=True):
                yield f"{version}/gsm8k-{form}/{model}/{method} 4", figure, percent
    for (version, model, method), three in _SMALL.items():
        for task, percent in zip(("gsm8k", "svamp", "mathqa"), three, strict=True):
            yield f"{version}/{task}-program/{model}/{method} 5", "top-1", percent
    for (version, method), percent in _ABLATIONS.items():
        yield f"{version}/gsm8k-program/codellama-7b/{method} 6", "top-1", percent


def _by_key() -> dict[str, dict[str, PaperCell]]:
    found: dict[str, dict[str, PaperCell]] = {}
    for text, figure, percent in _figures():
        key, _, table = text.rpartition(" ")
        source = f"arXiv 2401.08967 {key.partition('/')[0]}, table {table}"
        cell = PaperCell(share=round(percent / 100, 6), source=source)
        found.setdefault(key, {})[figure] = cell
    return found


PAPER: Mapping[str, Mapping[str, PaperCell]] = _by_key()
"""`VERSION/TASK-FORM/MODEL/METHOD` -> figure (`top-1`, `vote@100`, `rerank@100`) -> cell."""
