"""Figures, tables and works that are numbered as the report comes to them, and can be named before."""

from collections.abc import Callable
from typing import Literal

from darkroom.reporting.wording import text

Form = Literal["github", "pandoc"]
"""`github`: Markdown as its readers show it; `pandoc`: with captions and addresses, for web page and PDF."""

WORKS = {
    "bootstrap": "B. Efron and R. J. Tibshirani. An Introduction to the Bootstrap. Chapman and Hall, 1993.",
    "corruptions": "D. Hendrycks and T. Dietterich. Benchmarking Neural Network Robustness to Common Corruptions and "
    "Perturbations. ICLR, 2019.",
    "max_probability": "D. Hendrycks and K. Gimpel. A Baseline for Detecting Misclassified and Out-of-Distribution "
    "Examples in Neural Networks. ICLR, 2017.",
    "energy": "W. Liu, X. Wang, J. Owens and Y. Li. Energy-based Out-of-distribution Detection. NeurIPS, 2020.",
    "guo": "C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger. On Calibration of Modern Neural Networks. ICML, 2017.",
    "hog": "N. Dalal and B. Triggs. Histograms of Oriented Gradients for Human Detection. CVPR, 2005.",
    "holm": "S. Holm. A Simple Sequentially Rejective Multiple Test Procedure. Scandinavian Journal of Statistics 6, "
    "1979.",
    "mcnemar": "Q. McNemar. Note on the Sampling Error of the Difference Between Correlated Proportions or "
    "Percentages. Psychometrika 12, 1947.",
    "occlusion": "M. D. Zeiler and R. Fergus. Visualizing and Understanding Convolutional Networks. ECCV, 2014.",
    "northcutt": "C. Northcutt, L. Jiang and I. Chuang. Confident Learning: Estimating Uncertainty in Dataset Labels. "
    "Journal of Artificial Intelligence Research 70, 2021.",
    "cam": "B. Zhou, A. Khosla, A. Lapedriza, A. Oliva and A. Torralba. Learning Deep Features for Discriminative "
    "Localization. CVPR, 2016.",
    "wilson": "E. B. Wilson. Probable Inference, the Law of Succession, and Statistical Inference. Journal of the "
    "American Statistical Association 22, 1927.",
}
"""What the report may cite."""


class Numbering:
    """Numbers in the order of first use; a second rendering with the first one's `known` can name what comes later."""

    def __init__(self, form: Form, pictures: set[str], known: dict[str, str] | None = None) -> None:
        self.form = form
        self.pictures = pictures
        self.known = known or {}
        """Number by "figure name" or "table name"."""
        self.numbers: dict[str, str] = {}
        self.cited: list[str] = []

    def figure(self, name: str, caption: str) -> str:
        """Return the picture with its numbered caption, or nothing where there is no such picture."""
        if name not in self.pictures:
            return ""
        number = self._count("Figure", name)
        if self.form == "github":
            return f"![{caption}](figures/{name}.png)\n\n*Figure {number}.* {caption}."
        return f"![**Figure {number}.** {caption}.](figures/{name}.png){{#figure-{name}}}"

    def table(self, name: str, caption: str, caller: Callable[[], str]) -> str:
        """Return a table, the body of the template's call, with its numbered caption."""
        number = self._count("Table", name)
        rows = caller().strip()
        if self.form == "github":
            return f"*Table {number}.* {caption}.\n\n{rows}"
        return f"::: {{#table-{name} .table}}\n{rows}\n\n: **Table {number}.** {caption}.\n:::"

    def see(self, kind: Literal["Figure", "Table"], name: str) -> str:
        """Return "Figure 3", leading there where the form can."""
        words = f"{kind}\u00a0{self.known.get(f'{kind} {name}', '?')}"
        return words if self.form == "github" else f"[{words}](#{kind.lower()}-{name})"

    def mention(self, shown: list[tuple[str, str]]) -> str:
        """Return "Figure 1 shows the one, Figure 2 the other." for pairs of a name and words, of pictures there are."""
        there = [(self.see("Figure", name), words) for name, words in shown if name in self.pictures]
        parts = [f"{figure} {words if place else f'shows {words}'}" for place, (figure, words) in enumerate(there)]
        return f"{', '.join(parts)}." if parts else ""

    def cite(self, work: str) -> str:
        """Return "[3]", the number of a work in the list of references."""
        if work not in self.cited:
            self.cited.append(work)
        return f"\\[{self.cited.index(work) + 1}\\]"

    def references(self) -> str:
        """Return the works cited so far, by number."""
        return "\n".join(f"{number}. {text(WORKS[work])}" for number, work in enumerate(self.cited, 1))

    def _count(self, kind: str, name: str) -> str:
        taken = sum(key.startswith(kind) for key in self.numbers)
        return self.numbers.setdefault(f"{kind} {name}", str(taken + 1))
