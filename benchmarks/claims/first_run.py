"""Claims on `make demo`, the first thing that anybody runs."""

from claims.claim import Claim, Table, at, estimate

DEMO = Table(
    "The demo",
    "demo",
    "demo",
    lambda r: f"{r['counts']['prepare']['rows_in']:,} docstrings of the installed packages, {r['rows']} test rows",
    (
        Claim("seconds in all, once it is set up", at("wall_seconds"), ".0f", " s", at_most=120),
        estimate("top-1 of MiniLM", at("model", "top1")),
        estimate("top-1 of TF-IDF + logistic regression", at("baselines", "tfidf_logreg", "top1")),
    ),
)

TABLES = (DEMO,)
