"""How each mathematical and logical answer of the default suite is found again, from nothing.

Mathematics: a Python expression over the numbers of the question. Logic: all worlds that the clues
allow (see suite_worlds). No answer stands here.
"""

from __future__ import annotations

from suite_worlds import (
    Puzzle,
    assigned,
    booleans,
    both,
    orders,
    pick,
    sets,
)

MATHEMATICS = {
    "math-1-en-1": "7 * 12",
    "math-1-en-2": "215 - 48 + 63",
    "math-1-en-3": "1000 - 367",
    "math-1-en-4": "F(96, 8)",
    "math-1-en-5": "50 - 9 * 4",
    "math-1-en-6": "14 * 60 + 35 + 100 - 16 * 60",
    "math-1-en-7": "F(25, 100) * 360",
    "math-1-en-8": "30 - F(2, 5) * 30",
    "math-1-ja-1": "6 * 9",
    "math-1-ja-2": "28 - 11 + 7",
    "math-1-ja-3": "F(84, 7)",
    "math-1-ja-4": "1000 - 130 * 5",
    "math-1-ja-5": "3 * 60 + 25",
    "math-1-ja-6": "2.5 * 100 - 80",
    "math-1-ja-7": "3600 * F(1, 2)",
    "math-1-ja-8": "F(45 + 67, 2)",
    "math-2-en-1": "F(450, 6) * 10",
    "math-2-en-2": "80 * (1 - F(15, 100))",
    "math-2-en-3": "only(ana for ana in range(49) for ben in range(49)"
    " if ana == 3 * ben and ana + ben == 48)",
    "math-2-en-4": "17 * only(w for w in range(54) if 2 * (17 + w) == 54)",
    "math-2-en-5": "1234 % 11",
    "math-2-en-6": "only(t for t in range(276) if 14 * t - 3 * t == 275)",
    "math-2-en-7": "count(n for n in range(20, 50 + 1) if all(n % d for d in range(2, n)))",
    "math-2-en-8": "only(x for x in range(100) if F(12 + 15 + 20 + 22 + x, 5) == 18)",
    "math-2-ja-1": "60 * (2 + F(30, 60))",
    "math-2-ja-2": "1200 * (1 - F(2, 10)) + 100",
    "math-2-ja-3": "only(y for y in range(35) if y + (y + 8) == 34)",
    "math-2-ja-4": "F(12 * 9, 6)",
    "math-2-ja-5": "max(d for d in range(1, 73) if 72 % d == 0 and 120 % d == 0)",
    "math-2-ja-6": "only(x for x in range(300) if F(5 * 152 + x, 6) == 154)",
    "math-2-ja-7": "count(n for n in range(1, 100 + 1) if n % 7 == 0)",
    "math-2-ja-8": "250 * F(8, 100)",
    "math-3-en-1": "count(n for n in range(1, 200 + 1) if (n % 3 == 0) != (n % 5 == 0))",
    "math-3-en-2": "45 * (13 - 9) + 60 * (13 - (10 + F(30, 60)))",
    "math-3-en-3": "only(p for p in range(1000) if p * (1 + F(20, 100)) * (1 - F(25, 100)) == 270)",
    "math-3-en-4": "count(p for p in permutations(range(4)) if abs(p.index(0) - p.index(1)) == 1)",
    "math-3-en-5": "sum(int(digit) for digit in str(2 ** 20))",
    "math-3-en-6": "(36 + 36) / (F(36, 18) + F(36, 9))",
    "math-3-en-7": "min(n for n in range(1, 36) if n % 5 == 2 and n % 7 == 3)",
    "math-3-en-8": "share(a == b for a, b in permutations('r' * 5 + 'b' * 4 + 'g' * 3, 2))",
    "math-3-ja-1": "count(n for n in range(1, 300 + 1) if n % 4 and n % 6)",
    "math-3-ja-2": "only(t for t in range(100) if 120 * t == 70 * (t + 5))",
    "math-3-ja-3": "count(p for p in permutations((1, 2, 3, 4, 5), 3) if p[2] % 2 == 0)",
    "math-3-ja-4": "only(n for n in range(100) if 3 * n - 14 == n + 22)",
    "math-3-ja-5": "800 * (1 + F(25, 100)) * (1 - F(1, 10)) - 800",
    "math-3-ja-6": "F(300 * 5 + 150 * 11, 300 + 150)",
    "math-3-ja-7": "only(a for a in range(361) for m in range(331)"
    " if a + 3 * m == 330 and 2 * a + m == 360)",
    "math-3-ja-8": "share(a + b >= 8 for a, b in product(range(1, 7), repeat=2))",
    "math-4-en-1": "count(n for n in range(1000, 10000)"
    " if all(a < b for a, b in zip(str(n), str(n)[1:])))",
    "math-4-en-2": "sum(d for d in range(1, 360 + 1) if 360 % d == 0)",
    "math-4-en-3": "7 ** 222 % 100",
    "math-4-en-4": "count(1 for a in range(11) for b in range(6) for c in range(3)"
    " if 5 * a + 10 * b + 25 * c == 50)",
    "math-4-en-5": "share('HH' not in ''.join(t) for t in product('HT', repeat=6))",
    "math-4-en-6": "1 / (F(1, 6) + F(1, 4) - F(1, 12))",
    "math-4-en-7": "min(n for n in range(1, 60) if trailing_zeros(factorial(n)) == 6)",
    "math-4-en-8": "count(n for n in range(1, 1000 + 1) if sum(map(int, str(n))) == 9)",
    "math-4-ja-1": "count(n for n in range(1, 100 + 1) if n * (n + 1) % 3)",
    "math-4-ja-2": "count(1 for steps in range(1, 11)"
    " for s in product((1, 2), repeat=steps) if sum(s) == 10)",
    "math-4-ja-3": "2 ** 50 % 7",
    "math-4-ja-4": "count(c for c in combinations('m' * 4 + 'f' * 3, 3) if len(set(c)) == 2)",
    "math-4-ja-5": "count(n for n in range(100, 1000) if prod(map(int, str(n))) == 12)",
    "math-4-ja-6": "5 + (1 - F(5, 10)) / (F(1, 10) + F(1, 15))",
    "math-4-ja-7": "max(k for k in range(30) if factorial(30) % 3 ** k == 0)",
    "math-4-ja-8": "share(max(t) == 5 for t in product(range(1, 7), repeat=3))",
}

