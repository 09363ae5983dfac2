"""Expressions for every operator of qlib, with the dtypes and windows at which they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["moments", "sums", "infinity", "one value", "tie", "gap"]
KINDS: dict[Kind, str] = {
    "moments": "pandas adds third and fourth powers without taking the window's mean off: what is left of them is its rounding",
    "sums": "qlib's running sums of squares are larger than the squared deviations in them by nine digits or more",
    "infinity": "an infinite value stays in qlib's running sums as NaN for the rest of the query",
    "one value": "a line through one value: 0 / 0, where the rounding that is left in qlib's sums gives an infinity",
    "tie": "values that are equal but for their last bits are ranked by them",
    "gap": "more than 60 days of an exponential mean's window have no value: the days before weigh more than 1e-8",
}
"""When qlib's own value is rounding, or the graph's is known to end too early."""


@dataclass(frozen=True)
class Noise:
    """Windows of `window` days over `inner` at which a kind may show, and for `after` - 1 more days."""

    kind: Kind
    inner: str
    window: int
    after: int = 1


_ROLLING = (
    "Mean",
    "Sum",
    "Std",
    "Var",
    "Skew",
    "Kurt",
    "Max",
    "Min",
    "IdxMax",
    "IdxMin",
    "Med",
    "Mad",
    "Rank",
    "Count",
)
_ALL_ROLLING = (*_ROLLING, "Slope", "Rsquare", "Resi", "WMA", "Delta")
_RETURN = "$close/Ref($close,1)-1"


def _one(operator: str) -> dict[str, str]:
    """One operator over a price, a volume, returns, truth values, a rolling result, and windows of windows."""
    return {
        f"{operator}_price": f"{operator}($close,7)",
        f"{operator}_volume": f"{operator}($volume,15)",
        f"{operator}_return": f"{operator}({_RETURN},20)",
        f"{operator}_of_zero": f"{operator}($volume/Ref($volume,1),10)",
        f"{operator}_truth": f"{operator}($close>$open,8)",
        f"{operator}_integer": f"{operator}(If($close>$open,1,-2),9)",
        f"{operator}_rolling": f"{operator}(Mean($close,5),6)",
        f"{operator}_inner": f"Mean({operator}($close,5),4)",
        f"{operator}_shortest": f"{operator}($close,4)",
    }


ROLLING: dict[str, str] = {name: text for operator in _ALL_ROLLING for name, text in _one(operator).items()}
ROLLING |= {
    f"{operator}_gaps": f"{operator}(Ref($close>$open,2),6)" for operator in _ALL_ROLLING if operator != "Delta"
}
QUANTILES = {
    "quantile_lowest": "Quantile($close,9,0)",
    "quantile_highest": "Quantile($close,9,1)",
    "quantile_third": "Quantile($volume,10,0.3)",
    "quantile_of_zero": "Quantile($volume/Ref($volume,1),10,0.85)",
    "quantile_rolling": "Quantile(Std($close,5),12,0.5)",
    "quantile_inner": "Mean(Quantile($close,5,0.25),3)",
}
PAIRS = {
    f"{operator}_{name}": text.format(operator)
    for operator in ("Corr", "Cov")
    for name, text in {
        "prices": "{}($close,$open,10)",
        "volumes": "{}($close,$volume,10)",
        "logs": "{}($close,Log($volume+1),20)",
        "returns": "{}($close/Ref($close,1),Log($volume/Ref($volume,1)+1),5)",
        "of_zero": "{}($volume/Ref($volume,1),$close,12)",
        "rolling": "{}(Mean($close,5),Std($volume,5),8)",
        "truth": "{}($close>$open,$volume,9)",
        "inner": "Mean({}($close,$volume,6),5)",
        "ranks": "{}(Rank($close,5),Rank($volume,5),7)",
    }.items()
}
EXPONENTIAL = {
    "ema_short": "EMA($close,3)",
    "ema_long": "EMA($close,12)",
    "ema_volume": "EMA($volume,5)",
    "ema_weight": "EMA($close,0.2)",
    "mean_weight": "Mean($close,0.3)",
    "std_weight": "Std($close,0.3)",
    "ema_return": f"EMA({_RETURN},6)",
    "dif": "EMA($close,12)-EMA($close,26)",
    "dea": "EMA(EMA($close,12)-EMA($close,26),9)",
}
ELEMENTWISE = {
    "abs": "Abs($close-$open)",
    "abs_rolling": "Abs(Mean($close,5)-$close)",
    "abs_integer": "Abs(If($close>$open,1,-2))",
    "abs_truth": "Abs($close>$open)",
    "sign": "Sign($close-$open)",
    "sign_truth": "Sign($close>$open)",
    "sign_rolling": "Sign(Mean($close,5)-$close)",
    "log": "Log($volume)",
    "log_rolling": "Log(Mean($volume,5))",
    "log_negative": "Log($close-$open)",
    "log_integer": "Log(If($close>$open,1,-2))",
    "power_square": "Power($close,2)",
    "power_root": "$close**0.5",
    "power_minus": "$close**-1",
    "power_zero": "$volume**0",
    "power_third": "$close**1.7",
    "power_negative": "($close-$open)**3",
    "power_base": "Power(2,$close/$open)",
    "power_one": "Power(1,$close)",
    "power_series": "Power($close,$close/$open)",
    "power_rolling": "Power(Std($close,5),0.5)",
    "add": "Add($close,$open)",
    "sub": "Sub(1,$close)",
    "mul": "Mul($close,$volume)",
    "div": "Div($close,$close-$close)",
    "div_zero": "Div(0,$close-$close)",
    "greater": "Greater($close,$open)",
    "greater_number": "Greater(0,$close-$open)",
    "greater_rolling": "Greater($close,Mean($close,5))",
    "less": "Less($close,Ref($close,1))",
    "less_number": "Less($close,20)",
    "less_truth": "Less($close>$open,$volume>Ref($volume,1))",
    "greater_truth": "Greater($close>$open,$volume>Ref($volume,1))",
    "greater_truth_number": "Greater($close>$open,2)",
    "gt": "Gt($close,$open)",
    "ge": "Ge($close,Ref($close,1))",
    "lt": "Lt($close,$open)",
    "le": "$close<=20.1",
    "eq": "$close==$close",
    "ne": "$close!=$open",
    "ne_missing": "Ne($close,$close)",
    "eq_rolling": "$close==Max($close,5)",
    "eq_float32": "$close==0.1",
    "gt_truth": "($close>$open)>0",
    "gt_truth_float": "($close>$open)>0.5",
    "gt_truths": "($close>$open)>($volume>Ref($volume,1))",
    "and": "($close>$open)&($volume>Ref($volume,1))",
    "or": "Or($close>$open,$volume>Ref($volume,1))",
    "not": "Not($close>$open)",
    "truth_sum": "($close>$open)+($volume>Ref($volume,1))",
    "truth_product": "($close>$open)*($volume>Ref($volume,1))",
    "truth_times_price": "($close>$open)*$close",
    "truth_plus_integer": "($close>$open)+1",
    "truth_plus_float": "($close>$open)+0.5",
    "truth_less_float": "2.5-($close>$open)",
    "truth_part": "($close>$open)/2",
    "integer_sum": "(($close>$open)+1)*(($volume>Ref($volume,1))+2)",
    "integer_part": "(($close>$open)+1)/(($volume>Ref($volume,1))+2)",
    "integer_price": "(($close>$open)+1)*$close",
    "integer_compared": "(($close>$open)+1)>$close/20",
    "not_integer": "(($close>$open)+1)-($close>$open)",
    "if": "If($close>$open,$close,$open)",
    "if_number": "If($close>$open,$close,0)",
    "if_float": "If($close>$open,0.1,$close)",
    "if_numbers": "If($close>$open,1,0)",
    "if_floats": "If($close>$open,1,0.3)",
    "if_price": "If($close-$open,1,2)",
    "if_missing": "If($volume,$close,-1)",
    "if_rolling": "If(Mean($close,5)>$close,Std($close,5),$close)",
    "if_truth": "If($close>$open,$volume>Ref($volume,1),$close>20)",
    "if_truth_number": "If($close>$open,$volume>Ref($volume,1),3)",
    "ref": "Ref($close,3)",
    "ref_truth": "Ref($close>$open,2)",
    "ref_integer": "Ref(If($close>$open,1,2),2)",
    "ref_if": "Ref(If($close>$open,$close,5),2)",
    "ref_rolling": "Ref(Mean($close,5),10)",
    "ref_count": "Ref(Count($close,5),3)",
    "ref_ref": "Ref(Ref($close,1),2)",
    "ref_power": "Ref($close**0,2)",
    "delta_integer": "Delta(If($close>$open,1,2),2)",
    "mean_if": "Mean(If($close>$open,$close,5),5)",
    "mean_count": "Mean(Count($volume,3),5)",
    "count_zero": "Count($close/($close-$close),5)",
    "max_of_zero": "Max($close/($close-$open*1),5)",
    "precedence": "-2**2*$close+3*2-$open/2**-1",
    "precedence_sign": "($close>$open)|($volume>0)",
    "large_number": "$close*16777217",
    "tiny": "$close*1e-40",
    "nested": "Mean(Std(Mean($close,3),4),5)",
    "nested_rank": "Rank(Std($close/Ref($close,1),5),10)",
    "nested_idx": "Mean(IdxMax($high,4)-IdxMin($low,4),3)",
    "nested_regression": "Slope(Resi($close,5),6)",
}
OPERATORS: dict[str, str] = ROLLING | QUANTILES | PAIRS | EXPONENTIAL | ELEMENTWISE


NOISE: dict[str, list[Noise]] = {
    "Kurt_price": [Noise("moments", "$close", 7)],
    "Kurt_volume": [Noise("moments", "$volume", 15)],
    "Kurt_rolling": [Noise("moments", "Mean($close,5)", 6)],
    "Kurt_inner": [Noise("moments", "$close", 5, 4)],
    "Kurt_shortest": [Noise("moments", "$close", 4)],
    "Slope_of_zero": [Noise("infinity", "$volume/Ref($volume,1)", 10)],
    "Slope_rolling": [Noise("one value", "Mean($close,5)", 6)],
    "Rsquare_of_zero": [Noise("infinity", "$volume/Ref($volume,1)", 10)],
    "Rsquare_rolling": [Noise("one value", "Mean($close,5)", 6), Noise("sums", "Mean($close,5)", 6)],
    "Resi_of_zero": [Noise("infinity", "$volume/Ref($volume,1)", 10)],
    "ema_short": [Noise("gap", "$close", 87)],
    "ema_long": [Noise("gap", "$close", 171)],
    "ema_volume": [Noise("gap", "$volume", 106)],
    "ema_weight": [Noise("gap", "$close", 143)],
    "mean_weight": [Noise("gap", "$close", 112)],
    "std_weight": [Noise("gap", "$close", 112)],
    "ema_return": [Noise("gap", _RETURN, 115)],
    "dif": [Noise("gap", "$close", 300)],
    "dea": [Noise("gap", "$close", 443)],
    "nested_rank": [Noise("tie", "Std($close/Ref($close,1),5)", 10)],
}
