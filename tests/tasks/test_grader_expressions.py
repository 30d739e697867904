"""What stands around a number: signs, denials, boxes, roots, asides, and rarer notations."""

from __future__ import annotations

import pytest

from so8t.tasks.graders.number import NumberGrader

# reference, reply, is it right
SIGNS = [
    ("-3/4", r"\boxed{- \frac{3}{4}}", True),
    ("-3/4", r"$- \frac{3}{4}$", True),
    ("-3/4", r"x = - \frac{3}{4}", True),
    ("5/2", r"2\frac12", True),
    ("5/2", r"2 \frac{1}{2}", True),
    ("5/2", r"2\,\frac{1}{2}", True),
    ("-5/2", r"-2\frac12", True),
    ("5/2", "2½", True),
    ("-5/2", "-2½", True),
    ("5/2", "2 ½", True),
    ("-1/2", "x - ½", False),
    ("1/2", "x - ½", True),
    ("1/2", "10 - ½", False),
    ("1/2", r"\boxed{x-\frac12}", False),
    ("-1/2", r"\boxed{x-\frac12}", False),
    ("1/2", r"\cdot\frac12", True),
    ("-1/2", "マイナス½", True),
    ("-1/2", "答えは-½です", True),
    ("1/2", "約½", True),
    ("-3/4", r"\boxed{\frac{-3}{4}}", True),
    ("500", r"\frac{1\,000}{2}", True),
    ("3/4", r"\left(\frac{3}{4}\right)", True),
    ("-3/4", r"\boxed{\left(-\frac{3}{4}\right)}", True),
    ("-5", "(- 5)", True),
    ("5", "10$ - 5$ = 5$", True),
    ("5", "$10 - 5 = 5$", True),
    ("5", "10 - 5", False),
    ("9.5", r"10 - \frac12 = 9.5", True),
    ("9.5", r"$10-\frac{1}{2}=\frac{19}{2}$", True),
]
DENIALS = [
    ("8", "It's 8, and I'm not 100% sure.", True),
    ("8", "5ではなく八です", True),
    ("6", "The answer is not 5 or 6.", False),
    ("7", "It is neither 5 nor 6, it is 7.", True),
    ("7", "It is 7. It is neither 5 nor 6.", True),
    ("5", "It's 5 (not 6).", True),
    ("5", "It is 5, not 6", True),
    ("8", "答えは8ではないでしょうか", True),
    ("8", "8ではありませんか?", True),
    ("8", "8じゃないかと思います", True),
    ("5", "5ではないかもしれない", False),
    ("5", "5でなければならない", True),
    ("5", "5でない。", False),
    ("5", "答えは5であり、6ではない", True),
    ("5", "答えは5で、6ではない。", True),
    ("5", "5個です。6個ではありません。", True),
    ("6", "5個ではなく6個", True),
    ("8", "He bought 8 instead of 10.", True),
    ("5", "whether it is 5", True),
    ("5", "x ≠ 5", False),
    ("5", r"x \neq 5", False),
    ("5", "5 is wrong", False),
    ("8", "8. The number 5 is not the answer", True),
    ("5", "It is 5, isn't it?", True),
    ("5", "It cannot be 5", False),
    ("5", "not only 5 but 8", False),
    ("8", "not only 5 but 8", True),
    ("5", "「5」ではない", False),
    ("5", "5じゃない", False),
    ("5", "不正解は5ではない", False),
    ("18", "There are 18 eggs, not 16.", True),
    ("18", "18個で、16個ではありません", True),
    ("8", "I do not need 3 more; 8", True),
    ("3", "I do not know if it is 3", True),
    ("5", "It is not **5**.", False),
    ("5", "The answer is not $5$.", False),
    ("5", r"The answer is not \(5\).", False),
]
BOXES = [
    ("8", r"\boxed{x = 8}", True),
    ("8", r"\boxed{3 + 5 = 8}", True),
    ("8", r"\boxed{8\text{ apples}}", True),
    ("8", r"\boxed{\text{The answer is } 8}", True),
    ("8", r"\boxed{8\%}", True),
    ("8", r"\boxed{\$8.00}", True),
    ("8", r"\boxed{$8$}", True),
    ("8", r"\boxed{8個}", True),
    ("8", r"\boxed{八個}", True),
    ("8", r"\boxed{答えは8}", True),
    ("8", r"\boxed{8^\circ\text{C}}", True),
    ("8", r"\boxed{8^{\circ}}", True),
    ("8", r"\boxed{8^{\text{th}}}", True),
    ("8", r"\boxed{8\,\text{m/s}^2}", True),
    ("8", r"\boxed{8\,\mathrm{m}^{2}}", True),
    ("8", r"\boxed{8 m^2}", True),
    ("8", r"\boxed{8 km/h}", True),
    ("8", r"\boxed{\$8/kg}", True),
    ("8", r"\boxed{8 m}", True),
    ("8", r"\boxed{8g}", True),
    ("8", r"\boxed{8 L}", True),
    ("8", r"\boxed{\textbf{(B) } 8}", True),
    ("8", r"\boxed{x_1 = 8}", True),
    ("8", r"\boxed{x_{1} = 8}", True),
    ("8", r"\boxed{f(2) = 8}", True),
    ("101", r"\boxed{101_2}", True),
    ("101", r"\boxed{101_{2}}", True),
    ("8", r"\boxed{8 \text{ (eight)}}", True),
    ("8", r"\boxed{\text{eight (8)}}", True),
    ("3.14", r"\boxed{\pi \approx 3.14}", True),
    ("8", r"\boxed{{8}}", True),
    ("8", r"\boxed{\mathbf{8}}", True),
    ("8", r"\boxed{\displaystyle 8}", True),
    ("8", r"\boxed{+8}", True),
    ("-8", r"\boxed{-8}", True),
    ("-8", r"\boxed{−8}", True),
    ("-8", r"\boxed{\text{-}8}", True),
    ("8", r"\boxed{8.}", True),
    ("8", r"\boxed{8,}", True),
    ("1234", r"\boxed{1 234}", True),
    ("1234567", r"\boxed{1 234 567}", True),
    ("1000", r"\boxed{1\ 000}", True),
    ("1000", r"\boxed{1{,}000 \text{ yen}}", True),
    ("8", r"\boxed{\#8}", True),
    ("8", r"\boxed{\text{Day } 8}", True),
    ("8", r"\boxed{8 = x}", True),
    ("1/2", r"\boxed{\dfrac{1}{2}}", True),
    ("5/2", r"\boxed{2\dfrac{1}{2}}", True),
    ("1024", r"\boxed{2^{10}}", True),
    ("1e-3", r"\boxed{10^{-3}}", True),
    ("0.25", r"\boxed{\frac{1}{4} = 0.25}", True),
    ("0.25", r"\boxed{\tfrac14 \text{ or } 0.25}", False),
    ("8", r"\boxed{8\text{ or more}}", False),
    ("3", r"\boxed{x=3, y=8}", False),
    ("8", r"\boxed{x=3, y=8}", False),
    ("8", r"\boxed{x=3\text{ and }y=8}", False),
    ("8", r"\boxed{(3, 8)}", False),
    ("8", r"\boxed{\{8\}}", True),
    ("8", r"\boxed{x > 8}", False),
    ("8", r"\boxed{x \geq 8}", False),
    ("8", r"\boxed{\pm 8}", False),
    ("8", r"\boxed{8+x}", False),
    ("8", r"\boxed{x+8}", False),
    ("8", r"\boxed{8(x+y)}", False),
    ("8", r"\boxed{8xy}", False),
    ("8", r"\boxed{8\pi}", False),
    ("8", r"\boxed{8π}", False),
    ("8", r"\boxed{\sqrt[3]{8}}", False),
    ("8", r"\boxed{\ln 8}", False),
    ("8", r"\boxed{\log_2 8}", False),
    ("8", r"\boxed{x/8}", False),
    ("8", r"\boxed{\frac{x}{8}}", False),
    ("8", r"\boxed{\frac{8}{x}}", False),
    ("8", r"\boxed{\frac{\pi}{8}}", False),
    ("8", r"\boxed{e^8}", False),
    ("8", r"\boxed{8e}", False),
    ("8", r"\boxed{8i}", False),
    ("8", r"\boxed{8 \pmod{10}}", False),
    ("0.3", r"\boxed{0.\overline{3}}", False),
    ("0.333", r"\boxed{0.333\ldots}", True),
    ("8", r"\boxed{\text{none}}", False),
    ("8", r"\boxed{-x + 8}", False),
    ("8", r"\boxed{8 - x}", False),
    ("8", r"\boxed{8-x}", False),
    ("2500", r"\boxed{2{,}500\ \text{ml}}", True),
    ("8", r"\boxed{3x = 24 \implies x = 8}", True),
    ("8", r"\boxed{x = 3 \quad y = 8}", False),
    ("72", r"\boxed{72\ \text{km/h}}", True),
    ("72", r"\boxed{72 \frac{\text{km}}{\text{h}}}", True),
    ("72", r"\boxed{72 \mathrm{~km}}", True),
    ("8", r"\boxed{~8~}", True),
    ("8", r"\boxed{\text{Answer: 8}}", True),
    ("8", r"\boxed{8円}", True),
    ("8", r"\boxed{8 人}", True),
    ("8", r"\boxed{A = 8 \text{ cm}^2}", True),
    ("8", r"\boxed{8\text{ a day}}", True),
    ("8", r"\boxed{8 hours}", True),
    ("8", r"\boxed{8 \text{ in}}", True),
    ("8", r"\boxed{\text{約}8}", True),
    ("8", r"\boxed{\approx 8}", True),
    ("8", r"\boxed{8 \text{ x } 10}", False),
    ("1500", r"\boxed{1.5 \times 10^3}", True),
    ("1500", r"\boxed{1.5 \cdot 10^{3}}", True),
    ("25%", r"\boxed{25\%}", True),
    ("8", r"\boxed{三人で八個}", False),
]
MULTIPLES = [
    ("3", "The answer is 3x.", False),
    ("3", "The answer is $3x$.", False),
    ("3", "The answer is 3x as many.", True),
    ("3", "Answer: 3π", False),
    ("2", r"The answer is $2\sqrt{2}$.", False),
    ("2", r"So it is $\sqrt{2}$.", False),
    ("5", r"Since $\sqrt{25}$ is 5", True),
    ("5", r"$\sqrt{25} = 5$", True),
    ("4", "√16は4です", True),
    ("4", "√16=4", True),
    ("16", "√16", False),
    ("3", "The answer is 3 m.", True),
    ("3", "Answer: 3 i.e. three", True),
    ("3", "Answer: 3 a", False),
    ("3.46", "2√3 ≈ 3.46", True),
    ("3", "答えは3xです", True),
]
INDEFINITE = [
    ("100", "数百人", False),
    ("1000", "何千もの", False),
    ("100", "数100人", False),
    ("10", "人数10", True),
    ("10", "十数人", False),
    ("10", "人数十", True),
    ("10", "約数は10", True),
    ("5", "数は5", True),
    ("50", "五十、一般に", True),
    ("20", "二十数個", False),
    ("10", "数10", False),
]
WORDS = [
    ("0", "答えはゼロです", True),
    ("3", "ゼロから数えると三", True),
    ("3", "答えはゼロより大きい3", True),
    ("0", "ゼロではない", False),
    ("5", "答えは半分の5個です", True),
    ("1/2", "答えは半分です。", True),
    ("1/2", "半分になります", True),
    ("25", "the twenty-fifth", False),
    ("2/3", "two thirds", True),
    ("2/3", "It is two-thirds of the cake.", True),
    ("1/2", "The answer is one half.", True),
    ("1/2", "The answer is half.", True),
    ("5", "The answer is half of 10, so 5", True),
    ("3.5", "three and a half hours", True),
    ("1", "It is one.", True),
    ("1", "So there is only one.", True),
    ("1", "The answer is one.", True),
    ("2", "That is the one.", False),
    ("1", "That is the one.", False),
    ("1", "The total equals one", True),
    ("1", "One of them is right.", False),
    ("3/4", "three quarters", True),
    ("-2/3", "minus two thirds", True),
    ("1", "one second", True),
    ("6", "two thirds of 9 is 6", True),
    ("6", "two thirds of nine is six", True),
]
SPACED_THOUSANDS = [
    ("1234", "1 234", True),
    ("1234", "The answer is 1 234.", True),
    ("1234", "Answer: 1 234", True),
    ("1234", "#### 1 234", True),
    ("1234", "答えは1 234です。", True),
    ("1234", "1 234 yen", True),
    ("234", "She has 1 234 things", True),
    ("3", "Answer: 3 100-yen coins", True),
    ("-1234", "-1 234", True),
    ("1234.5", "1 234.5", True),
    ("1234", "1 2345", False),
    ("1234", "01 234", False),
    ("500", "Answer: 2 500 ml bottles", False),
]
JAPANESE_NOTATIONS = [
    ("1024", "2の10乗", True),
    ("1024", "2の10乗は1024です", True),
    ("2", "8の3乗根は2", True),
    ("3", "答えの③", True),
    ("3", "答えは③です", True),
    ("3", "答え：③", True),
    ("3", "答え:③。理由は2つ", True),
    ("3", "③です", True),
    ("8", "① 8個", True),
    ("8", "答え ① 8個", True),
    ("8", "① 3+5 ② 8", True),
    ("3", "正解は③。", True),
]
ASIDES = [
    ("5", "5 apples (from 2 + 3)", True),
    ("5", "5 apples (2 + 3).", True),
    ("10", "5(2 + 3)", False),
    ("8", "She has 3 apples (3 of 8), so 8", True),
    ("15", "3 boxes (15 apples)", True),
    ("5", "5個(2+3)です", True),
    ("8", "I have 8 (3 + 5 = 8)", True),
    ("60", "60 km/h (120 km in 2 hours)", True),
    ("5", "3 x (2 + 3)", False),
    ("5", "3 to (2 + 3)", False),
    ("14", "The sum of 4 (2 + 2) and 10 is 14.", True),
    ("18", "18 dollars (9 eggs × $2)", True),
]


