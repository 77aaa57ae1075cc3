"""Claims on `raypipe sweep`."""

import statistics

from claims.claim import Claim, Table, at, faster

SWEEP = Table(
    "What a sweep costs",
    "sweep_speed",
    "sweep_speed",
    lambda r: f"banking77, MiniLM, {len(r['full']['trials'])} learning rates, {r['epochs']:g} epochs",
    (
        Claim(
            "all trials in full: seconds over those of the trials in turn and one start",
            at("full_times_trials_in_turn"),
            ".2f",
            at_most=1.05,
        ),
        faster(
            "ASHA, median of the orders: times as fast as all trials in full",
            at("asha_times_faster_median"),
            at_least=2,
        ),
        Claim(
            "ASHA, median of the orders: macro-F1 of its choice less that of the full sweep's",
            lambda r: statistics.median(r["asha_macro_f1_less_full"]),
            "+.4f",
            at_least=0,
        ),
        Claim("ASHA, worst of the orders: the same", lambda r: min(r["asha_macro_f1_less_full"]), "+.4f"),
        faster(
            "ASHA, median of 203 orders replayed: times as fast",
            lambda r: r["asha_of_all_orders_replayed"]["times_faster"][1],
        ),
        Claim(
            "ASHA, share of these orders with the full sweep's choice",
            lambda r: r["asha_of_all_orders_replayed"]["same_choice"],
            ".0%",
        ),
    ),
)

TABLES = (SWEEP,)