WEEK = "('Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')"

LOGIC = {
    "logic-1-en-1": Puzzle(booleans("rose red"), ("not rose or red", "rose"), status="red"),
    "logic-1-en-2": Puzzle(
        orders("Mia Leo Zoe"),
        ("Mia < Leo", "Leo < Zoe"),
        options=("Mia == 3", "Leo == 3", "Zoe == 3"),
    ),
    "logic-1-en-3": Puzzle(
        booleans("rain off"), ("not rain or off", "not off"), status="rain", order="tfu"
    ),
    "logic-1-en-4": Puzzle(
        booleans("alarm blink"), ("not alarm or blink", "blink"), status="alarm"
    ),
    "logic-1-en-5": Puzzle(
        pick("day", ["Tue"]),
        options=tuple(
            f"{WEEK}[({WEEK}.index(day) + 10) % 7] == '{name}'"
            for name in ("Thu", "Fri", "Sat", "Sun")
        ),
    ),
    "logic-1-en-6": Puzzle(
        sets("bird yellow"),
        ("some(bird, yellow)",),
        options=(
            "every(bird, yellow)",
            "some_not(bird, yellow)",
            "every(yellow, bird)",
            "some(yellow, bird)",
        ),
    ),
    "logic-1-en-7": Puzzle(
        booleans("cupboard sink"),
        ("cupboard != sink", "not sink"),
        status="cupboard",
    ),
    "logic-1-en-8": Puzzle(
        booleans("fish blue"), ("not (fish and blue)", "fish"), status="blue", order="utf"
    ),
    "logic-1-ja-1": Puzzle(booleans("bread rice"), ("not bread or rice", "bread"), status="rice"),
    "logic-1-ja-2": Puzzle(
        orders("aoki ito ueda"),
        ("aoki < ito", "ito < ueda"),
        options=("ueda == 1", "ito == 1", "aoki == 1"),
    ),
    "logic-1-ja-3": Puzzle(booleans("rain off"), ("not rain or off", "not off"), status="rain"),
    "logic-1-ja-4": Puzzle(booleans("sun out"), ("not sun or out", "out"), status="sun"),
    "logic-1-ja-5": Puzzle(
        pick("day", ["Thu"]),
        options=tuple(
            f"{WEEK}[({WEEK}.index(day) + 20) % 7] == '{name}'"
            for name in ("Tue", "Wed", "Fri", "Sat")
        ),
    ),
    "logic-1-ja-6": Puzzle(
        booleans("red white"),
        ("red or white", "not (red and white)", "not red"),
        status="red",
        order="tuf",
    ),
    "logic-1-ja-7": Puzzle(
        booleans("cat dog"), ("not (cat and dog)", "dog"), status="cat", order="ftu"
    ),
    "logic-1-ja-8": Puzzle(
        sets("desk dictionary"),
        ("some(desk, dictionary)",),
        options=(
            "every(dictionary, desk)",
            "every(desk, dictionary)",
            "some_not(desk, dictionary)",
            "some(dictionary, desk)",
        ),
    ),
    "logic-2-en-1": Puzzle(
        orders("Ana Bo Cy Di"),
        ("Ana < Bo", "Cy > Bo", "Di < Ana"),
        options=("Ana == 3", "Bo == 3", "Cy == 3", "Di == 3"),
    ),
    "logic-2-en-2": Puzzle(
        sets("poet reader runner"),
        ("every(poet, reader)", "some(reader, runner)"),
        status="some(poet, runner)",
    ),
    "logic-2-en-3": Puzzle(
        booleans("pat quinn"),
        ("pat == (not quinn)", "quinn == (pat and quinn)"),
        options=(
            "pat and quinn",
            "not pat and not quinn",
            "pat and not quinn",
            "not pat and quinn",
        ),
    ),
    "logic-2-en-4": Puzzle(
        booleans("failed badge"),
        ("not (failed and badge)", "badge"),
        status="failed",
        order="ftu",
    ),
    "logic-2-en-5": Puzzle(
        assigned("ira jo kit", "cat dog fish"),
        ("ira != 'cat'", "jo == 'dog'"),
        options=("ira == 'cat'", "jo == 'cat'", "False", "kit == 'cat'"),
    ),
    "logic-2-en-6": Puzzle(
        pick("coin", (1, 2, 3)),
        ("(coin == 1) + (coin != 2) + (coin != 1) == 1",),
        options=("coin == 1", "coin == 2", "coin == 3"),
    ),
    "logic-2-en-7": Puzzle(
        orders("ann ben cal dee"),
        ("ben == ann + 1", "cal == 1", "abs(dee - cal) > 1"),
        value="dee",
    ),
    "logic-2-en-8": Puzzle(
        booleans("works fills rings broken"),
        ("not works or fills", "not fills or rings", "not rings"),
        options=("works", "fills", "not works", "broken"),
    ),
    "logic-2-ja-1": Puzzle(
        orders("sato suzuki takahashi tanaka"),
        ("sato < suzuki", "takahashi > suzuki", "tanaka < sato"),
        options=("sato == 2", "suzuki == 2", "takahashi == 2", "tanaka == 2"),
    ),
    "logic-2-ja-2": Puzzle(
        sets("swims fast tall"),
        ("every(swims, fast)", "some(fast, tall)"),
        status="some(swims, tall)",
    ),
    "logic-2-ja-3": Puzzle(
        booleans("ko otsu"),
        ("ko == (not ko and not otsu)",),
        options=("ko and otsu", "not ko and not otsu", "ko and not otsu", "not ko and otsu"),
    ),
    "logic-2-ja-4": Puzzle(
        assigned("kawaguchi kobayashi shimizu", "coffee tea green"),
        ("kawaguchi not in ('tea', 'green')", "shimizu != 'tea'"),
        options=("kawaguchi == 'tea'", "kobayashi == 'tea'", "shimizu == 'tea'"),
    ),
    "logic-2-ja-5": Puzzle(
        booleans("guest badge"), ("not guest or badge", "not badge"), status="guest", order="tuf"
    ),
    "logic-2-ja-6": Puzzle(
        pick("sweet", ("red", "blue", "yellow")),
        ("(sweet == 'red') + (sweet != 'red') + (sweet != 'yellow') == 1",),
        options=("sweet == 'yellow'", "sweet == 'red'", "sweet == 'blue'"),
    ),
    "logic-2-ja-7": Puzzle(
        orders("a b c d"), ("a not in (1, 4)", "b == a + 1", "d != 1"), value="c"
    ),
    "logic-2-ja-8": Puzzle(
        booleans("power screen sound broken"),
        ("not power or screen", "not screen or sound", "not sound"),
        options=("screen", "not power", "power", "broken"),
    ),
    "logic-3-en-1": Puzzle(
        booleans("alma bert cora"),
        ("alma == (not bert)", "bert == (alma == cora)"),
        status="cora",
    ),
    "logic-3-en-2": Puzzle(
        orders("red blue green white yellow"),
        ("green == white + 1", "red in (1, 5)", "blue == 2", "abs(yellow - blue) != 1"),
        options=("red == 3", "green == 3", "yellow == 3", "white == 3"),
    ),
    "logic-3-en-3": Puzzle(
        sets("artist banker chef"),
        ("none(artist, banker)", "some(chef, banker)"),
        options=(
            "some_not(chef, artist)",
            "none(chef, artist)",
            "some(artist, chef)",
            "every(banker, chef)",
        ),
    ),
    "logic-3-en-4": Puzzle(
        booleans("swims cycles key young"),
        ("not swims or cycles", "not cycles or key or young", "not young", "swims"),
        status="key",
        order="fut",
    ),
    "logic-3-en-5": Puzzle(orders("ann ben cal dee"), ("ann != 1", "ben == cal + 1"), count=True),
    "logic-3-en-6": Puzzle(
        pick("who", ("ann", "ben", "cal")),
        ("(who == 'ben') + (who != 'ben') + (who != 'cal') == 1",),
        options=("who == 'ann'", "who == 'ben'", "who == 'cal'"),
    ),
    "logic-3-en-7": Puzzle(
        orders("p q r s"),
        ("p < r", "s not in (1, 4)", "q == s + 1"),
        options=("p == 1", "q == 1", "r == 1", "False"),
    ),
    "logic-3-en-8": Puzzle(
        booleans("opens valid paid"),
        ("not opens or valid", "not valid or paid", "paid"),
        status="opens",
        order="tuf",
    ),
    "logic-3-ja-1": Puzzle(
        booleans("ko otsu hei"),
        ("ko == (not hei)", "otsu == ko", "hei == (ko != otsu)"),
        options=(
            "ko and not otsu and not hei",
            "hei and not ko and not otsu",
            "ko and otsu and not hei",
            "otsu and hei and not ko",
        ),
    ),
    "logic-3-ja-2": Puzzle(
        orders("akai inoue uehara eguchi oono"),
        ("inoue == uehara + 1", "akai not in (1, 5)", "eguchi < oono", "oono != 5"),
        options=("akai == 4", "inoue == 4", "eguchi == 4", "uehara == 4"),
    ),
    "logic-3-ja-3": Puzzle(
        sets("doctor angler musician"),
        ("none(doctor, angler)", "some(musician, angler)"),
        options=(
            "none(musician, doctor)",
            "some_not(musician, doctor)",
            "some(doctor, musician)",
            "every(angler, musician)",
        ),
    ),
    "logic-3-ja-4": Puzzle(
        booleans("shipped passed weight"),
        ("not shipped or passed", "not passed or weight", "weight"),
        status="shipped",
        order="utf",
    ),
    "logic-3-ja-5": Puzzle(orders("a b c d e"), ("c == 1", "abs(a - b) != 1"), count=True),
    "logic-3-ja-6": Puzzle(
        pick("who", ("matsumoto", "takeuchi", "umeda")),
        ("(who == 'takeuchi') + (who == 'umeda') + (who != 'umeda') == 3 - 1",),
        options=("who == 'matsumoto'", "who == 'takeuchi'", "who == 'umeda'"),
    ),
    "logic-3-ja-7": Puzzle(
        orders("aoyama ishii uchida endo"),
        ("endo == ishii - 1", "uchida < endo", "aoyama != 4"),
        options=("ishii == 4", "uchida == 4", "endo == 4", "False"),
    ),
    "logic-3-ja-8": Puzzle(
        booleans("student discount points"),
        ("not student or discount", "not (discount and points)", "points"),
        status="student",
        order="tuf",
    ),
    "logic-4-en-1": Puzzle(
        booleans("w x y z"),
        (
            "w == (w + x + y + z < 4)",
            "x == (w + x + y + z == 1)",
            "y == (w + x + y + z == 2)",
            "z == x",
        ),
        options=(
            "w and not (x or y or z)",
            "w and y and not (x or z)",
            "w and x and z and not y",
            "y and z and not (w or x)",
        ),
    ),
    "logic-4-en-2": Puzzle(
        both(
            orders("amy bill cleo dan"),
            assigned("amy_ bill_ cleo_ dan_", "piano violin flute drums"),
        ),
        (
            "bill_ == 'violin'",
            (
                "all(i != 'piano' or f == 4 for f, i in"
                " ((amy, amy_), (bill, bill_), (cleo, cleo_), (dan, dan_)))"
            ),
            "cleo == dan - 1",
            (
                "all(i != 'drums' or f == bill + 1 for f, i in"
                " ((amy, amy_), (bill, bill_), (cleo, cleo_), (dan, dan_)))"
            ),
            "amy != 4",
        ),
        options=("dan_ == 'flute'", "dan_ == 'drums'", "False", "dan_ == 'piano'"),
    ),
    "logic-4-en-3": Puzzle(
        sets("reads plays young alto"),
        ("every(reads, plays)", "none(plays, young)", "some(alto, reads)"),
        options=(
            "none(alto, young)",
            "every(~young, reads)",
            "some_not(alto, young)",
            "some_not(alto, plays)",
        ),
    ),
    "logic-4-en-4": Puzzle(orders("ann ben c d e"), ("abs(ann - ben) == 2",), count=True),
    "logic-4-en-5": Puzzle(
        booleans("jay kim lou max"),
        ("not jay or kim", "lou == (not kim)", "jay or max", "not lou or not max"),
        options=("kim", "jay", "lou", "max"),
    ),
    "logic-4-en-6": Puzzle(pick("coins", (20,)), value="weighings(coins)"),
    "logic-4-en-7": Puzzle(
        booleans("s1 s2 s3 s4 s5"),
        tuple(f"s{n} == (5 - (s1 + s2 + s3 + s4 + s5) == {n})" for n in range(1, 6)),
        value="1 * s1 + 2 * s2 + 3 * s3 + 4 * s4 + 5 * s5",
    ),
    "logic-4-en-8": Puzzle(
        pick("day", ("Sun",)),
        options=tuple(
            f"{WEEK}[({WEEK}.index(day) + 31 + 30 + 31 + 30) % 7] == '{name}'"
            for name in ("Tue", "Thu", "Fri", "Wed")
        ),
    ),
    "logic-4-ja-1": Puzzle(
        booleans("ko otsu hei tei"),
        (
            "ko == (4 - (ko + otsu + hei + tei) == 1)",
            "otsu == (4 - (ko + otsu + hei + tei) == 3)",
            "hei == ko",
            "tei == (ko + otsu + hei + tei == 0)",
        ),
        options=(
            "ko and hei and not (otsu or tei)",
            "otsu and not (ko or hei or tei)",
            "tei and not (ko or otsu or hei)",
            "otsu and hei and not (ko or tei)",
        ),
    ),
    "logic-4-ja-2": Puzzle(
        both(
            orders("asano baba chiba doi"),
            assigned("asano_ baba_ chiba_ doi_", "teacher doctor painter cook"),
        ),
        (
            (
                "all(job != 'cook' or f == 1 for f, job in"
                " ((asano, asano_), (baba, baba_), (chiba, chiba_), (doi, doi_)))"
            ),
            "asano == baba + 1",
            "chiba_ == 'teacher'",
            (
                "all(job != 'painter' or f == chiba - 1 for f, job in"
                " ((asano, asano_), (baba, baba_), (chiba, chiba_), (doi, doi_)))"
            ),
            "doi != 1",
        ),
        options=("baba_ == 'doctor'", "baba_ == 'painter'", "False", "baba_ == 'cook'"),
    ),
    "logic-4-ja-3": Puzzle(
        sets("english trips remote accounts"),
        ("every(english, trips)", "none(trips, remote)", "some(accounts, remote)"),
        options=(
            "none(accounts, english)",
            "every(remote, accounts)",
            "some(english, accounts)",
            "some_not(accounts, english)",
        ),
    ),
    "logic-4-ja-4": Puzzle(
        orders("a b c d e f"), ("abs(a - b) == 1", "c not in (1, 6)"), count=True
    ),
    "logic-4-ja-5": Puzzle(
        booleans("p q r s"),
        ("not p or q", "not (q and r)", "r or s", "not s or p"),
        options=("p", "not q or s", "r", "p and r"),
    ),
    "logic-4-ja-6": Puzzle(pick("coins", (27,)), value="weighings(coins)"),
    "logic-4-ja-7": Puzzle(
        booleans("s1 s2 s3 s4"),
        tuple(f"s{n} == (s1 + s2 + s3 + s4 == {n} - 1)" for n in range(1, 5)),
        value="1 * s1 + 2 * s2 + 3 * s3 + 4 * s4",
    ),
    "logic-4-ja-8": Puzzle(
        pick("day", ("Wed",)),
        options=tuple(
            f"{WEEK}[({WEEK}.index(day) + 30 + 31 + 30 + 31) % 7] == '{name}'"
            for name in ("Thu", "Fri", "Sat", "Sun")
        ),
    ),
}
