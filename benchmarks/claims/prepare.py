"""Claims on `raypipe prepare`."""

from claims.claim import Claim, Read, Result, Table, at, counted, faster, first, texts

WHOLE, SHORT, CHARACTERS = ({"case": case} for case in ("whole texts", "first sentences", "characters"))
GIB = 1024  # MiB
PEER_SETTINGS = (
    "raypipe",
    "rensa RMinHashDeduplicator, documented",
    "rensa RMinHashDeduplicator, fewer misses",
    "rensa rho batch, documented",
    "datasketch, documented",
    "datasketch, fewer misses",
    "text-dedup MinHash, documented",
    "text-dedup MinHash, best",
    "semhash, documented",
    "semhash, fewer false alarms",
)


def ratio(case: dict[str, str], threshold: float) -> Read:
    return at("results", case, "joins", {"threshold": threshold}, "ratio")


def of(rows: int, read: Read) -> Read:
    """What is read of the measurement of so many rows."""
    return lambda r: read(first(one for one in r["sizes"] if one["data"]["rows"] == rows))


def growth(result: Result) -> float:
    million, quarter = (of(rows, at("seconds", "ingest_to_ledger"))(result) for rows in (1_000_000, 250_000))
    return million / quarter


def least_ratio(result: Result) -> float:
    return min(join["ratio"] for join in at("results", WHOLE, "joins")(result))


def identical(result: Result) -> int:
    return len(result["checked"]) if result["verdict"] == "identical" else 0


def times_as_fast_as_peers(result: Result) -> float:
    ours, *peers = (one["seconds"] for one in result["results"])
    return min(peers) / ours


def peer(case: str) -> Claim:
    """Seconds of one setting of a peer, with its recall and precision against the exact pairs."""
    found = at("results", {"what": case})
    return Claim(
        f"{case}: seconds",
        lambda r: found(r)["seconds"],
        ".2f",
        " s",
        beside=lambda r: f"(recall {found(r)['recall']:.3f}, precision {found(r)['precision']:.2f})",
    )


def leaving(name: str, threshold: float) -> Claim:
    """Rows of a set that leave at a threshold, and how many of them have another label than the row that stays."""
    line = at("sets", {"set": name}, "thresholds", {"threshold": threshold})
    return Claim(
        f"{name}, t = {threshold:g}: rows that leave",
        lambda r: line(r)["removed"],
        ",d",
        beside=lambda r: f"({line(r)['label_disagreements']:,} with another label)",
    )


def claims_on_set(name: str) -> tuple[Claim, ...]:
    found = at("sets", {"set": name})
    return (
        *(leaving(name, threshold) for threshold in (0.8, 0.9, 1.0)),
        Claim(f"{name}: rows of the largest chain at 0.7", lambda r: found(r)["longest_chain"], ",d"),
        Claim(f"{name}: padding in token-budget batches", lambda r: found(r)["padding"]["token_budget"], ".1%"),
        Claim(f"{name}: padding in batches by chance", lambda r: found(r)["padding"]["by_chance"], ".1%"),
    )


EXACT = Table(
    "The result is that of brute force",
    "exactness",
    "exactness",
    lambda r: counted({c["set"]: sum(c["identical_rows"].values()) for c in r["checked"]}),
    (
        Claim(
            "sets × analyzers × thresholds in which every pair and every line of the files is that of brute force",
            identical,
            "d",
            at_least=16,
        ),
        Claim(
            "largest difference of a cosine from scikit-learn's",
            lambda r: max(one["largest_difference_of_cosines"] for one in r["checked"]),
            ".1e",
        ),
    ),
)

SAME_BYTES = Table(
    "The same bytes however it is run",
    "determinism",
    "determinism",
    lambda r: r["data"].get("set") or f"{r['data']['docstrings']:,} docstrings",
    (
        Claim(
            "ways to run it (CPUs, blocks, pieces, order of tasks, kill and resume), all with the same bytes",
            lambda r: len(r["every_run"]) if len({run["sha256_of_all"] for run in r["every_run"]}) == 1 else 0,
            "d",
            at_least=20,
        ),
        Claim("of them killed and resumed", at("runs", "killed_and_resumed"), "d"),
    ),
)

