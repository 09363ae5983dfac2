"""Text of whole factor programs, as RD-Agent's models write them, composed at random from constructs that the tracer follows.

Some have faults that such programs have: a shift across stocks, rows of later days, arrays in another order.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Sequence

HEAD = "import numpy as np\nimport pandas as pd\n"
READ = 'df = pd.read_hdf("daily_pv.h5", key="data")'
FIELDS = ("$open", "$close", "$high", "$low", "$volume")
BY_STOCK = ('groupby(level="instrument")', 'groupby("instrument")', "groupby(level=1)")
BY_DATE = ('groupby(level="datetime")', 'groupby("datetime")', "groupby(level=0)")
STATISTICS = (
    *(
        "mean()",
        "mean()",
        "std()",
        "std()",
        "sum()",
        "min()",
        "max()",
        "median()",
        "skew()",
        "kurt()",
        "var()",
        "count()",
    ),
    *("quantile(0.3)", 'quantile(0.75, interpolation="nearest")', "std(ddof=0)", "sem()"),
)
OF_A_DAY = ("mean", "std", "median", "sum", "min", "max", "count", "skew")
FAULTY = 0.12
"""Share of programs with a fault."""


class Drawn:
    """A program in the making: its lines, and texts of the series that it has, the newest last."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.lines: list[str] = [READ]
        self.series = [f'df["{field}"]' for field in FIELDS]
        self.made = 0

    def pick(self, *choices: str) -> str:
        """One of them."""
        return self.chance.choice(choices)

    def newest(self) -> str:
        """Mostly the series that came last, so that programs grow in depth."""
        return self.series[-1] if self.chance.random() < 0.75 else self.pick(*self.series)

    def other(self) -> str:
        """Any series."""
        return self.pick(*self.series)

    def by_stock(self) -> str:
        """A way to group by stock."""
        return self.pick(*BY_STOCK)

    def by_date(self) -> str:
        """A way to group by date."""
        return self.pick(*BY_DATE)

    def size(self) -> int:
        """Rows of a window."""
        return self.chance.choice((2, 3, 4, 5, 5, 6, 8, 10, 10, 12, 20))

    def few(self) -> int:
        """Rows of a shift, or the limit of a fill."""
        return self.chance.choice((1, 1, 1, 2, 3, 5, 10))

    def rolling(self) -> str:
        """A call of ``rolling``."""
        size = self.size()
        least = self.chance.choice((1, 1, max(1, size // 2), size))
        return self.pick(f"rolling({size})", f"rolling(window={size})", f"rolling({size}, min_periods={least})")

    def statistic(self) -> str:
        """A call of a window's statistic."""
        return self.pick(*STATISTICS)

    def new(self) -> str:
        """A name that is not taken."""
        self.made += 1
        return f"x{self.made}"

    def name(self, expression: str) -> None:
        """A line that names a series, or makes it a column."""
        name = self.new()
        if self.chance.random() < 0.3:
            name = f'df["{name}"]'
        self.lines.append(f"{name} = {expression}")
        self.series.append(name)

    def column(self, expression: str) -> str:
        """The name of a column that has these values."""
        name = self.new()
        self.lines.append(f'df["{name}"] = {expression}')
        self.series.append(f'df["{name}"]')
        return name


# --- rows of one stock --------------------------------------------------------------------------------------------------


def _earlier(one: Drawn) -> None:
    call = one.pick(
        f"shift({one.few()})",
        f"diff({one.few()})",
        "diff()",
        "pct_change()",
        f"pct_change({one.few()})",
        f"pct_change({one.few()}, fill_method=None)",
        f"ffill(limit={one.few()})",
        "ffill()",
    )
    if one.chance.random() < 0.3:
        one.name(f'df.{one.by_stock()}["{one.column(one.newest())}"].{call}')
    else:
        one.name(f"{one.newest()}.{one.by_stock()}.{call}")


def _of_series(one: Drawn) -> str:
    """An expression of `v`, the series of one stock."""
    forms = (
        f"v.{one.rolling()}.{one.statistic()}",
        f"v.{one.rolling()}.{one.statistic()}",
        f"v.shift({one.few()}).{one.rolling()}.{one.statistic()}",
        f"v / v.{one.rolling()}.mean() - 1",
        f"(v - v.{one.rolling()}.mean()) / v.{one.rolling()}.std()",
        f"(v - v.{one.rolling()}.min()) / (v.{one.rolling()}.max() - v.{one.rolling()}.min() + 1e-12)",
        f"v.diff().abs().{one.rolling()}.sum()",
        f"v.diff({one.few()}).clip(lower=0).{one.rolling()}.mean()",
        f"v.pct_change({one.few()}, fill_method=None).{one.rolling()}.{one.statistic()}",
        f"v.pct_change().{one.rolling()}.{one.statistic()}",
        f"v.ewm(span={one.size()}, adjust={one.pick('True', 'False')}).mean()",
        f"v.ewm(alpha=0.3, min_periods={one.few()}).mean()",
        f"v.ewm(halflife={one.few()}, ignore_na={one.pick('True', 'False')}).mean()",
        f"v.ffill(limit={one.few()})",
        f"v.ffill().{one.rolling()}.{one.statistic()}",
        f"v.fillna(0).{one.rolling()}.{one.statistic()}",
        f'v.fillna(method="ffill", limit={one.few()})',
        f"v.interpolate(limit={one.few()})",
        f"v.{one.rolling()}.rank({one.pick('', 'pct=True')})",
        f"np.log(v / v.shift({one.few()}))",
        f"v.where(v > v.{one.rolling()}.mean())",
        f"(v > v.shift({one.few()})).astype(float).{one.rolling()}.{one.pick('mean()', 'sum()')}",
        f"v.{one.rolling()}.apply({_of_window(one)}, raw=True)",
        f"v.{one.rolling()}.corr(v.shift({one.few()}))",
        f"v.dropna().{one.rolling()}.{one.statistic()}",
        f"v.replace(0, np.nan).{one.rolling()}.{one.statistic()}",
        f"v.rolling({one.size()}, min_periods=1).sum() - v.rolling({one.size()}, min_periods=1).sum().shift({one.few()})",
    )
    return one.pick(*forms)


def _of_window(one: Drawn) -> str:
    """A function of the array of a window."""
    return one.pick(
        *("np.mean", "np.nanmean", "np.std", "np.max", "np.ptp", "np.argmax", "np.prod"),
        "lambda a: a[-1] - a[0]",
        "lambda a: (a > a.mean()).sum()",
        "lambda a: np.argmax(a) / len(a)",
        "lambda a: (a[-1] - a.mean()) / (a.std() + 1e-9)",
        "lambda a: np.polyfit(np.arange(len(a)), a, 1)[0]",
        "lambda a: np.dot(a, np.arange(1, len(a) + 1)) / np.arange(1, len(a) + 1).sum()",
        "lambda a: a[-1] / a.max() if a.max() > 0 else 0.0",
        "lambda a: np.percentile(a, 80)",
        "lambda a: np.sum(np.abs(np.diff(a)))",
    )


def _transform(one: Drawn) -> None:
    one.name(f"{one.newest()}.{one.by_stock()}.transform(lambda v: {_of_series(one)})")


def _rolled_group(one: Drawn) -> None:
    back = one.pick("droplevel(0)", "reset_index(level=0, drop=True)", "reset_index(0, drop=True)")
    ending = one.pick("", ".sort_index()")
    made = one.pick(
        f"{one.rolling()}.{one.statistic()}", f"{one.rolling()}.{one.statistic()}", f"ewm(span={one.size()}).mean()"
    )
    if one.chance.random() < 0.5:
        source = f'df.{one.by_stock()}["{one.column(one.newest())}"]'
    else:
        source = f"{one.newest()}.{one.by_stock()}"
    one.name(f"{source}.{made}.{back}{ending}")


def _helper(one: Drawn) -> None:
    """A function of the rows of one stock, handed to ``groupby.apply``."""
    left, right = one.newest(), one.other()
    name, frame = f"helper_{one.new()}", f"frame_{one.new()}"
    size = one.size()
    body = one.pick(
        f'return g["a"].{one.rolling()}.corr(g["b"])',
        f'return g["a"].{one.rolling()}.cov(g["b"])',
        f'return g["a"].{one.rolling()}.cov(g["b"]) / g["b"].{one.rolling()}.var()',
        f'return (g["a"] * g["b"]).rolling({size}).sum() / g["b"].rolling({size}).sum()',
        f'x = g["a"].shift({one.few()})\ny = g["b"].{one.rolling()}.{one.statistic()}\nreturn x - y',
        f'g = g.copy()\ng["c"] = g["a"].diff({one.few()})\ng["d"] = g["c"].{one.rolling()}.{one.statistic()}\nreturn g["d"] * np.sign(g["b"])',
        f'g = g.dropna()\nreturn g["a"].{one.rolling()}.{one.statistic()} - g["b"].shift(1)',
        f'up = g["a"].diff().clip(lower=0).rolling({size}).mean()\ndown = -g["a"].diff().clip(upper=0).rolling({size}).mean()\nreturn 100 - 100 / (1 + up / down)',
        f'ma = g["a"].rolling({size}).mean()\nsd = g["a"].rolling({size}).std()\nreturn (g["b"] - ma) / (2 * sd)',
        f'g = g.sort_index()\nreturn g["a"].rolling({size}).apply(lambda a: a[-1] / a[0] - 1, raw=True)',
    )
    one.lines.append(f"def {name}(g):\n{textwrap.indent(body, '    ')}")
    one.lines.append(f'{frame} = pd.DataFrame({{"a": {left}, "b": {right}}})')
    call = one.pick(
        f'{frame}.groupby(level="instrument", group_keys=False).apply({name})',
        f'{frame}.groupby("instrument", group_keys=False).apply({name})',
        f'{frame}.groupby(level="instrument").apply({name}).droplevel(0)',
        f'{frame}.groupby(level="instrument").apply({name}).reset_index(level=0, drop=True)',
    )
    one.name(call + one.pick("", ".sort_index()"))


def _loop(one: Drawn) -> None:
    """A loop over windows, or over stocks."""
    values, name = one.column(one.newest()), one.new()
    sizes = sorted({one.size() for _ in range(3)})
    if one.chance.random() < 0.6:
        group = f'df.{one.by_stock()}["{values}"]'
        body = one.pick(
            f"{group}.transform(lambda v: v.rolling(n).{one.statistic()})",
            f"{group}.shift(n)",
            f'df["{values}"] / {group}.transform(lambda v: v.rolling(n, min_periods=1).mean()) - 1',
            f"{group}.pct_change(n)",
        )
        one.lines.append(f'for n in {sizes}:\n    df[f"{name}_{{n}}"] = {body}')
        names = f'[f"{name}_{{n}}" for n in {sizes}]'
        one.name(f"df[{names}].{one.pick('mean', 'sum', 'max', 'min', 'std', 'median')}(axis=1)")
        return
    parts = one.new()
    body = one.pick(
        f'g["{name}"] = g["{values}"].{one.rolling()}.{one.statistic()}',
        f'g["{name}"] = g["{values}"] - g["{values}"].shift({one.few()})',
        f'v = g["{values}"]\ng["{name}"] = {_of_series(one)}',
        f'g = g.dropna(subset=["{values}"])\ng["{name}"] = g["{values}"].{one.rolling()}.{one.statistic()}',
    )
    body = f'g = g.copy()\n{body}\n{parts}.append(g[["{name}"]])'
    one.lines.append(f"{parts} = []\nfor stock, g in df.{one.by_stock()}:\n{textwrap.indent(body, '    ')}")
    one.name(f'pd.concat({parts}){one.pick("", ".sort_index()")}["{name}"]')


# --- one row ------------------------------------------------------------------------------------------------------------


def _element(one: Drawn) -> None:
    x, y = one.newest(), one.other()
    one.name(
        one.pick(
            f"np.log({x})",
            f"np.log({x}.abs() + 1)",
            f"np.log1p({x}.abs())",
            f"np.sign({x})",
            f"np.sign({x}) * np.sqrt({x}.abs())",
            f"{x}.abs()",
            f"np.abs({x})",
            f"{x}.clip(-1, 1)",
            f"{x}.clip(lower={y})",
            f"{x}.fillna(0)",
            f"{x}.fillna({y})",
            f"{x}.replace([np.inf, -np.inf], np.nan)",
            f"{x}.replace(0, np.nan)",
            f"{x} ** 2",
            f"-{x}",
            f"1 / {x}",
            f"{x}.astype({one.pick('float', chr(34) + 'float32' + chr(34), 'np.float64')})",
            f"{x}.where({x} > {y})",
            f"{x}.where({y} > 0, {y})",
            f"{x}.mask({x} < {y}, 0)",
            f"{x}.mask({x}.isna(), {y})",
            f"np.where({x} > {y}, {x}, {y})",
            f"pd.Series(np.where({x} > 0, 1.0, -1.0), index=df.index)",
            f"pd.Series(np.where({x} > {y}, {x}, np.nan), index={x}.index)",
            f"np.maximum({x}, {y})",
            f"np.minimum({x}, {y}).fillna({x})",
            f"np.tanh({x})",
            f"np.exp(-{x}.abs())",
            f"{x}.round(2)",
            f"({x} > {y}).astype({one.pick('int', 'float')})",
            f"(({x} > 0) & ({y} > {x})).astype(float)",
            f"{x}.notna().astype(float)",
            f"pd.concat([{x}, {y}], axis=1).{one.pick('mean', 'max', 'min', 'sum')}(axis=1)",
            f"{x}.apply(lambda v: v if v > 0 else 0.0)",
            f"{x}.map(lambda v: 1 if v > 1 else (-1 if v < -1 else 0))",
            f"{x}.{one.pick('add', 'sub', 'mul')}({y}, fill_value=0)",
        )
    )


def _binary(one: Drawn) -> None:
    x, y = one.newest(), one.other()
    forms = (
        f"{x} {one.pick(*'+-*/')} {y}",
        f"({x} - {y}) / ({y} + 1e-8)",
        f"{x} / {y}.replace(0, np.nan)",
        f"0.6 * {x} + 0.4 * {y}",
    )
    one.name(one.pick(*forms))


# --- stocks of one day --------------------------------------------------------------------------------------------------


def _day(one: Drawn) -> None:
    x, group = one.newest(), one.by_date()
    statistic = one.pick(*OF_A_DAY)
    one.name(
        one.pick(
            f"{x}.{group}.rank()",
            f"{x}.{group}.rank(pct=True)",
            f"{x}.{group}.rank(ascending=False, pct=True)",
            f'{x}.{group}.rank(method="{one.pick("min", "max", "dense", "first")}")',
            f"{x}.{group}.rank(pct=True) - 0.5",
            f'{x}.{group}.transform("{statistic}")',
            f'{x} - {x}.{group}.transform("{one.pick("mean", "median")}")',
            f'({x} - {x}.{group}.transform("mean")) / {x}.{group}.transform("std")',
            f"{x}.{group}.transform(lambda v: (v - v.mean()) / v.std())",
            f"{x}.{group}.transform(lambda v: (v - v.mean()) / (v.std(ddof=0) + 1e-8))",
            f"{x}.{group}.transform(lambda v: v - v.median())",
            f"{x}.{group}.transform(lambda v: v.fillna(v.{one.pick('mean', 'median')}()))",
            f"{x}.{group}.transform(lambda v: v.clip(v.quantile(0.1), v.quantile(0.9)))",
            f"{x}.{group}.transform(lambda v: (v - v.min()) / (v.max() - v.min()))",
            f"{x}.{group}.transform(lambda v: v.rank(pct=True))",
            f'{x}.groupby(level="datetime", group_keys=False).apply(lambda v: v - v.mean())',
            f'{x}.groupby(level="datetime").apply(lambda v: v / v.abs().sum()).droplevel(0)',
            f'{x}.sub({x}.{group}.{one.pick("mean", "median")}(), level="datetime")',
            f"{x} - {x}.{group}.mean()",
            f"{x} * 0 + {x}.{group}.mean().{one.rolling()}.mean()",
            f'(({x} - {x}.{group}.transform("median")).abs()).{one.by_date()}.transform("median")',
        )
    )


# --- other shapes -------------------------------------------------------------------------------------------------------


def _wide(one: Drawn) -> None:
    wide = one.new()
    source = one.pick(
        f'{one.newest()}.unstack("instrument")',
        f"{one.newest()}.unstack()",
        f'df.reset_index().pivot(index="datetime", columns="instrument", values="{one.column(one.newest())}")',
    )
    one.lines.append(f"{wide} = {source}")
    for _ in range(one.chance.randint(1, 2)):
        step = one.pick(
            f"{wide} / {wide}.shift({one.few()}) - 1",
            f"{wide}.pct_change({one.few()})",
            f"{wide}.pct_change({one.few()}, fill_method=None)",
            f"{wide}.{one.rolling()}.{one.statistic()}",
            f"{wide}.diff({one.few()})",
            f"{wide}.rank(axis=1, pct=True)",
            f"{wide}.sub({wide}.mean(axis=1), axis=0)",
            f"{wide}.sub({wide}.mean(axis=1), axis=0).div({wide}.std(axis=1), axis=0)",
            f"{wide}.ffill(limit={one.few()})",
            f"{wide}.fillna(0)",
            f"{wide}.ewm(span={one.size()}).mean()",
            f"{wide}.where({wide} > {wide}.{one.rolling()}.mean())",
            f"{wide}.{one.rolling()}.corr({one.other()}.unstack())",
            f"{wide}.apply(lambda v: v.{one.rolling()}.{one.statistic()})",
            f"np.log({wide}.abs() + 1)",
            f"{wide}.clip(-1, 1)",
        )
        one.lines.append(f"{wide} = {step}")
    one.name(f"{wide}.stack({one.pick('', '', 'future_stack=True', 'dropna=False')})")


def _flat(one: Drawn) -> None:
    """Keys as columns, rows sorted by stock and day or as they are."""
    name, made = one.column(one.newest()), one.new()
    order = one.pick("", '.sort_values(["instrument", "datetime"])', '.sort_values(["datetime", "instrument"])')
    flat = one.new()
    one.lines.append(f"{flat} = df.reset_index(){order}{one.pick('', '.reset_index(drop=True)')}")
    body = one.pick(
        f'{flat}.groupby("instrument")["{name}"].shift({one.few()})',
        f'{flat}.groupby("instrument")["{name}"].pct_change({one.few()})',
        f'{flat}.groupby("instrument")["{name}"].transform(lambda v: {_of_series(one)})',
        f'{flat}.groupby("instrument")["{name}"].{one.rolling()}.{one.statistic()}.reset_index(level=0, drop=True)',
        f'{flat}.groupby("instrument")["{name}"].{one.rolling()}.{one.statistic()}.values',
        f'{flat}.groupby("datetime")["{name}"].rank(pct=True)',
        f'{flat}["{name}"] - {flat}.groupby("datetime")["{name}"].transform("mean")',
    )
    one.lines.append(f'{flat}["{made}"] = {body}')
    one.name(f'{flat}.set_index(["datetime", "instrument"]){one.pick("", ".sort_index()")}["{made}"]')


def _rows(one: Drawn) -> None:
    """Rows are left out, or come in another order."""
    x = one.newest()
    kind = one.chance.random()
    if kind < 0.35:
        one.name(one.pick(f"{x}.dropna()", f"{x}[{x} > 0]", f"{x}[{x}.notna()]", f"{x}[{one.other()} > 0]"))
    elif kind < 0.7:
        one.lines.append(
            one.pick(
                'df = df.dropna(subset=["$close"])',
                "df = df.dropna()",
                'df = df[df["$volume"] > 0]',
                f"df = df[{x}.notna()]",
                'df = df.loc[df["$close"] > df["$open"]]',
            )
        )
    else:
        one.lines.append(
            one.pick(
                "df = df.sort_index()",
                'df = df.sort_index(level=["instrument", "datetime"])',
                'df = df.sort_index(level="instrument")',
                "df = df.swaplevel().sort_index()",
                'df = df.reset_index().sort_values(["instrument", "datetime"]).set_index(["datetime", "instrument"])',
            )
        )


def _fault(one: Drawn) -> None:
    x = one.newest()
    one.name(
        one.pick(
            f"{x}.shift({one.few()})",
            f"{x}.{one.by_stock()}.shift(-{one.few()})",
            f"{x}.rolling({one.size()}).mean()",
            f"{x}.pct_change()",
            f"{x}.{one.by_stock()}.bfill()",
            f"{x}.{one.by_stock()}.transform(lambda v: v.bfill(limit=2))",
            f'{x}.fillna(method="ffill")',
            f"{x}.ffill()",
            f'pd.Series({x}.sort_index(level="instrument").values, index=df.index)',
            f"{x} - {x}.mean()",
            f"{x} * {x}.sort_index(level=1).values",
            f"pd.Series({x}.{one.by_stock()}.rolling({one.size()}).mean().values, index=df.index)",
            f"{x}.{one.by_stock()}.rolling({one.size()}).corr({one.other()})",
            f"{x}.{one.by_stock()}.transform(lambda v: v.rolling({one.size()}, center=True).mean())",
            f'{x}.{one.by_stock()}.transform("mean")',
            f"{x}.{one.by_stock()}.transform(lambda v: (v - v.mean()) / v.std())",
            f"{x}.{one.by_stock()}.cumsum()",
            f"{x}.rank()",
            f"{x}.sort_index(ascending=False).{one.by_stock()}.shift(1)",
            f"{x}.unstack().ffill(axis=1).stack()",
            f"{x}.unstack().shift(1, axis=1).stack()",
        )
    )


STEPS: Sequence[Callable[[Drawn], None]] = (
    *(_earlier, _earlier, _transform, _transform, _transform, _rolled_group, _helper, _loop),
    *(_element, _element, _binary, _day, _day, _wide, _flat, _rows),
)


def _written(one: Drawn) -> None:
    """The last lines."""
    out = one.series[-1]
    save = 'to_hdf("result.h5", key="data")'
    one.lines.append(
        one.pick(
            f'{out}.to_frame("factor").{save}',
            f'{out}.dropna().to_frame("factor").{save}',
            f'{out}.rename("factor").to_frame().sort_index().{save}',
            f'result = pd.DataFrame({{"factor": {out}}})\nresult.{save}',
            f'result = pd.DataFrame({{"factor": {out}}}).replace([np.inf, -np.inf], np.nan).dropna()\nresult.{save}',
            f'df["factor"] = {out}\ndf[["factor"]].{save}',
            f'df["factor"] = {out}\ndf[["factor"]].dropna().{save}',
            f'df["factor"] = {out}.fillna(0)\ndf[["factor"]].astype("float32").{save}',
        )
    )


def program(seed: int, number: int) -> str:
    """Program `number` of a seed; the same in every run."""
    one = Drawn(random.Random(f"{seed}:{number}"))
    for _ in range(one.chance.randint(2, 6)):
        one.chance.choice(STEPS)(one)
    if one.chance.random() < FAULTY:
        _fault(one)
        if one.chance.random() < 0.5:
            one.chance.choice(STEPS)(one)
    _written(one)
    body = "\n".join(one.lines)
    if one.chance.random() < 0.4:
        body = f'def calculate():\n{textwrap.indent(body, "    ")}\n\n\nif __name__ == "__main__":\n    calculate()'
    return f"{HEAD}\n{body}\n"