@pytest.mark.parametrize(("reference", "reply", "right"), SIGNS)
def test_signs(reference: str, reply: str, right: bool) -> None:
    """A minus before a fraction is kept, and one between operands is no sign."""
    score = NumberGrader().score(reference, reply)
    assert score.value == float(right), score


@pytest.mark.parametrize(("reference", "reply", "right"), DENIALS)
def test_denials(reference: str, reply: str, right: bool) -> None:
    """ "Not 5" is no answer of 5; asking for assent, or demanding, denies nothing."""
    score = NumberGrader().score(reference, reply)
    assert score.value == float(right), score


@pytest.mark.parametrize(("reference", "reply", "right"), BOXES)
def test_boxes(reference: str, reply: str, right: bool) -> None:
    """A box holds one number with its name and unit, or an expression and no answer."""
    score = NumberGrader().score(reference, reply)
    assert score.value == float(right), score


@pytest.mark.parametrize(("reference", "reply", "right"), MULTIPLES)
def test_multiples(reference: str, reply: str, right: bool) -> None:
    """A root, a multiple of π and 3x are not the number that stands in them."""
    score = NumberGrader().score(reference, reply)
    assert score.value == float(right), score


@pytest.mark.parametrize(("reference", "reply", "right"), INDEFINITE)
def test_indefinite(reference: str, reply: str, right: bool) -> None:
    """Some hundreds are no number; words that look like it are none either."""
    score = NumberGrader().score(reference, reply)
    assert score.value == float(right), score


@pytest.mark.parametrize(("reference", "reply", "right"), WORDS)
def test_words(reference: str, reply: str, right: bool) -> None:
    """Fractions in words, a stated one and a Japanese zero and half are numbers."""
    score = NumberGrader().score(reference, reply)
    assert score.value == float(right), score


@pytest.mark.parametrize(("reference", "reply", "right"), SPACED_THOUSANDS)
def test_spaced_thousands(reference: str, reply: str, right: bool) -> None:
    """1 234 is read where it is all that the reply, its label or its box says."""
    score = NumberGrader().score(reference, reply)
    assert score.value == float(right), score


@pytest.mark.parametrize(("reference", "reply", "right"), JAPANESE_NOTATIONS)
def test_japanese_notations(reference: str, reply: str, right: bool) -> None:
    """A power is computed, and a circled number answers where a label asks for it."""
    score = NumberGrader().score(reference, reply)
    assert score.value == float(right), score


@pytest.mark.parametrize(("reference", "reply", "right"), ASIDES)
def test_asides(reference: str, reply: str, right: bool) -> None:
    """A calculation in parentheses behind the answer is not the answer."""
    score = NumberGrader().score(reference, reply)
    assert score.value == float(right), score