JOIN = Table(
    "The join beside sparse_dot_topn, one thread each",
    "join",
    "join",
    lambda r: "; ".join(f"{one['case']}: {texts(one['data'])}" for one in r["results"]),
    (
        faster("whole texts, t = 0.8: times as fast", ratio(WHOLE, 0.8), ".3g", at_least=75),
        faster("whole texts, t = 0.5: times as fast", ratio(WHOLE, 0.5), ".3g", at_least=8),
        faster("whole texts, down to t = 0.2: least of all thresholds", least_ratio, ".3g", at_least=1),
        faster("character n-grams (3, 5), t = 0.8: times as fast", ratio(CHARACTERS, 0.8), ".3g", at_least=5),
        faster("short texts, t = 0.8: times as fast", ratio(SHORT, 0.8), ".3g"),
        Claim(
            "whole texts, t = 0.8: seconds over those of scikit-learn's `fit_transform`",
            at("results", WHOLE, "fit", "join_over_fit"),
            at_most=0.25,
        ),
    ),
)

PEERS = Table(
    "Vectorise and join beside approximate tools, one thread each",
    "dedup_peers",
    "dedup-peers",
    lambda r: texts(r["data"]),
    (
        faster(
            "times as fast as the fastest of semhash, datasketch, rensa, text-dedup in any setting",
            times_as_fast_as_peers,
            at_least=1,
        ),
        *(peer(case) for case in PEER_SETTINGS),
    ),
)

SCRIPT = Table(
    "All of prepare beside a single-process scikit-learn script",
    "script_vs_prepare",
    "script-vs-prepare",
    lambda r: texts(r["data"]),
    (
        faster("times as fast, start-up aside", at("script_over_prepare", "work"), at_least=5),
        faster("times as fast, whole process", at("script_over_prepare", "whole_process"), at_least=3),
        faster(
            "times as fast, start-up aside, one CPU each",
            at("script_over_prepare", "work_one_cpu_each"),
        ),
    ),
)

HALF_A_MILLION = Table(
    "Ingest to finished ledger, 500,000 rows",
    "scale",
    "scale-500k",
    lambda r: f"generated rows, t = {r['threshold']:g}",
    (
        Claim(
            "seconds over those of one `fit_transform` of the same texts",
            of(500_000, at("ingest_to_ledger_over_fit")),
            ".2f",
            at_most=1.3,
        ),
    ),
)

SCALE = Table(
    "A million rows",
    "scale",
    "scale",
    lambda r: (
        f"{', '.join(format(one['data']['rows'], ',') for one in r['sizes'])} generated rows, t = {r['threshold']:g}"
    ),
    (
        Claim("planted near-duplicates missed", of(1_000_000, lambda r: len(r["planted"]["missed"])), "d", at_most=0),
        Claim(
            "largest worker, with the object store that it maps",
            of(1_000_000, lambda r: max(worker["rss"] for worker in r["memory"]["workers"]) / GIB),
            ".2f",
            " GiB",
            at_most=3,
        ),
        Claim("driver", of(1_000_000, lambda r: r["memory"]["driver"]["rss"] / GIB), ".2f", " GiB", at_most=4),
        Claim("spilled to disk", of(1_000_000, at("memory", "spilled")), ".0f", " MiB"),
        Claim("ingest to ledger", of(1_000_000, at("seconds", "ingest_to_ledger")), ".1f", " s"),
        Claim("whole process", of(1_000_000, at("seconds", "whole_process")), ".1f", " s"),
        faster("ingest to ledger, times the seconds of 250,000 rows", growth),
    ),
)

SLOTS = Table(
    "One task slot and two",
    "slots",
    "slots",
    lambda r: f"{r['data']['rows']:,} generated rows, t = {r['threshold']:g}",
    (
        faster(
            "ingest to ledger: seconds with one slot over those with two",
            at("one_slot_over_two"),
            at_least=1.5,
        ),
    ),
)

KNOWN_SETS = Table(
    "What is in the known sets",
    "known_sets",
    "known-sets",
    lambda r: counted({one["set"]: one["rows"] for one in r["sets"]}),
    tuple(claim for name in ("banking77", "hwu64") for claim in claims_on_set(name)),
)

TABLES = (EXACT, SAME_BYTES, JOIN, PEERS, SCRIPT, HALF_A_MILLION, SCALE, SLOTS, KNOWN_SETS)
