"""Formulas as R1 writes them, shown as Unicode: what they mean stays, and what is no formula stays as it is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.style import Style

from tui.widgets.transcript.flow import AnswerFlow
from tui.widgets.transcript.latex import LONGEST
from tui.widgets.transcript.latex.formula import formula
from tui.widgets.transcript.markdown import Formatter
from tui.widgets.transcript.palette import NAMES, Palette

PALETTE = Palette(**{name: Style() for name in NAMES})
SIGNS = (
    r"\frac", r"\sqrt", "{", "}", "^", "_", "$", r"\left", r"\right", "(", ")", r"\begin{matrix}", r"\end{matrix}",
    r"\text", "&", r"\\", "x", "1", " ", r"\not", r"\hat", r"\sum", "'", "%", "~", r"\boxed", r"\input{/etc/passwd}",
    r"\verb|", r"\[", r"\]", r"\(", r"\)", r"\begin{cases}", "[", "]", "\n", "`", "- ", "| a |", "\ue000", "中",
)  # fmt: skip
HOSTILE = st.lists(st.sampled_from(SIGNS), max_size=400).map("".join)
# Minutes, if it took more than linear time; this is for a machine that has other things to do.
SLOWEST_S = 1.0


def flat(source: str) -> str:
    found = formula(source)
    return "".join(text for text, _boxed in found.flat) if found is not None else source


def shown(text: str, width: int = 70, *, live: bool = False) -> list[str]:
    flow = AnswerFlow(Formatter(PALETTE, width))
    flow.append(text)
    if not live:
        flow.finish()
    return [row.strip.text.rstrip() for row in flow.rows()]


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        (r"\boxed{42}", "42"),
        (r"\frac{a+b}{2}", "(a+b)/2"),
        (r"\frac{1}{2x}", "1/(2x)"),
        (r"\frac{1}{2}mv^2", "(1/2)mv²"),
        (r"2\frac{1}{2}", "2 1/2"),
        (r"\frac12", "1/2"),
        (r"\frac{\frac{a}{b}}{c}", "(a/b)/c"),
        (r"\left( \frac{a}{b} \right)^2", "(a/b)²"),
        (r"x\frac{a}{b}c", "x(a/b)c"),
        (r"\sin\frac{x}{2}", "sin(x/2)"),
        (r"\frac{\partial f}{\partial x} = \frac{dy}{dx}", "∂f/∂x = dy/dx"),
        (r"x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}", "x = (-b ± √(b² - 4ac))/(2a)"),
        (r"\text{Speed} = \frac{\text{total distance}}{\text{time}}", "Speed = (total distance)/time"),
        (r"x^2 + y_{10} = z^{n+1}", "x² + y₁₀ = zⁿ⁺¹"),
        (r"x_{i,j} + T_c + e^{i\pi} + e^{-x^2}", "x_(i,j) + T_c + e^(iπ) + e^(-x²)"),
        (r"a^Qb", "a^(Q)b"),
        (r"{a+b}^2", "(a+b)²"),
        (r"\sum_{n=1}^{\infty} \frac{1}{n^2} = \frac{\pi^2}{6}", "∑ₙ₌₁^∞ 1/n² = π²/6"),
        (r"\int_0^1 x\,dx", "∫₀¹ x dx"),
        (r"\lim_{x \to 0} f(x)", "lim_(x→0) f(x)"),
        (r"\log_2 8 = 3", "log₂ 8 = 3"),
        (r"2\sin x\cos x", "2 sin x cos x"),
        (r"\sqrt 2 + \sqrt[3]{x+1}", "√2 + ∛(x+1)"),
        (r"\alpha\leq\beta \neq \gamma\approx\delta\in\mathbb{R}", "α ≤ β ≠ γ ≈ δ ∈ ℝ"),
        (r"A \implies B \iff C \Rightarrow D", "A ⟹ B ⟺ C ⇒ D"),
        (r"90^\circ + f'(x) + f''(x)", "90° + f′(x) + f″(x)"),
        (r"a \equiv b \pmod{n}", "a ≡ b (mod n)"),
        (r"x \not\in A, a \not= b", "x ∉ A, a ≠ b"),
        (r"\vec{v} \cdot \overline{AB} \times 1{,}000 = 50\%", "v⃗ · A̅B̅ × 1,000 = 50%"),
        (r"f(x) = \begin{cases} x & x > 0 \\ -x & \text{otherwise} \end{cases}", "f(x) = {x x > 0; -x otherwise}"),
        (r"\binom{n}{k}", "C(n, k)"),
        (r"\underbrace{a+b}_{n}", "(a+b)ₙ"),
        (r"\overrightarrow{AB} \gets \Re z", "A⃗B⃗ ← Re z"),
        (r"{}_nC_r = a{}b", "ₙCᵣ = ab"),
        (r"\lvert x \rvert + \lVert v \rVert_2 + \vert y\vert", "|x| + ‖v‖₂ + |y|"),
    ],
)
def test_a_formula_reads_as_it_is_meant(source: str, seen: str) -> None:
    assert flat(source) == seen


@pytest.mark.parametrize(
    "source",
    [
        r"\frac{1", r"\frac{1}", r"\boxed{}", r"\frac{}{2}", r"\sqrt{}", "{}",
        "x^", r"\foo{x}", "{{{{", r"\begin{pmatrix} 1", r"\sqrt\frac12", "50% of x",
        r"\input{/etc/passwd}", r"\include{/etc/passwd}", r"\write18{ls}", r"\csname x\endcsname", r"\verb|x|",
        "{" * 500 + "}" * 500, r"\sqrt" * 500 + "x", "x+" * LONGEST, r"\frac{" * 20 + "1" + "}{2}" * 20, "   ",
        "\ue000",
    ],
)  # fmt: skip
def test_what_is_broken_endless_unknown_or_hostile_shows_its_source(source: str) -> None:
    assert formula(source) is None
    text = f"so ${source}$ it is"
    assert " ".join(" ".join(shown(text, 5000)).split()) == " ".join(text.split())


def test_a_matrix_and_equations_below_each_other_take_several_lines_and_one_where_there_is_no_room() -> None:
    text = "$$\nA = \\begin{pmatrix} 1 & 20 \\\\ 3 & 4 \\end{pmatrix} x\n$$\n\n" + (
        "\\begin{align*}\na &= b \\\\\n&= c\n\\end{align*}"
    )
    assert shown(text) == ["      ⎛ 1  20 ⎞", "  A = ⎝ 3  4  ⎠ x", "", "  a = b", "    = c"]
    assert shown(text, 16)[:2] == ["  A = (1 20; 3", "  4) x"]
    assert shown(r"It is $\begin{bmatrix} 1 \\ 2 \end{bmatrix}$.") == ["It is [1; 2]."]


def test_a_system_and_a_matrix_have_brackets_as_high_as_they_are() -> None:
    text = (
        r"\[ \left\{ \begin{array}{l} x+y=1 \\ x-y=3 \\ z=4 \end{array} \right. \]" + "\n\n"
        r"\[ \left[\begin{array}{cc} 1 & 2 \\ 3 & 4\end{array}\right], y \]"
    )
    assert shown(text) == ["  ⎧ x+y=1", "  ⎨ x-y=3", "  ⎩ z=4", "", "  ⎡ 1  2 ⎤", "  ⎣ 3  4 ⎦, y"]


def test_the_answer_in_a_box_is_in_a_box() -> None:
    assert shown("Thus\n\\[\n\\boxed{\\frac{1}{2}}\n\\]\nholds.") == [
        "Thus", "  ┌─────┐", "  │ 1/2 │", "  └─────┘", "holds.",
    ]  # fmt: skip
    assert shown(r"so **\boxed{42}**, or \(\boxed{x}\)") == ["so 42, or x"]


def test_formulas_are_shown_in_headings_lists_quotes_and_tables() -> None:
    text = "# Find $x^2$\n\n- let $a_1$\n  \\[ a^2 \\]\n\n> $b_2$\n\n" + (
        "| $\\pi$ | \\(x\\) |\n|---|---|\n| $\\frac{22}{7}$ | 3 |"
    )
    rows = shown(text)
    assert rows[0] == "Find x²"
    assert rows[2:4] == [" • let a₁", "     a²"]
    assert rows[5] == "▌ b₂"
    assert rows[7].split() == ["π", "x"]
    assert rows[9].split() == ["22/7", "3"]


@pytest.mark.parametrize(
    "text",
    [
        "It is $5 and $6.", "From $5-$6, US$7, $8/$9 to $10 in all", "$5 to 10$ a month",
        "set $HOME and $PATH, $HOME/$USER",
        "the $50 million$ deal", "`$x^2$` and `\\(x\\)`", r"a \$5 and \$6 x^2", "$ x $ and $", "price: 5$ or 6$",
        "$$", "$$$$",
        "```\n$x^2$ \\(y\\)\n```", "    $x^2$", "a$b$c", "**$5** or **$6**",
        "${HOME}/bin:${PATH}", "$(pwd)/$(whoami)", "$@/$* and $#-$?", "$a['x']=$_POST['y']", "echo $$ and $$",
        "从$100到$", "A $5 (or $6)", "^\\d+$ or ^\\w+$",
    ],
)  # fmt: skip
def test_money_variables_and_code_stay_as_they_are(text: str) -> None:
    seen = "\n".join(shown(text))
    plain = text.replace("`$x^2$` and `\\(x\\)`", "$x^2$ and \\(x\\)").replace("\\$", "$").replace("**", "")
    assert seen.strip() == plain.strip()


def test_letters_of_other_scripts_stand_right_beside_a_formula() -> None:
    assert shown(r"设$x$为实数，则$x^2\ge 0$成立，答案是$\boxed{3}$。") == ["设x为实数，则x² ≥ 0成立，答案是3。"]


def test_a_dollar_with_a_backslash_is_money_in_a_formula_and_outside() -> None:
    text = r"It is \$5: $5 \times \$2 = \$10$ and $\boxed{\$15}$."
    assert shown(text) == ["It is $5: 5 × $2 = $10 and $15."]


def test_the_source_of_a_formula_that_is_not_shown_loses_nothing_to_markdown() -> None:
    text = r"so $\foo_1 *a* b_2 * \$ **c**$, *yes*"
    assert shown(text) == [text.replace("*yes*", "yes")]


def test_an_open_block_shows_its_source_until_it_is_closed() -> None:
    assert shown("so $x^2$ is", live=True) == ["so $x^2$ is"]
    assert shown("so $x^2$ is\n\nand", live=True) == ["so x² is", "", "and"]
    assert shown("\\[\nx^2\n", live=True) == ["\\[", "x^2"]
    assert shown("\\[\nx^2\n\\]\n", live=True) == ["  x²"]


def test_a_formula_without_an_end_holds_nothing_up() -> None:
    assert shown("\\[ x^2\n\n- one\n- two") == ["\\[ x^2", "", " • one", " • two"]
    assert shown("$$ is a lot\n# Title\n- one") == ["$$ is a lot", "", "Title", " • one"]
    assert len(shown("$$\n" + "x\n" * 500, live=True)) >= 500


def test_no_file_is_read_for_a_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    formula("x^2")  # Loads the parser.

    def nothing(*_: object, **__: object) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr("builtins.open", nothing)
    assert formula(r"\input{/etc/passwd} + x") is None
    assert formula(r"x + \include{/etc/hostname}") is None


@given(HOSTILE)
@settings(max_examples=150, deadline=None)
def test_a_hostile_formula_is_shown_at_once_and_never_breaks(source: str) -> None:
    started = time.perf_counter()
    found = formula(source[:LONGEST])
    assert time.perf_counter() - started < SLOWEST_S
    assert found is None or all(text.isprintable() for text, _ in found.flat)


@given(HOSTILE, st.integers(2, 80))
@settings(max_examples=100, deadline=None)
def test_a_hostile_text_is_laid_out_at_once_and_the_same_in_one_piece_and_in_many(text: str, width: int) -> None:
    started = time.perf_counter()
    whole = shown(text, width)
    assert time.perf_counter() - started < SLOWEST_S
    flow = AnswerFlow(Formatter(PALETTE, width))
    for at in range(0, len(text), 7):
        flow.append(text[at : at + 7])
    flow.rows()
    flow.finish()
    assert [row.strip.text.rstrip() for row in flow.rows()] == whole
