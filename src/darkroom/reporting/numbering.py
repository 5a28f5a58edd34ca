"""Numbers of figures, tables and references, in the order of first use; later ones can be referred to as well."""

from collections.abc import Callable
from typing import Literal

from darkroom.reporting.wording import listing, text

Form = Literal["github", "pandoc"]
"""`github`: Markdown as GitHub renders it; `pandoc`: with captions and anchors, for the web page and the PDF."""

WORKS = {
    "bootstrap": "B. Efron and R. J. Tibshirani. An Introduction to the Bootstrap. Chapman and Hall, 1993.",
    "corruptions": "D. Hendrycks and T. Dietterich. Benchmarking Neural Network Robustness to Common Corruptions and "
    "Perturbations. ICLR, 2019.",
    "max_probability": "D. Hendrycks and K. Gimpel. A Baseline for Detecting Misclassified and Out-of-Distribution "
    "Examples in Neural Networks. ICLR, 2017.",
    "neighbors": "Y. Sun, Y. Ming, X. Zhu and Y. Li. Out-of-distribution Detection with Deep Nearest Neighbors. ICML, "
    "2022.",
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
"""Works that the report can cite."""


class Numbering:
    """Numbers in the order of first use. A second rendering that knows the first one's `numbers` can refer forward."""

    def __init__(self, form: Form, figures: set[str], known: dict[str, str] | None = None) -> None:
        self.form = form
        self.figures = figures
        self.known = known or {}
        """Number by "figure name" or "table name"."""
        self.numbers: dict[str, str] = {}
        self.cited: list[str] = []

    def figure(self, name: str, caption: str) -> str:
        """Return the figure with its numbered caption, or nothing if there is no such figure."""
        if name not in self.figures:
            return ""
        number = self._count("Figure", name)
        if self.form == "github":
            return f"![{caption}](figures/{name}.png)\n\n*Figure {number}.* {caption}."
        return f"![**Figure {number}.** {caption}.](figures/{name}.png){{#figure-{name}}}"

    def table(self, name: str, caption: str, caller: Callable[[], str]) -> str:
        """Return a table, the body of the template's `call` block, with its numbered caption."""
        number = self._count("Table", name)
        rows = caller().strip()
        if self.form == "github":
            return f"*Table {number}.* {caption}.\n\n{rows}"
        return f"::: {{#table-{name} .table}}\n{rows}\n\n: **Table {number}.** {caption}.\n:::"

    def see(self, kind: Literal["Figure", "Table"], name: str) -> str:
        """Return "Figure 3", as a link if the form supports it."""
        words = f"{kind}\u00a0{self.known.get(f'{kind} {name}', '?')}"
        return words if self.form == "github" else f"[{words}](#{kind.lower()}-{name})"

    def mention(self, shown: list[tuple[str, str]]) -> str:
        """Return "Figure 1 shows this and Figure 2 that." for pairs of name and words; missing figures are skipped."""
        present = [(self.see("Figure", name), words) for name, words in shown if name in self.figures]
        parts = [f"{figure} {words if place else f'shows {words}'}" for place, (figure, words) in enumerate(present)]
        return f"{listing(parts)}." if parts else ""

    def cite(self, work: str) -> str:
        """Return a citation such as "[3]", the number of a work in the list of references."""
        if work not in self.cited:
            self.cited.append(work)
        return f"\\[{self.cited.index(work) + 1}\\]"

    def references(self) -> str:
        """Return the list of the works cited so far."""
        return "\n".join(f"{number}. {text(WORKS[work])}" for number, work in enumerate(self.cited, 1))

    def _count(self, kind: str, name: str) -> str:
        taken = sum(key.startswith(kind) for key in self.numbers)
        return self.numbers.setdefault(f"{kind} {name}", str(taken + 1))
